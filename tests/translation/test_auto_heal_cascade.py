"""Auto-heal cascade: retry, split, quarantine, escalate, in this order, each written down where nobody can change it."""

from __future__ import annotations

import pytest

from common.flows import plan_status, plan_verbs, work
from common.rules import merkle
from tests import divisible
from tests.divisible import a_divisible
from tests.kinds import a_stage, submit
from tests.translation.test_autosplit_by_p95 import DAY, finish, units


@pytest.fixture
def kind(sql, monkeypatch):
    return divisible.known(sql, monkeypatch)


def history(sql, plan):
    return [row[0] for row in sql(f"select action from tidemark.heal_actions where plan = '{plan}' order by id")]


def test_a_poison_unit_ends_in_quarantine_and_all_others_finish(kind, sql, turn_clock):
    plan = submit(a_divisible(shards=3, units=16, poison=[[1, 6]]), constraints=DAY)
    found = finish(plan, turn_clock)
    assert (found["status"], found["reason"]) == ("failed", "1 of its stages failed: shards of one in quarantine: 1")
    assert units(sql) == [(shard, unit) for shard in range(3) for unit in range(16) if (shard, unit) != (1, 6)]
    listed = plan_status.report(plan)["failures"]
    assert {(each["shard"], each["piece"] is None) for each in listed if each["status"] == "dead"} == {(1, True), (1, False)}
    assert [kind for kind, _ in sql("select alert_type, severity from tds_alerts")] == ["shards_quarantined"]


def test_the_remedies_are_tried_in_their_order_and_written_down(trial, sql, turn_clock):
    plan = submit(a_stage(shards=4, fail={"2": 9}), constraints=DAY)
    finish(plan, turn_clock)
    assert history(sql, plan) == ["retry", "retry", "quarantine", "escalate"]


def test_a_splittable_shard_is_split_between_retry_and_quarantine(kind, sql, turn_clock):
    plan = submit(a_divisible(shards=1, units=2, slow=[[0, 1]], slow_ms=60), constraints=DAY | {"shard_timeout_ms": 50})
    finish(plan, turn_clock)
    done = history(sql, plan)
    order = [done.index(action) for action in ("retry", "split", "quarantine", "escalate")]
    assert order == sorted(order)
    assert "healed" in done  # the half without the slow unit


def test_a_retry_waits_longer_each_time(trial, sql):
    submit(a_stage(shards=1, fail={"0": 9}), constraints=DAY)
    work.work()
    ((waits,),) = sql("select ready_at > app_now() from tidemark.shard_failures")
    assert waits
    assert work.work().chunks == 0


def test_what_was_done_can_be_neither_changed_nor_deleted(trial, sql, turn_clock):
    plan = submit(a_stage(shards=1, refuse=[0]))
    work.work()
    assert history(sql, plan) == ["quarantine", "escalate"]
    for change in (
        "update tidemark.heal_actions set reason = ''",
        "delete from tidemark.heal_actions",
        "truncate tidemark.heal_actions",
    ):
        with pytest.raises(Exception, match="append-only"):
            sql(change)


def test_what_is_quarantined_is_a_failed_leaf_of_the_tree(trial, sql):
    plan = submit(a_stage(shards=2, refuse=[1]))
    work.work()
    hash_ = merkle.hasher("sha3_256")
    leaves = [merkle.leaf(hash_, said) for said in (b"trial 0", b"failed 1 invalid-value")]
    assert plan_status.status(plan)["stages"][0]["merkle_root"] == merkle.root(hash_, leaves).hex()


def test_retrying_a_plan_does_only_the_piece_that_was_quarantined_anew(kind, sql, turn_clock):
    plan = submit(a_divisible(shards=1, units=16, poison=[[0, 6]]), constraints=DAY)
    finish(plan, turn_clock)
    before = dict(divisible.runs)
    sql("update tidemark.stages set config = config - 'poison'")
    plan_verbs.act("retry", plan)
    found = finish(plan, turn_clock)
    assert (found["status"], found["failed_shards"]) == ("succeeded", 0)
    assert {key for key, count in divisible.runs.items() if count != before.get(key)} == {(0, 6, 7)}
    assert units(sql) == [(0, unit) for unit in range(16)]
