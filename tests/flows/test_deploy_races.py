"""What several may do to the same targets in the same moment: begin, ask a provider, carry out."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from common import db
from common.errors import Conflict
from common.flows import deployment_status, rollbacks, work
from common.stores import deployments
from tests.releases import NEW, opened, triggered, triggers

AT_ONCE = 4


@pytest.fixture
def world(sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as found:
        yield found


def together(*calls):
    """What becomes of calls that begin in the same moment: answers, or the conflicts that they met."""
    gate = threading.Barrier(len(calls))

    def made(call):
        gate.wait()
        try:
            return call()
        except Conflict as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(made, calls))


def test_of_several_who_deploy_to_a_target_at_once_one_does(world, sql):
    said = together(*[lambda: world.start(targets=["web"], strategy="rolling")] * AT_ONCE)
    assert sum(isinstance(each, dict) for each in said) == 1
    assert {str(each)[:27] for each in said if not isinstance(each, dict)} == {"Another deployment is at: w"}
    assert sql("select count(*) from tidemark.deployments") == [[1]]


def test_of_several_who_take_a_deployment_back_at_once_one_does(world):
    found = world.work(world.start(targets=["web"], strategy="rolling")["deployment_id"])
    said = together(*[lambda: rollbacks.rollback({"deployment_id": found["deployment_id"]})] * AT_ONCE)
    assert sum(isinstance(each, tuple) for each in said) == 1


def test_of_two_who_want_to_ask_a_provider_one_may(world):
    deployment = world.start(targets=["web"], strategy="rolling")["deployment_id"]
    with db.transaction("worker") as first:
        at = deployments.intend(first, deployment, "web")
        other = ThreadPoolExecutor(1).submit(_intended, deployment)
        assert at is not None
    assert other.result() is None
    with db.transaction("worker") as tx:
        assert deployments.intend_again(tx, deployment, "web", at)
    with db.transaction("worker") as tx:
        assert not deployments.intend_again(tx, deployment, "web", at)


def _intended(deployment):
    with db.transaction("worker") as tx:
        return deployments.intend(tx, deployment, "web")


def test_several_coordinators_of_one_deploy_ask_each_provider_once(world):
    before = triggers(world)
    deployment = world.start()["deployment_id"]
    for _ in range(40):
        together(*[work.work] * AT_ONCE)
        found = deployment_status.show(deployment)
        if found["ended_at"]:
            break
        world.sql("update turned.clock set skew = skew + interval '30 s'")
    assert found["status"] == "live", found["reason"]
    assert {target["serving"]["commit"] for target in found["targets"]} == {NEW}
    assert set(triggered(world, before).values()) == {1}
