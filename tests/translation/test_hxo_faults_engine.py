"""What the HXO code did not do: faults 2, 3, 5, 6, 7 and 13 of its list, none of which is to be repeated."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from common import db
from common.errors import Invalid
from common.flows import plan_status, plan_verbs, rehydrate, work
from common.rules import merkle
from common.stores import lanes
from tests import kinds
from tests.kinds import a_stage, submit

LEASE = timedelta(seconds=30)
DAY = {"timebox_ms": 86_400_000}


def take():
    with db.transaction("worker") as tx:
        return lanes.take(tx, holder="test", lease=LEASE)


def status(plan):
    return plan_status.status(plan)


# Fault 2: stored, never enforced ---------------------------------------------------------------------------------------


def test_fault_2_a_stage_over_its_slo_raises_an_alert(trial, sql, turn_clock):
    plan = submit(a_stage(shards=2) | {"slo_ms": 1000}, constraints=DAY)
    turn_clock(timedelta(seconds=2))
    plan_verbs.watch()
    assert sql("select alert_type from tds_alerts") == [["stage_over_slo"]]
    assert status(plan)["stages"][0]["is_over_slo"]


def test_fault_2_a_shard_over_its_timeout_fails_and_its_effect_is_not_written(trial, sql):
    kinds.hooks[1] = lambda _: time.sleep(0.06)
    plan = submit(a_stage(shards=3, concurrency=1), constraints=DAY | {"shard_timeout_ms": 50})
    work.work()
    assert [row[0] for row in sql("select shard from trials order by 1")] == [0, 2]
    assert plan_status.report(plan)["failures"][0]["code"] == "timeout"


def test_fault_2_one_slow_shard_among_others_of_its_chunk_fails_alone(trial, sql):
    kinds.hooks[5] = lambda _: time.sleep(0.06)
    plan = submit(a_stage(shards=9, concurrency=1), constraints=DAY | {"shard_timeout_ms": 50})
    sql("update tidemark.stages set chunk = 9")
    work.work()
    assert [row[0] for row in sql("select shard from trials order by 1")] == [0, 1, 2, 3, 4, 6, 7, 8]
    assert [(each["shard"], each["code"]) for each in plan_status.report(plan)["failures"]] == [(5, "timeout")]


def test_fault_2_a_plan_over_its_timebox_fails(trial, turn_clock):
    plan = submit(a_stage(shards=2), constraints={"timebox_ms": 1000})
    turn_clock(timedelta(seconds=2))
    plan_verbs.stop_overdue()
    assert (status(plan)["status"], status(plan)["reason"]) == ("failed", "its timebox is over")


def test_fault_2_a_stage_over_its_time_limit_fails_and_does_not_hang(trial, sql, turn_clock):
    plan = submit(a_stage(shards=2) | {"timebox_ms": 60_000}, a_stage("next", needs=["one"]), constraints=DAY)
    lane = take()
    turn_clock(timedelta(seconds=61))
    assert plan_verbs.stop_overdue() == 1
    found = status(plan)
    assert (found["status"], [stage["status"] for stage in found["stages"]]) == ("failed", ["failed", "waiting"])
    assert found["reason"] == "1 of its stages failed: one took longer than the 60 s that it may take"
    with db.transaction("worker") as tx:
        assert lanes.advance(tx, lane, next_=1, lease=LEASE) is None  # whoever held a lane of it is refused
    assert sql("select * from endings") == [["one", False]]


def test_fault_2_a_worker_that_comes_to_a_stage_over_its_time_limit_fails_it(trial, turn_clock):
    plan = submit(a_stage(shards=2) | {"timebox_ms": 60_000}, constraints=DAY)
    turn_clock(timedelta(seconds=61))
    assert work.work().shards == 0
    assert status(plan)["status"] == "failed"


def test_fault_2_a_stage_whose_last_shard_comes_too_late_has_failed(trial, turn_clock):
    plan = submit(a_stage(shards=1) | {"timebox_ms": 60_000}, constraints=DAY)
    kinds.hooks[0] = lambda _: turn_clock(timedelta(seconds=61))
    work.work()
    assert status(plan)["status"] == "failed"


def test_fault_2_other_stages_go_on_while_one_is_over_its_time_limit_and_a_retry_has_all_of_it_again(trial, sql, turn_clock):
    plan = submit(a_stage(shards=2) | {"timebox_ms": 60_000}, a_stage("beside", shards=2), constraints=DAY)
    turn_clock(timedelta(seconds=61))
    plan_verbs.stop_overdue()
    assert [stage["status"] for stage in status(plan)["stages"]] == ["failed", "open"]
    work.work()
    assert [stage["status"] for stage in status(plan)["stages"]] == ["failed", "succeeded"]
    plan_verbs.act("retry", plan)
    work.work()
    assert (status(plan)["status"], status(plan)["done_shards"]) == ("succeeded", 4)


def test_fault_2_more_shards_than_allowed_are_refused(trial):
    with pytest.raises(Invalid) as refused:
        submit(a_stage(shards=11), constraints={"max_shards": 10})
    assert refused.value.fields["errors"][0]["pointer"] == "/stages/0"


def test_fault_2_dependencies_hold_a_stage_back(trial, sql):
    submit(a_stage("last", needs=["first"], shards=1), a_stage("first", shards=1))
    work.work()
    assert [row[0] for row in sql("select stage from endings")] == ["first", "last"]


def test_fault_2_no_more_lanes_are_out_than_the_concurrency_allows(trial):
    submit(a_stage(shards=100, concurrency=50), constraints={"max_concurrency": 3})
    assert sum(take() is not None for _ in range(10)) == 3


def test_fault_2_failed_shards_are_tried_again_so_often_and_no_more(trial, turn_clock):
    plan = submit(a_stage(shards=1, fail={"0": 99}), constraints=DAY)
    for _ in range(6):
        work.work()
        turn_clock(timedelta(minutes=2))
    assert (status(plan)["status"], kinds.runs["one", 0]) == ("failed", 3)


# Fault 3: every shard stored before the answer -------------------------------------------------------------------------


def test_fault_3_submitting_a_million_shards_stores_no_shard(database_url, sql):
    plan = submit(a_stage(kind="noop", shards=1_000_000))
    assert status(plan)["pending_shards"] == 1_000_000
    counts = "select (select count(*) from tidemark.lanes), (select count(*) from tidemark.shard_failures), (select count(*) from tidemark.leaves)"
    assert sql(counts) == [[4, 0, 0]]


# Fault 5: failed and repeated shards no leaves, a failed stage that stops nothing ----------------------------------------


def test_fault_5_a_shard_that_failed_or_was_done_before_is_a_leaf_all_the_same(trial, sql, turn_clock):
    plan = submit(a_stage(shards=3, refuse=[1], fail={"2": 1}))
    work.work()
    turn_clock(timedelta(minutes=2))
    work.work()
    hash_ = merkle.hasher("sha3_256")
    leaves = [merkle.leaf(hash_, said) for said in (b"trial 0", b"failed 1 invalid-value", b"trial 2")]
    assert status(plan)["stages"][0]["merkle_root"] == merkle.root(hash_, leaves).hex()


def test_fault_5_a_failed_stage_stops_the_next_and_the_plan_does_not_succeed(trial, sql):
    plan = submit(a_stage("first", shards=2, refuse=[0]), a_stage("next", needs=["first"], shards=1))
    work.work()
    found = status(plan)
    assert (found["status"], [stage["status"] for stage in found["stages"]]) == ("failed", ["failed", "waiting"])
    assert kinds.runs["next", 0] == 0


# Fault 6: reading the status loses it ------------------------------------------------------------------------------------


def test_fault_6_reading_the_status_again_and_again_changes_nothing(trial):
    plan = submit(a_stage(shards=4))
    work.work()
    first = status(plan)
    assert first["merkle_root"]
    assert first["started_at"]
    assert first["finished_at"]
    assert all(status(plan) == first for _ in range(3))


# Fault 7: a running shard overwrites the abort -----------------------------------------------------------------------------


def test_fault_7_a_shard_that_runs_while_its_plan_is_aborted_writes_nothing(trial, sql):
    plan = submit(a_stage(shards=2, concurrency=1))
    kinds.hooks[0] = lambda _: plan_verbs.act("abort", plan)
    assert work.work().lost == 1
    assert (status(plan)["status"], status(plan)["done_shards"]) == ("aborted", 0)
    assert sql("select count(*) from trials") == [[0]]
    assert sql("select count(*) from tidemark.leaves") == [[0]]


# Fault 13: the rehydrator finds nothing -------------------------------------------------------------------------------------


def test_fault_13_the_rehydrator_finds_what_is_there(trial, turn_clock):
    idle, dead, done = (
        submit(a_stage(shards=5)),
        submit(a_stage("dead", shards=5), priority=1),
        submit(a_stage("done", kind="noop")),
    )
    work.Worker(time.monotonic() + 5, ("noop",), "test").go()
    assert take().plan == dead
    turn_clock(timedelta(seconds=31))
    found = {each["plan_id"]: each["lanes_lapsed"] for each in rehydrate.incomplete()["plans"]}
    assert found == {idle: 0, dead: 1}
    assert done not in found
