"""Parity: field by field, and what is to be said of the whole."""

from __future__ import annotations

import pytest

from common.rules.deploys import is_commit
from common.rules.parity import Compared, Status, compared, status

WHOLE = {"commit": "c0ffee1c0ffee1", "artifact": "a", "schema": 27, "config_hash": "h", "frozen": False}
OTHER = {"commit": "0ddba110ddba11", "artifact": "b", "schema": 26, "config_hash": "i", "frozen": True}
DONE = {"bootstrap": True, "runtime": True}


@pytest.mark.parametrize("field", WHOLE)
def test_each_field_that_differs_is_named_and_each_that_nobody_knows_is_unknown(field):
    assert compared(WHOLE, WHOLE) == ([], [])
    assert compared(WHOLE, WHOLE | {field: OTHER[field]}) == ([field], [])
    assert compared(WHOLE, WHOLE | {field: None}) == ([], [field])
    assert compared(WHOLE | {field: None}, OTHER).differs == [name for name in WHOLE if name != field]


def test_a_schema_ahead_of_the_code_is_no_difference():
    assert compared({"schema": 26}, {"schema": 27}) == ([], [])


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [("c0ffee1", "C0FFEE1c0ffee1", True), ("c0ffee", "c0ffee1c0ffee1", False), ("c0ffee1", "c0ffee2", False), ("v1", "v1", True)],
)
def test_a_short_commit_means_the_long_one_if_it_is_long_enough(one, other, is_same):
    assert is_commit(one, other) is is_commit(other, one) is is_same


@pytest.mark.parametrize(
    ("required", "targets", "wanted"),
    [
        (DONE, [Compared([], [])], Status.OK),
        (DONE, [Compared([], []), Compared(["commit"], [])], Status.DIFFERS),
        (DONE | {"runtime": False}, [Compared(["commit"], [])], Status.DIFFERS),
        (DONE | {"runtime": False}, [Compared([], [])], Status.INCOMPLETE),
        (DONE, [Compared([], ["commit"])], Status.UNKNOWN),
        (DONE | {"bootstrap": None}, [Compared([], [])], Status.UNKNOWN),
        (DONE, [], Status.UNKNOWN),
    ],
)
def test_the_worst_that_is_known_is_said_and_nothing_good_of_what_is_not(required, targets, wanted):
    assert status(required, targets) is wanted
