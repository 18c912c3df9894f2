"""Hypershard, or 1,000,000 shards: lazy splitting of ranges. Few rows, however many shards, and each is done once in effect.

Real processes are killed by SIGKILL at each of their statements in test_rehydrate.py, and at random times in
tests/chaos/test_sync_kills.py and the campaigns of tests/chaos; here they die in-process, at random shards.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import timedelta

from common.flows import plan_shards, plan_status, work
from tests import kinds
from tests.chaos import check
from tests.kinds import a_stage, submit

MILLION = 1_000_000


class Death(BaseException):
    """What no worker holds back: as if it had been killed."""


def test_a_plan_of_a_million_shards_is_submitted_at_once_in_few_rows(database_url, sql):
    started = time.perf_counter()
    plan = submit(a_stage(kind="noop", shards=MILLION, concurrency=64))
    assert time.perf_counter() - started < 2
    assert plan_status.status(plan)["total_shards"] == MILLION
    assert sql("select (select count(*) from tidemark.stages), (select count(*) from tidemark.lanes)") == [[1, 64]]
    assert sql("select count(*) from tidemark.leaves") == [[0]]


def test_a_running_plan_of_a_million_shards_is_shown_from_a_few_rows(database_url, sql, configured):
    configured(FUNCTION_TIMEOUT_SECONDS="1")
    plan = submit(a_stage(kind="noop", shards=MILLION, concurrency=64))
    work.work(beside=1)
    found = plan_status.status(plan)
    assert 0 < found["done_shards"] < MILLION
    drawn = plan_shards.shards(plan)["stages"][0]
    assert (drawn["shards_per_cell"], drawn["done"]) == (1, found["done_shards"])
    assert len(drawn["runs"]) < 4096
    read = sql("select sum(n_live_tup) from pg_stat_user_tables where relname in ('lanes', 'stages', 'plans', 'shard_failures')")
    assert read[0][0] < 500


def test_workers_killed_at_random_do_each_shard_once_in_effect(trial, sql, turn_clock, database_url):
    chance, deaths = random.Random(5), 0
    doomed = dict.fromkeys(chance.sample(range(400), 25), 2)
    plan = submit(a_stage(shards=400, concurrency=6), constraints={"timebox_ms": 86_400_000})

    def die(shard):
        def hook(_):
            if doomed[shard]:
                doomed[shard] -= 1
                raise Death

        return hook

    kinds.hooks.update({shard: die(shard) for shard in doomed})
    for _ in range(200):
        try:
            work.work()
        except Death:
            deaths += 1
        if plan_status.status(plan)["finished_at"]:
            break
        turn_clock(timedelta(seconds=31))
    found = plan_status.status(plan)
    assert (found["status"], found["done_shards"], found["failed_shards"]) == ("succeeded", 400, 0)
    assert deaths == 50
    done = Counter(row[0] for row in sql("select shard from trials"))
    assert done == Counter(range(400))
    assert check.plan_faults(database_url) == []
