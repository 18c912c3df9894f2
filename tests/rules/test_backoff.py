from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules.backoff import delay

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("attempt", "chance", "seconds"),
    [(1, 0.0, 0.1), (1, 0.5, 0.55), (2, 0.0, 0.2), (4, 0.0, 0.8), (7, 0.0, 6.0), (1_000_000, 0.0, 6.0)],
)
def test_the_wait_grows_with_each_attempt_up_to_the_longest(attempt, chance, seconds):
    assert delay(attempt, base=SECOND, longest=MINUTE, chance=chance) == timedelta(seconds=seconds)


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_no_wait_is_longer_than_the_longest_or_shorter_than_a_tenth_of_the_base(attempt, chance):
    assert SECOND / 10 <= delay(attempt, base=SECOND, longest=MINUTE, chance=chance) <= MINUTE


@given(st.integers(1, 100), st.floats(0, 0.4), st.floats(0.6, 0.99))
def test_chance_spreads_a_crowd(attempt, low, high):
    early, late = (delay(attempt, base=SECOND, longest=MINUTE, chance=chance) for chance in (low, high))
    assert early < late
