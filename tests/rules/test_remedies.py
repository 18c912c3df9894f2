"""The order of remedies: retry, split, quarantine."""

import pytest

from common.rules.remedies import remedy


@pytest.mark.parametrize(
    ("can_be_split", "wanted"),
    [(False, ["retry", "retry", "quarantine"]), (True, ["retry", "split", "split"])],
)
def test_what_keeps_failing_is_tried_again_then_split_then_given_up(can_be_split, wanted):
    assert [remedy(attempts=attempt, is_final=False, can_be_split=can_be_split) for attempt in (1, 2, 3)] == wanted


def test_what_would_fail_in_the_same_way_is_not_tried_again():
    assert remedy(attempts=1, is_final=True, can_be_split=False) == "quarantine"
    assert remedy(attempts=1, is_final=True, can_be_split=True) == "split"
