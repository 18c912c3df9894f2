"""Adaptive concurrency: the limit falls when shards get slow, rises again when they are well, and sheds the least urgent first."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from common.rules import aimd

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def fed(state, seconds, *, used=64, turns=1, since=NOW):
    for number in range(turns):
        state = aimd.after(state, seconds, used=used, ceiling=64, now=since + timedelta(seconds=6 * (number + 1)))
    return state


def test_nothing_is_limited_while_latency_stays_what_it_was():
    assert fed(None, 0.1, turns=50).most is None


def test_a_latency_that_doubles_and_more_takes_the_limit_down_step_by_step():
    well = fed(None, 0.1, turns=20)
    found, limits = well, []
    for turn in range(6):
        found = fed(found, 0.5, used=found.most or 64, since=NOW + timedelta(minutes=3 + turn))
        limits.append(found.most)
    falls = [limit for limit in limits if limit is not None]
    assert falls == sorted(falls, reverse=True)
    assert falls[0] == 44  # seven tenths of what was out
    assert falls[-1] < 20


def test_the_limit_rises_by_one_at_a_time_when_latency_falls_until_there_is_none():
    low = aimd.State(3, 0.1, 0.1, 100, NOW)
    assert [fed(low, 0.1, turns=turns, used=3).most for turns in (1, 2, 3)] == [4, 5, 6]
    assert fed(low, 0.1, turns=70, used=3).most is None


def test_between_two_changes_passes_long_enough_for_the_first_to_show():
    slow = aimd.State(None, 1.0, 0.1, 100, NOW)
    first = aimd.after(slow, 1.0, used=10, ceiling=64, now=NOW + timedelta(seconds=6))
    assert first.most == 7
    assert aimd.after(first, 1.0, used=7, ceiling=64, now=NOW + timedelta(seconds=8)).most == 7


def test_what_is_slow_from_now_on_becomes_the_usual_in_time():
    slow = fed(fed(None, 0.1, turns=20), 1.0, turns=300, used=4)
    assert slow.usual_seconds > 0.5
    assert fed(slow, 1.0, turns=100, used=4, since=NOW + timedelta(hours=1)).most is None


@given(st.lists(st.floats(0.0001, 100), min_size=1, max_size=60), st.integers(0, 64))
def test_one_lane_is_always_left(latencies, used):
    state = None
    for number, seconds in enumerate(latencies):
        state = aimd.after(state, seconds, used=used, ceiling=64, now=NOW + timedelta(seconds=6 * number))
    assert state.most is None or 1 <= state.most < 64


@given(st.integers(1, 64))
def test_the_less_urgent_have_less_room_and_the_first_class_is_never_shed(most):
    rooms = [aimd.room(most, urgency) for urgency in range(1, 11)]
    assert rooms[:2] == [None, None]
    limited = [room for room in rooms if room is not None]
    assert limited == sorted(limited, reverse=True)
    assert limited[0] == most
    assert limited[-1] == most // 2
