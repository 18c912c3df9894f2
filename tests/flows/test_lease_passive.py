"""A PASSIVE deployment runs no schedule, works on no plan and calls nobody; it receives, and its /health says what it is."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from common import db
from common.errors import Passive
from common.flows import fires, heal, lease, plan_status, process, reconcile, schedules, sync, tick, work
from common.rules.http import Request
from common.stores import holding
from common.stores import schedules as store
from deploy.local.zoho import StandIn
from tests.conftest import OWNER
from tests.functions.shells import wsgi
from tests.kinds import a_stage, submit
from tests.make import a_request, an_item, connection, send, signed

SECOND, LEASE = timedelta(seconds=1), timedelta(seconds=150)
LOCK = {
    "active": bool,
    "lock_state": str,
    "lock_acquired": bool,
    "lock_holder": str,
    "lock_holder_pid": int,
    "lock_idle_duration": float,
    "lock_heartbeat_age": float,
    "lock_takeover_event": dict,
}


@pytest.fixture
def rung(monkeypatch):
    """What was rung for."""
    found: list[str] = []
    for module in (fires.ring, work.ring, tick.ring, process.ring):
        monkeypatch.setattr(module, "ring", lambda function, **_: found.append(function) or True)
    return found


@pytest.fixture
def passive(configured, sql):
    """This process is green, while blue is ACTIVE."""
    lease.held(holder="blue")
    configured(DEPLOYMENT="green")


def a_due_schedule(sql, function="heal"):
    """One that is due now, in a database without others; its fire's slot."""
    sql("delete from tidemark.schedules")
    schedules.create({"name": "mine", "cron": "* * * * *", "function": function})
    sql("update tidemark.schedules set next_slot = date_trunc('minute', app_now())")


def a_fire(sql, function):
    a_due_schedule(sql, function)
    (slot,) = sql("insert into tidemark.fires (schedule, slot, kind, state, ready_at) values"
                  " ('mine', date_trunc('minute', app_now()), 'slot', 'due', app_now()) returning slot")[0]  # fmt: skip
    return slot


def state_of_fires(sql):
    return sql("select state from tidemark.fires")


# What it leaves to the ACTIVE one --------------------------------------------------------------------------------------


def test_it_fires_nothing_until_the_lease_is_its_own(sql, passive, rung, turn_clock):
    a_due_schedule(sql)
    report = tick.tick()
    assert (report.is_active, report.fired, report.rang, report.lanes, report.watched, report.delivered) == (
        False, fires.Report(), False, 0, 0, 0,
    )  # fmt: skip
    assert (state_of_fires(sql), rung) == ([], [])
    turn_clock(LEASE)
    report = tick.tick()
    assert (report.is_active, report.fired.rung) == (True, 1)
    assert rung[0] == "heal"


def test_its_tick_still_sweeps_and_folds(sql, passive):
    send("products", an_item())
    process.process()
    assert tick.tick().folded > 0
    assert sql("select count(*) from tidemark.deltas") == [[0]]


def test_a_tick_that_does_not_know_who_is_active_does_what_anybody_may_and_says_so(sql, rung, monkeypatch):
    a_due_schedule(sql)
    send("products", an_item())
    monkeypatch.setattr(holding, "ASKS", 0)
    with pytest.raises(Exception, match="in the same moment"):
        tick.tick()
    assert sql("select count(*) from tidemark.deltas where name = 'received'") == [[0]]
    assert state_of_fires(sql) == []


def test_a_tick_that_loses_the_lease_on_its_way_does_no_more_than_a_passive_one(sql, configured, rung, turn_clock, monkeypatch):
    a_due_schedule(sql)
    configured(DEPLOYMENT="green")
    monkeypatch.setattr(lease, "CHECK_SECONDS", 0.0)

    def lost():
        turn_clock(LEASE + SECOND)
        lease.held(holder="blue")
        return 0

    monkeypatch.setitem(tick.PARTS, "measured", lost)
    report = tick.tick()
    assert (report.fired.rung, report.is_active, rung) == (1, False, ["heal"])
    assert report.lanes == report.delivered == 0


def test_it_works_on_no_plan_and_rings_for_none(sql, passive, trial, rung):
    plan = submit(a_stage(shards=4))  # submitting is writing rows, which it may
    rung.clear()
    report = work.work(beside=1)
    assert (report.lanes, report.shards, report.rang, rung) == (0, 0, 0, [])
    assert plan_status.status(plan)["done_shards"] == 0
    assert sql("select count(*) from tidemark.lanes where leased_until is not null") == [[0]]


