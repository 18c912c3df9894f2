"""What workers, ticks and operators can do to one plan at the same moment."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from common import db
from common.errors import AppError, Conflict
from common.flows import plan_status, plan_verbs, plans, seal, work
from common.stores import lanes
from common.stores import plans as store
from tests import kinds
from tests.chaos import check
from tests.chaos.processes import eventually
from tests.kinds import a_stage, submit

LEASE = timedelta(seconds=30)
LONG = os.environ.get("TIDEMARK_LONG") == "1"
WAIT = timedelta(minutes=2)
WAITS = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


def take():
    with db.transaction("worker") as tx:
        return lanes.take(tx, holder="test", lease=LEASE)


def status(plan):
    return plan_status.status(plan)["status"]


def done(sql):
    return [row[0] for row in sql("select shard from trials order by stage, shard")]


# Trying again ----------------------------------------------------------------------------------------------------------


def test_a_plan_whose_time_was_over_does_the_rest_when_it_is_tried_again(sql, trial, turn_clock, database_url):
    plan = submit(a_stage(shards=10, concurrency=2), constraints={"timebox_ms": 60_000})
    kinds.hooks[0] = lambda _: turn_clock(timedelta(seconds=61))
    work.work()
    kinds.hooks.clear()
    plan_verbs.stop_overdue()
    assert status(plan) == "failed"
    plan_verbs.act("retry", plan)
    work.work()
    assert status(plan) == "succeeded"
    assert done(sql) == list(range(10))
    assert check.plan_faults(database_url) == []


def test_the_waves_after_one_that_failed_begin_when_it_went_well_after_all(sql, trial, turn_clock):
    plan = submit(a_stage(shards=100, concurrency=2, fail={"3": 3}) | {"waves": [10, 40, 50]})
    for _ in range(4):
        work.work()
        turn_clock(WAIT)
    assert status(plan) == "failed"
    assert len(done(sql)) == 9
    plan_verbs.act("retry", plan)
    for _ in range(3):
        work.work()
        turn_clock(WAIT)
    assert status(plan) == "succeeded"
    assert sorted(done(sql)) == list(range(100))


def test_an_open_ended_stage_that_failed_can_be_tried_again(sql, trial, turn_clock):
    plan = submit(a_stage(open_ended=5, fail={"2": 3}))
    for _ in range(4):
        work.work()
        turn_clock(WAIT)
    assert status(plan) == "failed"
    plan_verbs.act("retry", plan)
    work.work()
    assert status(plan) == "succeeded"
    assert set(range(5)) <= set(done(sql))


# Stopping ----------------------------------------------------------------------------------------------------------------


def test_a_plan_that_succeeds_in_the_moment_its_time_is_over_has_succeeded(sql, trial, monkeypatch):
    plan = submit(a_stage(shards=2))
    work.work()
    assert status(plan) == "succeeded"
    monkeypatch.setattr(store, "overdue", lambda _tx, _limit: [plan])  # as it was looked up a moment before
    plan_verbs.stop_overdue()
    assert status(plan) == "succeeded"


# Rolling back --------------------------------------------------------------------------------------------------------------


def test_what_was_rolled_back_is_not_rolled_back_by_a_second_operator_as_well(sql, trial):
    plan = submit(a_stage(shards=2))
    work.work()
    plans.rollback(plan)
    with pytest.raises(Conflict):
        plans.rollback(plan)


def test_a_rollback_is_not_rolled_back_by_taking_the_same_thing_back_twice(sql, trial):
    plan = submit(a_stage(shards=2))
    work.work()
    undoing = plans.rollback(plan)[1]["plan_id"]
    work.work()
    with pytest.raises(Conflict, match="replay"):
        plans.rollback(undoing)


def test_a_rollback_is_not_replayed_as_if_it_were_a_plan_that_does_something(sql, trial):
    plan = submit(a_stage(shards=2))
    work.work()
    undoing = plans.rollback(plan)[1]["plan_id"]
    work.work()
    with pytest.raises(Conflict, match="replay the other"):
        plans.replay(undoing)
    assert sql("select bool_and(taken_back), count(*) from trials") == [[True, 2]]


# Rings ----------------------------------------------------------------------------------------------------------------------


def test_lanes_that_may_not_be_taken_yet_ring_for_nobody(sql, trial, monkeypatch, turn_clock):
    rung = []
    submit(a_stage("a", shards=64), a_stage("b", shards=64), a_stage("c", shards=64), constraints={"max_concurrency": 4})
    monkeypatch.setattr(work.ring, "ring", lambda *_, **body: rung.append(body) or True)
    assert all(take() for _ in range(3))
    assert work.call_for_more() == 1
    assert take()
    assert work.call_for_more() == 0
    sql("""update tidemark.settings set value = '{"trial": 2}' where key = 'plans.concurrency'""")
    turn_clock(timedelta(seconds=31))
    assert work.call_for_more() == 2
    assert len(rung) == 3


def test_whoever_found_nothing_rings_for_one_other_at_most(sql, trial, monkeypatch):
    submit(a_stage(shards=64, concurrency=16))
    monkeypatch.setattr(work.ring, "ring", lambda *_, **__: True)
    assert work.call_for_more(1) == 1


# Locks ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def together():
    """Run functions at the same time; what they raised."""

    def run(*acts):
        gate, errors = threading.Barrier(len(acts)), []

        def go(act):
            gate.wait()
            try:
                act()
            except Exception as error:  # noqa: BLE001
                errors.append(error)

        with ThreadPoolExecutor(len(acts)) as pool:
            list(pool.map(go, acts))
        return errors

    return run


@pytest.mark.parametrize("pages", [1, 2, 4])
def test_the_end_of_an_open_ended_stage_and_a_taker_do_not_block_each_other(sql, trial, together, pages):
    for _ in range(12):
        plan = submit(a_stage(open_ended=pages, concurrency=4))
        assert not together(*[work.work] * 4)
        assert status(plan) == "succeeded"
    assert sql("select deadlocks from pg_stat_database where datname = current_database()") == [[0]]


def test_the_last_two_lanes_end_their_stage_once(sql, trial, together):
    for number in range(10):
        plan = submit(a_stage(f"s{number}", shards=2, concurrency=2), a_stage("after", needs=[f"s{number}"], shards=1))
        assert not together(work.work, work.work)
        work.work()
        assert status(plan) == "succeeded"
    assert sql("select stage, count(*) from endings where stage <> 'after' group by 1 having count(*) <> 1") == []


def test_a_shard_that_dies_and_a_shard_that_ends_the_stage_do_not_block_each_other(sql, trial, together, turn_clock):
    for _ in range(6):
        kinds.runs.clear()
        plan = submit(a_stage(shards=4, concurrency=4, fail={str(shard): 9 for shard in range(4)}))
        for _ in range(3):
            assert not together(*[work.work] * 4)
            turn_clock(WAIT)
        assert status(plan) == "failed"
    assert sql("select deadlocks from pg_stat_database where datname = current_database()") == [[0]]


class Crowd:
    """Eight workers, two ticks and two operators on small plans, all of them at once."""

    def __init__(self, turn_clock, seconds):
        self.chance = random.Random(11)
        self.turn_clock = turn_clock
        self.turning = threading.Lock()  # the clock's connection is one
        self.until = time.monotonic() + seconds
        self.errors = []
        self.known = [self.begin() for _ in range(3)]

    def begin(self):
        fails = {str(shard): 1 for shard in range(0, 40, 7)}
        return submit(
            a_stage("list", open_ended=self.chance.randint(1, 9), concurrency=3, fail={"1": 1}),
            a_stage("work", shards=40, concurrency=4, fail=fails),
            a_stage("end", needs=["list", "work"], shards=3),
        )

    def worker(self, _):
        work.work()
        time.sleep(0.002)  # as long as a ring takes

    def tick(self, _):
        plan_verbs.stop_overdue()
        with self.turning:
            self.turn_clock(timedelta(seconds=2))
        time.sleep(0.02)

    def operator(self, chance):
        verb = chance.choice(["pause", "resume", "resume", "retry", "retry", "cancel", "abort", "begin", "begin"])
        if verb != "begin":
            plan_verbs.act(verb, chance.choice(self.known[-6:]))
        elif len(self.known) < 60:
            self.known.append(self.begin())
        time.sleep(0.01)

    def go(self, act, seed):
        chance = random.Random(seed)
        while time.monotonic() < self.until:
            try:
                act(chance)
            except Conflict:
                continue
            except AppError as error:
                self.errors.append((act.__name__, repr(error)))

    def run(self):
        acts = [*[self.worker] * 8, self.tick, self.tick, self.operator, self.operator]
        with ThreadPoolExecutor(len(acts)) as pool:
            list(pool.map(self.go, acts, range(len(acts))))


@pytest.mark.process
def test_workers_and_operators_at_random_strand_no_plan_and_see_no_deadlock(sql, trial, turn_clock, database_url, capsys):
    crowd = Crowd(turn_clock, 60 if LONG else 8)
    crowd.run()
    for _ in range(40):
        for plan in crowd.known:
            with contextlib.suppress(Conflict):
                plan_verbs.act("resume", plan)
        plan_verbs.stop_overdue()
        work.work()
        if sql("select count(*) from tidemark.plans where finished_at is null") == [[0]]:
            break
        turn_clock(timedelta(seconds=61))
    states = sql("select status, count(*) from tidemark.plans group by 1 order by 1")
    (deadlocks,) = sql("select deadlocks from pg_stat_database where datname = current_database()")[0]
    with capsys.disabled():
        sys.stdout.write(f"\n{len(crowd.known)} plans ended as {states}; {deadlocks} deadlocks, none of which reached a caller\n")
    assert not crowd.errors
    assert {row[0] for row in states} <= {"succeeded", "failed", "cancelled", "aborted"}
    assert check.plan_faults(database_url) == []
    assert sql("select plan, stage, shard, count(*) from trials group by 1, 2, 3 having count(*) > 1") == []


def test_who_closes_a_tree_and_who_opens_its_plan_again_lock_in_one_order(sql, trial):
    """Sealing locked the plan before its stages: one of the two ended in a deadlock, and took a whole call with it."""
    plan = submit(a_stage(shards=3))
    work.work()
    sql("update tidemark.plans set root = null; update tidemark.stages set root = null")
    said = []
    sealing = threading.Thread(target=lambda: said.append(seal.seal(plan)))
    with db.transaction("worker") as tx:
        tx.statement("select from tidemark.stages for no key update", {})
        sealing.start()
        eventually(lambda: sql(WAITS), 10, "that the sealing waits")
        assert store.lock(tx, plan) is not None
    sealing.join()
    assert said == [True]
    assert sql("select count(*) from tidemark.plans where root is not null") == [[1]]
