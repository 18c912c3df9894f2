"""Draining: one release of one deployment finishes what it holds, and takes nothing new; others are not touched."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from common import db
from common.errors import Conflict, Invalid
from common.flows import drain, lease, plan_status, presence, process, tick, work
from common.rules.http import Request
from common.stores import drains, releases
from tests.conftest import OWNER
from tests.functions.test_auth import ask, made
from tests.kinds import a_stage, submit
from tests.make import an_item, send

PATH = "/api/hxo/graceful-shutdown"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def serve(configured):
    """Be an instance of a release of a deployment, which says that it is there."""

    def become(deployment, release="1"):
        configured(DEPLOYMENT=deployment, RELEASE=release)
        presence.forget()
        presence.check()

    return become


def wait(timeout="0"):
    return drain.wait_for_idle(Request("GET", "/api/hxo/wait-for-idle", f"timeout={timeout}"))


def active():
    with db.transaction("worker") as tx:
        found = lease.leases.find(tx, lease.ACTIVE)
    return found.holder if found and found.is_held else None


def is_draining(deployment, release):
    with db.transaction("status") as tx:
        return drains.is_draining(tx, deployment, release)


def test_a_release_that_is_drained_takes_nothing(sql, serve):
    serve("blue")
    submit(a_stage(kind="noop", shards=10))
    assert drain.ask({})[0] == 202
    assert work.work().shards == 0
    send("products", an_item())
    assert process.process().batches == 0
    assert (tick.tick().is_active, work.call_for_more()) == (False, 0)


def test_another_release_of_the_deployment_goes_on_and_needs_nobody_to_undrain_it(sql, serve):
    serve("blue", "1")
    plan = submit(a_stage(kind="noop", shards=10))
    drain.ask({})
    serve("blue", "2")
    assert tick.tick().is_active
    assert work.work().shards == 10
    assert plan_status.status(plan)["status"] == "succeeded"
    assert (is_draining("blue", "1"), is_draining("blue", "2")) == (True, False)


def test_draining_blue_never_touches_green_on_the_same_database(sql, serve):
    serve("green")
    serve("blue")
    lease.held()
    submit(a_stage(kind="noop", shards=10))
    drain.ask({})
    serve("green")
    assert (is_draining("blue", "1"), is_draining("green", "1")) == (True, False)
    send("products", an_item())
    assert process.process().outcomes == {"applied": 1}
    assert work.work().shards == 10


def test_the_lease_is_handed_to_the_deployment_that_is_there(sql, serve):
    serve("green")
    serve("blue")
    lease.held()
    assert drain.ask({})[1]["lease_held"] is False
    assert active() is None
    serve("green")
    assert tick.tick().is_active
    serve("blue")
    assert tick.tick().is_active is False


def test_a_lease_that_another_release_of_the_deployment_needs_is_kept_for_it(sql, serve):
    serve("green")
    serve("blue", "2")
    serve("blue", "1")
    lease.held()
    drain.ask({})
    assert active() == "blue"
    serve("blue", "2")
    assert tick.tick().is_active


def test_the_lease_runs_out_where_nobody_else_is_there_and_whoever_comes_takes_it(sql, serve, turn_clock):
    serve("blue")
    lease.held()
    drain.ask({})
    for _ in range(3):
        turn_clock(MINUTE)
        tick.tick()
    serve("green")
    assert tick.tick().is_active


def test_what_is_held_is_finished_before_the_lease_is_handed_over(sql, serve, trial):
    serve("green")
    serve("blue")
    plan = submit(a_stage(shards=2, concurrency=1))
    seen = []

    def drained(_):
        drain.ask({"deadline_seconds": 60})
        seen.extend([active(), wait()[0], wait()[1]["lanes_held"]])

    trial.hooks[0] = drained
    assert work.work().shards == 1
    assert seen == ["blue", 202, 1]
    assert active() is None
    assert wait()[0] == 200
    serve("green")
    work.work()
    assert plan_status.status(plan)["status"] == "succeeded"
    assert sql("select shard from trials order by shard") == [[0], [1]]


def test_what_is_not_finished_by_the_deadline_is_taken_from_it_and_others_do_it_once(sql, serve, trial, turn_clock):
    serve("green")
    serve("blue")
    plan = submit(a_stage(shards=2, concurrency=1))

    def too_slow(_):
        del trial.hooks[0]
        drain.ask({"deadline_seconds": 5})
        turn_clock(timedelta(seconds=5))
        assert wait()[1]["lanes_held"] == 0
        serve("green")
        work.work()
        serve("blue")

    trial.hooks[0] = too_slow
    report = work.work()
    assert (report.shards, report.lost + report.given_back) == (0, 1)
    assert plan_status.status(plan)["status"] == "succeeded"
    assert sql("select shard from trials order by shard") == [[0], [1]]


def test_a_drained_release_is_not_counted_as_serving_once_it_holds_nothing(sql, serve, turn_clock):
    serve("blue")
    drain.ask({})
    for _ in range(6):
        turn_clock(MINUTE)
        presence.forget()
        tick.tick()
    with db.transaction("worker") as tx:
        assert releases.serving(tx) == []


def test_it_takes_work_again_when_it_is_told_to(sql, serve):
    serve("blue")
    submit(a_stage(kind="noop", shards=10))
    drain.ask({})
    assert drain.ask({"resume": True})[0] == 200
    assert work.work().shards == 10
    with pytest.raises(Conflict, match="release 1 of the deployment 'blue' is not being drained"):
        drain.resume()


def test_draining_and_resuming_are_told_of_with_who_did_it(sql, serve):
    serve("blue")
    ask("POST", PATH, OWNER)
    ask("DELETE", PATH, OWNER)
    told = sql("select payload from tidemark.notices where topic = 'hxo.audit' order by seq")
    assert [(row[0]["action"], row[0]["actor"], row[0]["release"]) for row in told] == [
        ("drain", "admiral", "1"),
        ("resume", "admiral", "1"),
    ]


def test_the_routes_are_for_owners(sql, serve):
    serve("blue")
    operator = made("operator")[0]
    reply = ask("POST", PATH, OWNER, body=json.dumps({"deadline_seconds": 0}).encode())
    assert (reply.status, reply.json["draining"], reply.json["idle"]) == (202, True, True)
    assert ask("GET", "/api/hxo/wait-for-idle", OWNER).json["idle"] is True
    assert ask("DELETE", PATH, OWNER).json["draining"] is False
    assert {ask(method, PATH, operator).status for method in ("POST", "DELETE")} == {403}


def test_another_release_can_be_drained_from_here(sql, serve):
    serve("green")
    drain.ask({"deployment": "blue", "release": "7"})
    assert (is_draining("blue", "7"), is_draining("green", "1")) == (True, False)


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"deadline_seconds": -1}, "/deadline_seconds"),
        ({"deadline_seconds": True}, "/deadline_seconds"),
        ({"deadline_seconds": 1e9}, "/deadline_seconds"),
        ({"release": ""}, "/release"),
        ({"release": "a\x00b"}, "/release"),
        ({"deployment": 7}, "/deployment"),
        ({"resume": "yes"}, "/resume"),
        ({"now": True}, "/now"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_pointers(database_url, given, pointer):
    with pytest.raises(Invalid) as refused:
        drain.ask(given)
    assert [fault["pointer"] for fault in refused.value.fields["errors"]] == [pointer]


@pytest.mark.parametrize("timeout", ["-1", "26", "nan", "inf", "soon", ""])
def test_a_wait_is_bounded(database_url, timeout):
    with pytest.raises(Invalid):
        wait(timeout)