def test_the_active_one_works_on_what_it_submitted(passive, trial, configured):
    plan = submit(a_stage(shards=4))
    configured(DEPLOYMENT="blue")
    work.work()
    assert plan_status.status(plan)["status"] == "succeeded"


@pytest.mark.parametrize("beside", [0, 1])
def test_a_lease_that_is_lost_during_a_call_gives_the_work_back_and_ends_the_call(sql, trial, configured, monkeypatch, beside):
    configured(DEPLOYMENT="blue")
    monkeypatch.setattr(lease, "CHECK_SECONDS", 0.0)
    plan = submit(a_stage(concurrency=1, open_ended=6))
    trial.hooks[2] = lambda _: lease.release()
    report = work.work(beside=beside)
    trial.hooks.clear()
    assert (report.shards, report.given_back) == (2, 1)
    assert sql("select count(*) from trials") == [[2]]
    assert sql("select count(*) from tidemark.lanes where leased_until is not null") == [[0]]
    assert 1 <= sql("select tidemark.total('fenced')")[0][0] <= 1 + beside
    configured(DEPLOYMENT="green")
    work.work()
    assert plan_status.status(plan)["status"] == "succeeded"
    assert sql("select shard, count(*) from trials group by 1 order by 1") == [[shard, 1] for shard in range(6)]


def test_a_lease_that_nobody_kept_and_nobody_took_is_taken_anew_and_the_work_goes_on(sql, trial, turn_clock):
    plan = submit(a_stage(shards=6, open_ended=6, concurrency=1))
    worker = work.Worker(work.time.monotonic() + 60, (), "test", lease.held())
    turn_clock(LEASE + SECOND)
    worker.go()
    assert (plan_status.status(plan)["status"], worker.is_passive) == ("succeeded", False)
    assert sql("select count(*) from tidemark.lease_history") == [[2]]


def test_a_heartbeat_of_a_long_shard_notices_the_loss(sql, trial, configured, turn_clock, monkeypatch):
    configured(DEPLOYMENT="blue")
    monkeypatch.setattr(lease, "CHECK_SECONDS", 0.0)
    submit(a_stage(shards=1))

    def lose(context):
        turn_clock(LEASE + SECOND)
        lease.held(holder="green")
        context.beat(None)
        trial.runs["after", 0] += 1

    trial.hooks[0] = lose
    assert (work.work().given_back, trial.runs["after", 0]) == (1, 0)


@pytest.mark.parametrize("function", ["heal", "process"])
def test_it_begins_no_fire_and_the_active_one_does(sql, passive, function, configured):
    slot = a_fire(sql, function)
    body = {"schedule": "mine", "slot": slot.isoformat()}
    began: list[Any] = []
    said = fires.answered(body, began.append)
    assert (said["begun"], began, state_of_fires(sql)) == (False, [], [["due"]])
    assert "'blue'" in said["message"]
    configured(DEPLOYMENT="blue")
    fires.answered(body, began.append)
    assert (len(began), state_of_fires(sql)) == (1, [["done"]])


@pytest.mark.parametrize(("flow", "function"), [(sync, "sync"), (reconcile, "reconcile")])
def test_it_begins_no_sync_and_no_comparison_by_schedule(sql, passive, flow, function):
    slot = a_fire(sql, function)
    assert flow.by_schedule("mine", slot)["success"] is False
    assert state_of_fires(sql) == [["due"]]
    assert sql("select count(*) from tidemark.plans") == [[0]]
    with db.transaction("worker") as tx:
        assert store.begin(tx, "mine", slot) is not None  # so it could have


@pytest.fixture
def zoho(configured):
    with StandIn(sizes={"product": 3}) as standing:
        standing.limits.off()
        configured(**connection(standing))
        yield standing


@pytest.mark.parametrize(("path", "function"), [("/sync/manual", "sync"), ("/api/tds/statistics/compare", "reconcile")])
def test_by_hand_it_answers_503_and_says_who_is_active(sql, zoho, passive, path, function):
    reply = wsgi(Request("POST", path, "", (("authorization", f"Bearer {OWNER}"),), b"{}"), function)
    assert (reply.status, reply.headers["content-type"], reply.headers["retry-after"]) == (503, "application/problem+json", "150")
    assert (reply.json["title"], reply.json["holder"], reply.json["retryable"]) == ("Passive", "blue", True)
    assert sql("select count(*) from tidemark.plans") == [[0]]


def test_it_does_not_call_the_source(sql, zoho, passive):
    with pytest.raises(Passive):
        sync.check_source()
    with pytest.raises(Passive):
        sync.by_hand({"mode": "full"})
    work.work()
    heal.heal()
    assert sql("select count(*) from tidemark.source_limits") == [[0]]
    assert sql("select count(*) from tidemark.source_tokens") == [[0]]


