"""Rehydrate: crash recovery. Whatever dies, wherever, what is not over is found, goes on, and ends with the same tree."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

import pytest

from common import db
from common.errors import Conflict, Unknown
from common.flows import plan_status, rehydrate, seal, work
from common.rules import merkle
from common.stores import lanes
from tests.chaos import check
from tests.chaos.doomed import DIED, Doomed
from tests.kinds import a_stage, submit

LEASE = timedelta(seconds=30)
LATER = timedelta(seconds=31)
STEP = 1 if os.environ.get("TIDEMARK_LONG") == "1" else 9  # every statement, or one in nine


def take(kinds=()):
    with db.transaction("worker") as tx:
        return lanes.take(tx, holder="test", lease=LEASE, kinds=kinds)


def roots(plan):
    return [stage["merkle_root"] for stage in plan_status.status(plan)["stages"]]


def expected(counts):
    hash_ = merkle.hasher("sha3_256")
    return [merkle.root(hash_, [merkle.leaf(hash_, b"noop %d" % shard) for shard in range(count)]).hex() for count in counts]


def two_stages():
    return submit(
        a_stage("first", kind="noop", shards=13, concurrency=2) | {"waves": [40, 60]},
        a_stage("second", kind="noop", needs=["first"], shards=5, concurrency=2),
    )


@pytest.mark.process
def test_a_worker_killed_at_every_one_of_its_statements_leaves_a_plan_that_ends_with_the_same_root(
    database_url, sql, turn_clock, capsys
):
    doomed, number, code = Doomed(database_url), 0, DIED
    while code == DIED:
        number += STEP
        plan = two_stages()
        code = doomed.order(f"shards {number}")
        turn_clock(LATER)
        if not plan_status.status(plan)["finished_at"]:
            rehydrate.one(plan)
            work.work()
        seal.seal_all(float("inf"))
        found = plan_status.status(plan)
        assert (found["status"], found["done_shards"]) == ("succeeded", 18), f"killed at statement {number}"
        assert roots(plan) == expected([13, 5]), f"killed at statement {number}"
        assert check.plan_faults(database_url) == [], f"killed at statement {number}"
    doomed.close()
    assert code == 0
    assert number > 30
    with capsys.disabled():
        sys.stdout.write(f"\na plan's worker was killed at {number // STEP - 1} of its {number - STEP} statements\n")


def test_what_a_dead_worker_held_is_found_and_goes_on(trial, sql, turn_clock):
    plan = submit(a_stage(shards=10, concurrency=1))
    take()
    turn_clock(LATER)
    (found,) = rehydrate.incomplete()["plans"]
    assert (found["plan_id"], found["lanes_lapsed"], found["lanes_held"], found["status"]) == (plan, 1, 0, "running")
    answer = rehydrate.one(plan)
    assert answer[0] == 202
    assert answer[1]["plans"] == [{"plan_id": plan, "leases_lapsed": 1, "stages_settled": 0, "was_adrift": False}]
    work.work()
    assert plan_status.status(plan)["status"] == "succeeded"
    assert rehydrate.incomplete() == {"count": 0, "plans": []}


def test_a_stage_that_nobody_ended_is_ended_and_the_next_one_opened(trial, sql):
    plan = submit(a_stage(shards=1, concurrency=1), a_stage("next", needs=["one"], shards=1))
    lane = take()
    with db.transaction("worker") as tx:
        lanes.advance(tx, lane, next_=1, lease=LEASE)  # and died before it could end the stage
    assert rehydrate.incomplete()["plans"][0]["stages_stranded"] == 1
    assert rehydrate.one(plan)[1]["plans"][0]["stages_settled"] == 1
    assert [stage["status"] for stage in plan_status.status(plan)["stages"]] == ["succeeded", "open"]


def test_a_plan_of_which_no_stage_is_open_goes_on(trial, sql):
    plan = submit(a_stage(shards=1), a_stage("next", needs=["one"], shards=1))
    work.Worker(0.0, ("trial",), "test").take_turn()
    sql("delete from tidemark.lanes")
    sql("update tidemark.stages set status = 'waiting', opened_at = null where no = 1")
    assert rehydrate.incomplete()["plans"][0]["is_adrift"]
    rehydrate.every()
    work.work()
    assert plan_status.status(plan)["status"] == "succeeded"


def test_an_open_ended_stage_without_a_lane_gets_one(trial, sql):
    plan = submit(a_stage(open_ended=3))
    sql("delete from tidemark.lanes")
    rehydrate.one(plan)
    work.work()
    assert plan_status.status(plan)["status"] == "succeeded"


def test_what_runs_well_is_left_alone(trial, sql):
    plan = submit(a_stage(shards=10, concurrency=1))
    lane = take()
    rehydrate.every()
    with db.transaction("worker") as tx:
        assert lanes.advance(tx, lane, next_=1, lease=LEASE) is not None
    assert sql(f"select action from tidemark.heal_actions where plan = '{plan}'") == [["rehydrate"]]


def test_a_plan_that_is_over_or_unknown_is_not_rehydrated(trial, sql):
    plan = submit(a_stage(shards=1))
    work.work()
    with pytest.raises(Conflict, match="succeeded"):
        rehydrate.one(plan)
    with pytest.raises(Unknown):
        rehydrate.one("00000000-0000-4000-8000-000000000000")
