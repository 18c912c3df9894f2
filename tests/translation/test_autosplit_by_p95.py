"""Autosplit by p95: adaptive splitting of what is slow, down to the slow part itself, and never beyond what a plan may have."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from common.flows import plan_status, work
from common.rules import merkle
from tests import divisible
from tests.divisible import a_divisible
from tests.kinds import a_stage, submit

DAY = {"timebox_ms": 86_400_000}


@pytest.fixture
def kind(sql, monkeypatch):
    return divisible.known(sql, monkeypatch)


def finish(plan, turn_clock, rounds=40):
    for _ in range(rounds):
        work.work()
        found = plan_status.status(plan)
        if found["finished_at"]:
            return found
        turn_clock(timedelta(minutes=2))
    raise AssertionError(found)


def units(sql):
    return [tuple(row) for row in sql("select shard, unit from units order by 1, 2")]


def signals(sql):
    return {
        (row[0], row[1])
        for row in sql(
            "select payload ->> 'signal_type', payload ->> 'suggested_action' from tidemark.notices where topic = 'hxo.autotune.signal'"
        )
    }


def test_a_slow_unit_is_isolated_after_as_many_splits_as_the_logarithm_says(kind, sql, turn_clock):
    stage = a_divisible(shards=2, units=64, slow=[[1, 37]], slow_ms=60)
    found = finish(submit(stage, constraints=DAY | {"shard_timeout_ms": 50}), turn_clock)
    assert found["status"] == "failed"
    assert units(sql) == [(shard, unit) for shard in (0, 1) for unit in range(64) if (shard, unit) != (1, 37)]
    assert sql("select count(*) from tidemark.heal_actions where action = 'split'") == [[3]]  # log4(64): 64, 16, 4, 1
    assert sql("select piece, code from tidemark.shard_failures where status = 'dead' and pieces is null") == [
        [[37, 38], "timeout"]
    ]
    assert signals(sql) >= {("hotspot", "split_shard")}


def test_a_split_shard_is_a_leaf_over_its_pieces_and_the_shape_of_the_tree_stays(kind, sql, turn_clock):
    stage = a_divisible(shards=3, units=4, slow=[[1, 2]], slow_ms=60)
    plan = submit(stage, constraints=DAY | {"shard_timeout_ms": 50})
    sql("update tidemark.stages set chunk = 1")
    for _ in range(2):
        work.work()
        turn_clock(timedelta(minutes=2))
    sql("update tidemark.stages set config = config - 'slow'")  # the slow unit is well again
    found = finish(plan, turn_clock)
    hash_ = merkle.hasher(found["hash"])
    pieces = b"".join(merkle.leaf(hash_, b"1: %d to %d" % (lo, lo + 1)) for lo in range(4))
    leaves = [merkle.leaf(hash_, b"0: 0 to 4"), merkle.leaf(hash_, b"split" + pieces), merkle.leaf(hash_, b"2: 0 to 4")]
    assert (found["status"], found["total_shards"], found["stages"][0]["pieces"]) == ("succeeded", 3, 4)
    assert found["stages"][0]["merkle_root"] == merkle.root(hash_, leaves).hex()
    assert units(sql) == [(shard, unit) for shard in range(3) for unit in range(4)]


def test_a_plan_never_has_more_shards_than_it_may_however_slow_they_are(kind, sql, turn_clock):
    stage = a_divisible(shards=2, units=64, slow=[[0, 5], [1, 5]], slow_ms=60)
    found = finish(submit(stage, constraints=DAY | {"shard_timeout_ms": 50, "max_shards": 9}), turn_clock)
    assert found["status"] == "failed"
    assert found["total_shards"] + found["stages"][0]["pieces"] <= 9
    assert signals(sql) >= {("hotspot", "split_shard"), ("hotspot", "change_partitioner")}


def test_when_p95_of_the_window_is_beyond_the_limit_shards_are_split_before_they_are_run(kind, sql, turn_clock, configured):
    configured(HXO_AUTOSPLIT_P95_MS="1000", HXO_AUTOSPLIT_FACTOR="2")
    plan = submit(a_divisible(shards=2, units=8), constraints=DAY)
    sql("update tidemark.stages set took = '[2.0, 2.0, 2.0]'")
    found = finish(plan, turn_clock)
    assert (found["status"], found["failed_shards"], found["stages"][0]["pieces"]) == ("succeeded", 0, 4)
    assert set(divisible.runs) == {(shard, lo, lo + 4) for shard in (0, 1) for lo in (0, 4)}  # none was run whole
    assert units(sql) == [(shard, unit) for shard in (0, 1) for unit in range(8)]


def test_a_shard_that_waits_for_its_pieces_counts_as_work_and_not_as_a_failure(kind, sql, configured):
    configured(HXO_AUTOSPLIT_P95_MS="1000")
    plan = submit(a_divisible(shards=1, units=8) | {"concurrency": 1}, constraints=DAY)
    sql("update tidemark.stages set took = '[2.0]'")
    worker = work.Worker(0.0, (), "test")
    worker.take_turn()
    worker.take_turn()
    found = plan_status.status(plan)
    assert (found["status"], found["failed_shards"], found["stages"][0]["pieces"]) == ("running", 0, 4)


def test_the_p95_of_the_window_shrinks_chunks_though_the_last_one_was_quick(trial, sql, configured):
    configured(HXO_AUTOSPLIT_P95_MS="1000", HXO_AUTOSPLIT_FACTOR="4")
    submit(a_stage(shards=400, concurrency=1))
    sql("update tidemark.stages set chunk = 8, took = (select jsonb_agg(0.5) from generate_series(1, 64))")
    work.work()
    sizes = [row[0] for row in sql("select hi - lo from tidemark.leaves order by lo")]
    assert sizes[0] == 8
    assert max(sizes[1:5]) <= 2  # 8 shards at half a second each would take four seconds
    assert max(sizes) > 8  # and they grow again when the slow ones have slid out


def test_what_a_stage_learned_outlives_the_worker(trial, sql, configured):
    configured(HXO_AUTOSPLIT_P95_MS="30")
    trial.hooks[0] = lambda _: time.sleep(0.06)
    submit(a_stage(shards=2, concurrency=1), a_stage("kept", needs=["one"], open_ended=1))
    worker = work.Worker(0.0, (), "test")
    worker.take_turn()
    took = sql("select took from tidemark.stages where no = 0")[0][0]
    assert float(took[0]) >= 0.06
    assert signals(sql) == {("high_latency", "split_shard")}
