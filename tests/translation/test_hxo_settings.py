"""Each variable of the engine has an effect that is seen here, or in the test that this names.

HXO_AUTOSPLIT_P95_MS, HXO_AUTOSPLIT_FACTOR: test_autosplit_by_p95.py. HXO_ALIR_ENABLED: test_alir.py. HXO_PREDICTIVE_MODE:
test_leviathan_prediction.py. HXO_HEAL_DEPTH_LIMIT: test_heal_depth_limit.py. HXO_QUANTUM_HASHING: tests/flows/test_work.py.
"""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from common import db
from common.errors import Invalid, Unavailable
from common.flows import plan_status, plan_verbs, rehydrate, telemetry, work
from common.stores import lanes
from tests import divisible, kinds
from tests.divisible import a_divisible
from tests.kinds import a_stage, submit


def pointers(refused):
    return [fault["pointer"] for fault in refused.value.fields["errors"]]


def test_hxo_max_shards_refuses_larger_plans(trial, configured):
    configured(HXO_MAX_SHARDS="10")
    submit(a_stage(shards=10))
    with pytest.raises(Invalid) as refused:
        submit(a_stage(shards=11))
    assert pointers(refused) == ["/stages/0"]
    with pytest.raises(Invalid) as refused:
        submit(a_stage(shards=1), constraints={"max_shards": 11})
    assert pointers(refused) == ["/constraints/max_shards"]


def test_hxo_max_concurrency_bounds_what_a_plan_asks_for_and_gets(trial, configured):
    configured(HXO_MAX_CONCURRENCY="2")
    with pytest.raises(Invalid) as refused:
        submit(a_stage(shards=10, concurrency=3))
    assert pointers(refused) == ["/stages/0/concurrency"]
    submit({"id": "one", "kind": "trial", "config": {"shards": 10}}, {"id": "two", "kind": "trial", "config": {"shards": 10}})
    with db.transaction("worker") as tx:
        taken = [lanes.take(tx, holder="test", lease=timedelta(seconds=30)) for _ in range(5)]
    assert sum(lane is not None for lane in taken) == 2


def test_hxo_shard_timeout_ms_fails_a_shard_that_takes_longer(trial, configured):
    configured(HXO_SHARD_TIMEOUT_MS="50")
    kinds.hooks[0] = lambda _: time.sleep(0.06)
    plan = submit(a_stage(shards=1))
    work.work()
    assert plan_status.report(plan)["failures"][0]["code"] == "timeout"


def test_hxo_default_slo_ms_is_what_a_stage_has_that_does_not_say(trial, configured, turn_clock):
    configured(HXO_DEFAULT_SLO_MS="1000")
    submit(a_stage(shards=1))
    assert plan_verbs.watch() == 0
    turn_clock(timedelta(seconds=2))
    assert plan_verbs.watch() == 1


@pytest.mark.parametrize(("factor", "pieces"), [("2", 2), ("4", 4), ("8", 8)])
def test_hxo_autosplit_factor_is_into_how_many_pieces_a_shard_falls(sql, monkeypatch, configured, factor, pieces):
    divisible.known(sql, monkeypatch)
    configured(HXO_AUTOSPLIT_FACTOR=factor, HXO_AUTOSPLIT_P95_MS="1000")
    plan = submit(a_divisible(shards=1, units=8))
    sql("update tidemark.stages set took = '[2.0]'")
    work.work()
    assert plan_status.status(plan)["stages"][0]["pieces"] == pieces


@pytest.mark.parametrize(("limit", "pieces"), [("1000", 4), ("3000", 0)])
def test_hxo_autosplit_p95_ms_is_from_where_on_shards_are_split(sql, monkeypatch, configured, limit, pieces):
    divisible.known(sql, monkeypatch)
    configured(HXO_AUTOSPLIT_P95_MS=limit)
    plan = submit(a_divisible(shards=1, units=8))
    sql("update tidemark.stages set took = '[2.0]'")
    work.work()
    assert plan_status.status(plan)["stages"][0]["pieces"] == pieces


@pytest.mark.parametrize(("limit", "halted"), [("1", True), ("5", False)])
def test_hxo_heal_depth_limit_is_how_often_a_shard_is_healed_before_its_plan_halts(trial, configured, turn_clock, limit, halted):
    configured(HXO_HEAL_DEPTH_LIMIT=limit)
    plan = submit(a_stage(shards=1, fail={"0": 2}))
    for _ in range(4):
        work.work()
        turn_clock(timedelta(minutes=2))
    assert (plan_status.status(plan)["status"] == "halted") is halted


def test_hxo_predictive_mode_switched_off_is_no_forecast(trial, configured, turn_clock):
    plan = submit(a_stage(shards=10, concurrency=1))
    work.Worker(0.0, (), "test").take_turn()
    turn_clock(timedelta(seconds=5))
    assert plan_status.status(plan)["eta_seconds"] > 0
    configured(HXO_PREDICTIVE_MODE="false")
    assert plan_status.status(plan)["eta_seconds"] is None


def test_hxo_alir_enabled_is_whether_a_limit_that_stands_counts(trial, sql, configured):
    sql("insert into tidemark.concurrency values ('trial', 1, 1, 1, 100, app_now())")
    submit(a_stage(shards=40, concurrency=4))
    with db.transaction("worker") as tx:
        assert lanes.free(tx).now == 1
    configured(HXO_ALIR_ENABLED="false")
    with db.transaction("worker") as tx:
        assert lanes.free(tx).now == 4


def test_hxo_enabled_switched_off_refuses_whatever_would_do_something_and_still_shows_what_is_there(trial, configured):
    plan = submit(a_stage(shards=1))
    configured(HXO_ENABLED="false")
    acts = [
        lambda: submit(a_stage(shards=1)),
        lambda: plan_verbs.act("cancel", plan),
        lambda: rehydrate.one(plan),
        rehydrate.every,
        lambda: telemetry.retry_stuck({}),
    ]
    for act in acts:
        with pytest.raises(Unavailable) as refused:
            act()
        assert refused.value.fields["reason"] == "disabled"
    assert plan_status.status(plan)["status"] == "running"
    assert plan_status.overview()["enabled"] is False
