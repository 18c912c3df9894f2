"""Leviathan prediction, or predictive mode: when a plan will be over and when the queue is full, with an interval; advisory.

That it beats the last minute's rate, and is switched off where it does not, is shown in tests/rules/test_progress_forecast.py.
"""

from __future__ import annotations

from datetime import timedelta

from common.flows import forecasting, plan_status, telemetry, work
from tests.kinds import a_stage, submit

DAY = {"timebox_ms": 86_400_000}


def progress(sql, turn_clock, rates):
    """A plan of a million shards that did so many in each minute, watched by a tick a minute."""
    plan = submit(a_stage(kind="noop", shards=1_000_000, concurrency=1), constraints=DAY)
    forecasting.watch()
    for rate in rates:
        turn_clock(timedelta(seconds=60))
        sql(f"update tidemark.lanes set done = done + {rate}, busy = done + {rate}")
        forecasting.watch()
    return plan


def _flow(sql, arrivals, completions):
    sql(f"""
        insert into tidemark.signals (name, minute, arrivals, completions) values ('queue', date_trunc('minute', app_now()), {arrivals}, {completions})
        on conflict (name) do update set arrivals = excluded.arrivals, completions = excluded.completions
    """)


def test_the_end_of_a_plan_is_told_with_an_interval_around_it(sql, database_url, turn_clock):
    plan = progress(sql, turn_clock, [9000, 11000, 8000, 12000, 9500, 10500, 8500, 11500, 10000])
    found = plan_status.status(plan)
    left = 1_000_000 - 90_000
    assert abs(found["eta_seconds"] - left / (10_000 / 60)) < 700
    assert found["eta_low_seconds"] < found["eta_seconds"] < found["eta_high_seconds"]


def test_a_plan_whose_pace_wanders_is_not_forecast(sql, database_url, turn_clock):
    plan = progress(sql, turn_clock, [100, 400, 1600, 6400, 25600, 51200, 102400, 204800])
    found = plan_status.status(plan)
    assert (found["eta_seconds"], found["eta_low_seconds"], found["eta_high_seconds"]) == (None, None, None)


def test_a_young_plan_is_told_by_its_average_and_without_an_interval(sql, database_url, turn_clock):
    plan = progress(sql, turn_clock, [10_000, 10_000])
    found = plan_status.status(plan)
    assert found["eta_seconds"] > 0
    assert found["eta_low_seconds"] is None


def test_predictive_mode_switched_off_tells_nothing_and_records_nothing(sql, database_url, turn_clock, configured):
    configured(HXO_PREDICTIVE_MODE="false")
    plan = progress(sql, turn_clock, [9000, 11000, 8000, 12000, 9500, 10500, 8500, 11500, 10000])
    found = plan_status.status(plan)
    assert (found["eta_seconds"], found["eta_low_seconds"]) == (None, None)
    assert sql("select count(*) from tidemark.progress_samples") == [[0]]
    assert telemetry.metrics()["queue"]["minutes_to_threshold"] is None


def test_a_plan_that_will_not_make_its_deadline_is_told_of_once(sql, database_url, turn_clock):
    progress(sql, turn_clock, [10, 11, 10, 11])
    sql("update tidemark.plans set deadline_at = app_now() + interval '1 hour'")
    sql("update tidemark.lanes set done = 2000, busy = 2000")
    assert forecasting.watch() == forecasting.watch() == 1
    told = sql(
        "select payload ->> 'signal_type', payload ->> 'suggested_action' from tidemark.notices where topic = 'hxo.autotune.signal'"
    )
    assert told == [["queue_depth", "increase_concurrency"]]


def test_the_time_until_the_queue_is_full_has_an_interval(sql, database_url):
    _flow(sql, arrivals=60, completions=20)
    queue = telemetry.metrics()["queue"]
    assert queue["minutes_low"] < queue["minutes_to_threshold"] < queue["minutes_high"]
    assert queue["minutes_to_threshold"] == queue["threshold"] / 40
    _flow(sql, arrivals=20, completions=60)
    assert telemetry.metrics()["queue"]["minutes_to_threshold"] is None


def test_samples_of_plans_that_are_over_are_forgotten(sql, trial, turn_clock):
    submit(a_stage(shards=1))
    forecasting.watch()
    assert sql("select count(*) from tidemark.progress_samples") == [[1]]
    work.work()
    forecasting.watch()
    assert sql("select count(*) from tidemark.progress_samples") == [[0]]
