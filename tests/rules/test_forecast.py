"""Forecasts: averages that may be brought up to date at any time, when a limit is reached, and hours unlike others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules import forecast
from common.rules.forecast import Flow, Hour

Minutes = st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 1000)), max_size=60)


@given(Minutes, st.integers(0, 60), st.floats(1, 60))
def test_folding_in_two_goes_is_folding_in_one(minutes, cut, half_life):
    start = Flow(3, 2)
    whole = forecast.folded(start, minutes, half_life=half_life)
    first = forecast.folded(start, minutes[:cut], half_life=half_life)
    assert forecast.folded(first, minutes[cut:], half_life=half_life) == whole


def test_after_a_half_life_a_minute_counts_half():
    flow = forecast.folded(Flow(), [(10, 4)] * 8, half_life=8)
    assert flow == pytest.approx((5, 2))
    assert forecast.folded(flow, [], half_life=8) == flow


@given(st.floats(0, 999), st.floats(0, 100), st.floats(0, 100))
def test_the_limit_is_reached_within_the_horizon_exactly_when_what_is_projected_is_over_it(backlog, came, went):
    flow = Flow(came, went)
    left = forecast.minutes_left(backlog, 1000, flow)
    is_over = forecast.projected(backlog, flow, 60) > 1000.000001
    assert is_over <= (left is not None and left <= 60)
    assert (left is not None and left < 59.9999) <= (forecast.projected(backlog, flow, 60) >= 1000)


def test_a_backlog_that_shrinks_never_reaches_its_limit_nor_less_than_nothing():
    assert forecast.minutes_left(900, 1000, Flow(1, 2)) is None
    assert forecast.projected(10, Flow(1, 2), 60) == 0
    assert forecast.minutes_left(1000, 1000, Flow(1, 2)) == 0


def test_an_hour_is_compared_by_median_so_that_one_bad_week_changes_nothing():
    hour = forecast.compared(100, [100, 104, 0, 96, 100])
    assert hour.usual == 100
    assert abs(hour.score) < 1
    assert forecast.compared(0, [100, 104, 0, 96, 100]).score < -4
    assert forecast.compared(1000, [100, 104, 0, 96, 100]).score > 4


def test_too_few_weeks_say_nothing_and_weeks_that_are_all_alike_leave_room_for_chance():
    assert forecast.compared(0, [100, 100]) is None
    assert abs(forecast.compared(120, [100] * 5).score) == 2
    assert forecast.compared(3, [0] * 5).score == 3


def test_two_hours_in_a_row_are_odd_together_only_when_they_point_the_same_way():
    high, low, small = Hour(500, 100, 9), Hour(5, 100, -6), Hour(3, 1, 8)
    assert forecast.oddity([high, Hour(400, 100, 5)], fewest=20) == 5
    assert forecast.oddity([high, low], fewest=20) == 0
    assert forecast.oddity([low, low], fewest=20) == -6
    assert forecast.oddity([high, small], fewest=20) == 0
    assert forecast.oddity([high, None], fewest=20) == 0
    assert forecast.oddity([], fewest=20) == 0


def test_an_hour_is_silent_when_nothing_came_that_usually_comes():
    assert forecast.is_silent(Hour(0, 31, -6), above=30)
    assert not forecast.is_silent(Hour(0, 30, -6), above=30)
    assert not forecast.is_silent(Hour(1, 31, -6), above=30)
    assert not forecast.is_silent(None, above=30)
