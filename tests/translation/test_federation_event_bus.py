"""Federation event bus (deploy.events): a transactional outbox. Kill between commit and publish: still delivered, once per consumer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from common.stores import subscriptions
from tests.flows.test_subscriptions import receivers, subscribe  # noqa: F401 - a fixture
from tests.horizon import pushed
from tests.house.tree import ROOT

CODE = """
import os, signal
from common import db
from common.flows import publish
from common.stores import notices, subscriptions
def kill(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
with db.transaction("worker") as tx:
    notices.add(tx, "deploy.events", {"deployment_id": "d1", "stage": "bootstrap", "status": "ok"}, source="tests")
    DURING
AFTER
"""


def killed(*, during: str = "pass", after: str = "kill()") -> None:
    code = CODE.replace("DURING", during).replace("AFTER", after)
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.fixture
def consumers(receivers):  # noqa: F811
    """Two of deploy.events."""
    made = receivers(2)
    for each in made:
        subscribe(each, "deploy.events")
    return made


@pytest.mark.process
def test_a_kill_between_commit_and_publish_loses_nothing_and_each_consumer_has_it_once(sql, consumers):
    killed()
    assert pushed() == 2
    assert pushed() == 0
    for each in consumers:
        assert [body["data"]["payload"]["stage"] for _, body in each.got] == ["bootstrap"]
    assert len({identifier for each in consumers for identifier in each.ids}) == 2  # one id per consumer


@pytest.mark.process
def test_a_kill_between_publish_and_its_mark_repeats_it_under_the_id_that_its_consumer_knows(sql, consumers, turn_clock):
    killed(
        after="subscriptions.advance = kill\npublish.AT_ONCE = 1\nfrom tests import horizon\nhorizon.passed()\npublish.publish()"
    )
    turn_clock(subscriptions.LEASE)
    pushed()
    for each in consumers:
        seen: dict[str, str] = {}
        for identifier, body in each.got:
            assert seen.setdefault(identifier, json.dumps(body["data"])) == json.dumps(body["data"])
        assert len(seen) == 1
    assert sorted(len(each.got) for each in consumers) == [1, 2]


@pytest.mark.process
def test_a_kill_before_the_commit_is_told_to_nobody(sql, consumers):
    killed(during="kill()", after="")
    assert pushed() == 0
    assert [each.requests for each in consumers] == [0, 0]


def test_per_topic_the_order_is_that_of_the_sequence(sql, consumers):
    from tests.flows.test_bus import tell

    tell("deploy.events", count=30)
    pushed()
    for each in consumers:
        cursors = [tuple(int(part) for part in body["data"]["seq"].split(".")) for _, body in each.got]
        assert cursors == sorted(cursors)
        assert len(cursors) == 30
