"""ALIR: adaptive concurrency by latency, with classes of priority, of which the lowest is shed first and the first never."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from common import db
from common.flows import pacing, work
from common.rules import aimd
from common.stores import concurrency, lanes, shard_failures
from tests.kinds import a_stage, submit

LEASE = timedelta(seconds=30)


def take():
    with db.transaction("worker") as tx:
        return lanes.take(tx, holder="test", lease=LEASE)


def free():
    with db.transaction("worker") as tx:
        return lanes.free(tx).now


def limited(sql, most):
    sql(
        f"insert into tidemark.concurrency values ('trial', {most}, 0.5, 0.1, 100, app_now()) on conflict (kind) do update set most = {most}"
    )


def plans(*priorities):
    return {submit(a_stage(shards=64, concurrency=8), priority=priority): priority for priority in priorities}


def taken(known, most=64):
    """The priorities of the plans whose lanes can be taken, one after the other."""
    found = []
    while len(found) < most and (lane := take()):
        found.append(known[lane.plan])
    return found


def test_latency_that_doubles_makes_the_limit_fall_and_one_that_falls_makes_it_recover(trial, sql, turn_clock):
    submit(a_stage(shards=640, concurrency=16))
    for _ in range(10):
        take()

    def told(seconds):
        with db.transaction("worker") as tx:
            pacing.adapt(tx, "trial", seconds, ceiling=64)
            found = concurrency.lock(tx, "trial")
        turn_clock(timedelta(seconds=6))
        return found.most

    assert [told(0.1) for _ in range(8)] == [None] * 8
    limits = [told(0.5) for _ in range(4)]
    assert limits[-1] is not None
    assert limits[-1] < 10
    assert take() is None or limits[-1] > 0
    well = [told(0.1) for _ in range(90)]
    assert well[-1] is None


def test_the_lowest_class_is_shed_first_and_the_first_never(trial, sql):
    limited(sql, 4)
    known = plans(2, 4, 7, 9)
    assert taken(known) == [*[2] * 8]  # never shed, though the limit is four; and now there is no room for others
    sql("update tidemark.lanes set leased_until = null, busy = done")
    only = {plan: priority for plan, priority in known.items() if priority != 2}
    sql("update tidemark.plans set status = 'paused' where priority = 2")
    assert taken(only) == [4, 4, 4, 4]


@pytest.mark.parametrize(("priority", "room"), [(1, 8), (2, 8), (3, 4), (5, 4), (6, 3), (8, 3), (9, 2), (10, 2)])
def test_each_class_has_its_share_of_the_limit(trial, sql, priority, room):
    limited(sql, 4)
    known = plans(priority)
    assert free() == room  # nobody is rung for what is shed
    assert len(taken(known)) == room
    assert free() == 0


def test_who_waits_long_is_shed_no_longer_than_others_and_never_climbs_into_the_first_class(trial, sql, turn_clock):
    limited(sql, 2)
    known = plans(10)
    assert len(taken(known)) == 1
    turn_clock(timedelta(seconds=20))
    assert taken(known) == []
    sql("update tidemark.lanes set leased_until = app_now() + interval '1 hour' where leased_until is not null")
    turn_clock(timedelta(minutes=3))
    assert len(taken(known)) == 1  # the whole of the limit, and no more


def test_a_low_priority_does_not_starve_behind_an_endless_higher_one(trial, sql, turn_clock):
    known = plans(4, 9)
    turn_clock(timedelta(minutes=4))
    sql("update tidemark.lanes l set served_at = app_now() from tidemark.plans p where p.id = l.plan and p.priority = 4")
    assert taken(known, most=1) == [9]


def test_a_failed_shard_is_bound_by_the_same_limit(trial, sql, turn_clock):
    submit(a_stage(shards=1, fail={"0": 1}))
    work.work()
    limited(sql, 1)
    submit(a_stage("two", shards=9))
    turn_clock(timedelta(minutes=2))
    assert take() is not None
    with db.transaction("worker") as tx:
        assert shard_failures.take(tx, lease=LEASE) is None


def test_alir_switched_off_is_a_fixed_number(trial, sql, configured):
    limited(sql, 1)
    configured(HXO_ALIR_ENABLED="false")
    known = plans(9)
    assert len(taken(known)) == 8


def test_slow_turns_are_told_of_by_the_workers_themselves_and_not_when_it_is_off(trial, sql, configured):
    trial.hooks[0] = lambda _: time.sleep(0.06)
    configured(HXO_ALIR_ENABLED="false")
    submit(a_stage(shards=1))
    work.work()
    assert sql("select count(*) from tidemark.concurrency") == [[0]]
    configured(HXO_ALIR_ENABLED="true")
    submit(a_stage(shards=1))
    work.work()
    assert sql("select kind, most, latency_seconds >= 0.06 from tidemark.concurrency") == [["trial", None, True]]


def test_the_rule_and_the_database_agree_on_every_share(sql):
    rows = sql("select m, u, tidemark.room(m, u) from generate_series(1, 64) m, generate_series(1, 10) u")
    assert [row for row in rows if aimd.room(row[0], row[1]) != row[2]] == []
    assert len(rows) == 640
