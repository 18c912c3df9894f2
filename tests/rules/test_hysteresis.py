"""Hysteresis: when an alert opens, when it closes, and that a value that swings has one alert."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules.hysteresis import Move, Policy, Reading, Severity, State, is_forgotten, step

START = datetime(2026, 6, 9, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = Policy()
UNKNOWN = State()
Values = st.lists(st.one_of(st.none(), st.floats(0, 300)), min_size=1, max_size=200)


def read(value, open_after=2):
    return None if value is None else Reading("trial", value, 100, Severity.WARNING, "", "", open_after=open_after)


def moves(values, *, every=MINUTE, open_after=2, state=UNKNOWN, at=START):
    found = []
    for number, value in enumerate(values):
        state, move = step(state, read(value, open_after), at + number * every, POLICY)
        found.append(move)
    return found, state


def told(values, **more):
    return [(number, move) for number, move in enumerate(moves(values, **more)[0]) if move not in {Move.NONE, Move.KEEP}]


def test_it_opens_after_so_many_minutes_in_a_row_and_closes_after_two_calm_ones():
    assert told([101, 50, 101, 101, 101, 90, 80, 79]) == [(3, Move.OPEN), (7, Move.CLOSE)]


def test_at_the_threshold_it_is_not_over_and_at_its_share_it_is_calm():
    assert told([100] * 5) == []
    assert told([101, 101, 80, 80]) == [(1, Move.OPEN), (3, Move.CLOSE)]
    assert told([101, 101, 81, 81, 81]) == [(1, Move.OPEN)]


def test_what_has_not_been_over_for_a_while_closes_though_it_never_was_calm():
    assert told([101, 101, *[90] * 20]) == [(1, Move.OPEN), (16, Move.CLOSE)]


def test_a_condition_that_is_gone_is_calm():
    assert told([101, 101, None, None]) == [(1, Move.OPEN), (3, Move.CLOSE)]


@pytest.mark.parametrize("minutes", [2, 3, 5, 8, 14])
@pytest.mark.parametrize("swing", [0.15, 0.5, 1.0])
def test_a_value_that_swings_around_its_threshold_for_an_hour_has_one_alert(swing, minutes):
    values = [100 * (1 + swing * math.sin(2 * math.pi * minute / minutes + 0.5)) for minute in range(60)]
    found = [move for _, move in told(values, open_after=1)]
    assert found.count(Move.OPEN) == 1
    assert found.count(Move.CLOSE) <= 1
    assert found.count(Move.REOPEN) <= 1


def test_trouble_that_is_back_soon_is_the_same_and_needs_a_long_calm_to_end():
    again = [101, 101, 0, 0, *[0] * 10, 101, 101, *[0] * 20]
    assert told(again) == [(1, Move.OPEN), (3, Move.CLOSE), (15, Move.REOPEN), (30, Move.CLOSE)]
    assert told([101, 101, 0, 0, *[0] * 61, 101, 101]) == [(1, Move.OPEN), (3, Move.CLOSE), (66, Move.OPEN)]


def test_a_minute_counts_once_and_its_last_look_is_the_one_that_counts():
    often = [value for value in [101, 0, 101, 101, 0, 0] for _ in range(4)]
    once = [(number * 4, move) for number, move in told([101, 0, 101, 101, 0, 0])]
    assert told(often, every=timedelta(seconds=15)) == once == [(12, Move.OPEN), (20, Move.CLOSE)]
    assert told([0, 101], every=timedelta(seconds=5), open_after=1) == [(1, Move.OPEN)]


def test_what_an_operator_resolved_stays_quiet_until_it_was_false_once():
    muted = State(muted_until=START + timedelta(hours=4))
    assert told([101] * 60, state=muted) == []
    assert told([101, 101, 99, 101, 101], state=muted) == [(4, Move.OPEN)]


def test_what_an_operator_resolved_is_told_of_again_when_the_time_is_over():
    assert told([101] * 40, state=State(muted_until=START + timedelta(minutes=30))) == [(30, Move.OPEN)]


@given(Values, st.integers(1, 6))
def test_every_move_follows_from_the_one_before(values, open_after):
    is_open = False
    state = State()
    for number, value in enumerate(values):
        at = START + number * MINUTE
        before = state
        state, move = step(state, read(value, open_after), at, POLICY)
        assert (move in {Move.OPEN, Move.REOPEN}) <= (not is_open)
        assert (move in {Move.CLOSE, Move.KEEP}) <= is_open
        if move in {Move.OPEN, Move.REOPEN}:
            is_open = True
            recent = values[max(0, number - open_after + 1) : number + 1]
            assert len(recent) == open_after
            assert all(each is not None and each > 100 for each in recent)
        if move is Move.CLOSE:
            is_open = False
            assert value is None or value <= 100
        assert state.is_open == is_open
        assert step(state, read(value, open_after), at, POLICY)[0] == state or move is Move.CLOSE, before


@given(Values)
def test_within_an_hour_of_the_first_there_is_never_a_second_alert(values):
    opened = [number for number, move in told(values[:60]) if move is Move.OPEN]
    assert len(opened) <= 1


@given(Values)
def test_only_what_no_longer_matters_is_forgotten(values):
    state = State()
    kept = State()
    for number, value in enumerate(values):
        at = START + number * MINUTE
        state, move = step(state, read(value), at, POLICY)
        kept, same = step(kept, read(value), at, POLICY)
        assert move == same
        if is_forgotten(kept, at, POLICY):
            kept = State()