def test_it_sends_no_alert_and_the_active_one_does(sql, passive, monkeypatch, configured, turn_clock):
    sent: list[int] = []
    monkeypatch.setitem(tick.PARTS, "delivered", lambda: sent.append(1) or 1)
    assert (tick.tick().delivered, sent) == (0, [])
    configured(DEPLOYMENT="blue")
    assert (tick.tick().delivered, sent) == (1, [1])


# What it does as well ----------------------------------------------------------------------------------------------------


def test_it_receives_and_applies(sql, passive):
    reply = wsgi(signed(a_request("products", an_item())))
    assert reply.status == 202
    assert process.process().outcomes == {"applied": 1}
    assert sql("select count(*) from erp.products") == [[1]]


def test_a_fire_by_hand_is_recorded_and_rung_for_by_the_active_one(sql, passive, rung, configured):
    a_due_schedule(sql)
    schedules.run("mine", {})
    assert (state_of_fires(sql), rung) == ([["due"]], [])
    configured(DEPLOYMENT="blue")
    fires.follow_up()
    assert rung == ["heal"]


# What it says ------------------------------------------------------------------------------------------------------------


def health():
    reply = wsgi(Request("GET", "/health", "", (), b""), "health")
    found = json.loads(reply.body, parse_float=Decimal)
    return {name: found[name] for name in LOCK}


def test_health_knows_nothing_of_a_lease_that_nobody_ever_took(database_url):
    assert health() == dict.fromkeys(LOCK)


def test_health_of_the_active_one(sql, configured, turn_clock):
    configured(DEPLOYMENT="blue")
    held = lease.held()
    turn_clock(20 * SECOND)
    found = health()
    assert {name: found[name] for name in ("active", "lock_state", "lock_acquired", "lock_holder", "lock_takeover_event")} == {
        "active": True, "lock_state": "ACTIVE", "lock_acquired": True, "lock_holder": "blue", "lock_takeover_event": None,
    }  # fmt: skip
    assert found["lock_holder_pid"] == sql("select holder_pid from tidemark.leases")[0][0]
    assert 20 <= found["lock_heartbeat_age"] < 40
    assert found["lock_idle_duration"] == 0
    assert held.holder == "blue"


def test_health_of_a_passive_one_tells_who_is_active(passive):
    found = health()
    assert (found["active"], found["lock_state"], found["lock_acquired"], found["lock_holder"]) == (False, "PASSIVE", False, "blue")


def test_health_when_nobody_holds_it_tells_for_how_long(sql, passive, turn_clock, configured):
    turn_clock(LEASE + 30 * SECOND)
    assert 30 <= health()["lock_idle_duration"] < 60
    configured(DEPLOYMENT="blue")
    found = health()
    assert (found["active"], found["lock_state"]) == (False, "PASSIVE")  # it was, and is no more


def test_every_number_of_the_lease_is_a_json_number_and_the_takeover_an_object(sql, passive, turn_clock):
    turn_clock(LEASE + 2 * SECOND)
    tick.tick()
    reply = wsgi(Request("GET", "/health", "", (), b""), "health")
    found = reply.json
    assert {name: type(found[name]) for name in LOCK} == LOCK
    takeover = found["lock_takeover_event"]
    assert {name: type(value) for name, value in takeover.items()} == {
        "from": str, "to": str, "at": str, "token": int, "expired_for_seconds": float,
    }  # fmt: skip
    assert (takeover["from"], takeover["to"]) == ("blue", "green")
    assert 2 <= takeover["expired_for_seconds"] < 30
    assert datetime.fromisoformat(takeover["at"]).tzinfo is not None


def test_an_owner_hands_over_and_the_other_deployment_ticks(sql, configured, rung):
    configured(DEPLOYMENT="blue")
    assert tick.tick().is_active
    owner = (("authorization", f"Bearer {OWNER}"),)
    reply = wsgi(Request("POST", "/admin/lease/release", "", owner, b""), "admin")
    assert (reply.status, reply.json["released_from"]) == (200, "blue")
    assert not tick.tick().is_active
    configured(DEPLOYMENT="green")
    assert tick.tick().is_active
    assert health()["lock_takeover_event"]["from"] == "blue"
    configured(DEPLOYMENT="blue")
    assert health()["lock_state"] == "PASSIVE"
    configured(DEPLOYMENT="nobody")
    sql("update tidemark.leases set expires_at = heartbeat_at")
    reply = wsgi(Request("POST", "/admin/lease/release", "", owner, b""), "admin")
    assert reply.status == 409
