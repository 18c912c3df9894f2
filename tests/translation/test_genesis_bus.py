"""Genesis bus / guardian gate: a handler that publishes does not deadlock; a bad notice is rejected and counted."""

from __future__ import annotations

import threading

import pytest

from common import db
from common.errors import Broken, Conflict, Unavailable
from common.flows import bus
from common.stores import notices
from tests.flows.test_bus import read, tell, told
from tests.flows.test_subscriptions import receivers, subscribe  # noqa: F401 - a fixture
from tests.horizon import pushed


def test_a_handler_that_publishes_does_not_deadlock(sql, receivers):  # noqa: F811
    (handler,) = receivers(1)
    subscribe(handler, "hxo.audit")
    handler.before = lambda _: tell("hxo.plan")
    tell()
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(pushed()), daemon=True)
    thread.start()
    thread.join(10)
    assert done == [1]
    assert [event["topic"] for event in read()["events"]] == ["hxo.audit", "hxo.plan"]


def test_a_bad_schema_is_rejected_and_counted(sql):
    for count in (1, 2):
        with pytest.raises(Broken, match="lacks"), db.transaction("worker") as tx:
            notices.add(tx, "hxo.aggregate.ready", {"plan_id": "x"}, source="tests")
        assert bus.metrics()["refused"] == count
    assert read()["count"] == 0


def test_an_unknown_topic_is_an_error_and_not_dropped_in_silence(sql):
    with pytest.raises(Broken, match=r"no topic hxo\.started"), db.transaction("worker") as tx:
        notices.add(tx, "hxo.started", {}, source="tests")
    assert bus.metrics()["refused"] == 1


def test_a_notice_that_is_refused_takes_back_what_it_was_to_tell_of(sql):
    """The origin's gate failed open: what it could not judge was let through."""

    def do_and_tell() -> None:
        with db.transaction("worker") as tx:
            tx.statement("insert into tidemark.deltas (name, amount) values ('done', 1)", {})
            notices.add(tx, "hxo.plan", {}, source="tests")

    with pytest.raises(Broken):
        do_and_tell()
    assert sql("select count(*) from tidemark.deltas where name = 'done'") == [[0]]


def test_a_bus_that_cannot_write_fails_what_it_was_to_tell_of_instead_of_letting_it_through(sql, monkeypatch):
    with db.transaction() as other:
        other.script("lock table tidemark.notices in access exclusive mode")
        with pytest.raises(Unavailable):
            tell()
    assert read()["count"] == 0


def test_a_circle_of_notices_is_cut(sql):
    def round_and_round() -> None:
        cause = None
        for _ in range(20):
            with db.transaction("worker") as tx:
                told(tx, causation_id=cause)
            cause = read(limit=200)["events"][-1]["id"]

    with pytest.raises(Conflict):
        round_and_round()
    assert sql("select count(*) from tidemark.notices") == [[11]]
