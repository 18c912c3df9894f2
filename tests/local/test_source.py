"""The source of a local run: whose it is, and a comparison that sees every difference."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from deploy.local import comparison, source

OURS = source.variables(8090)


@pytest.mark.parametrize(
    ("environ", "former", "is_brought"),
    [
        ({}, {}, False),
        (OURS, {}, False),
        ({"ZOHO_API_URL": "http://127.0.0.1:8093"}, source.variables(8093), False),  # sourced from our own file
        ({"ZOHO_API_URL": "http://127.0.0.1:8093"}, {}, True),
        ({"ZOHO_REFRESH_TOKEN": "1000.mine"}, OURS, True),
        ({"ZOHO_REFRESH_TOKEN": "1000.mine"}, {"ZOHO_CLIENT_ID": "mine", "ZOHO_REFRESH_TOKEN": "1000.mine"}, True),
        ({"ZOHO_CLIENT_ID": ""}, {}, False),
    ],
)
def test_who_brings_a_source_is_told_from_who_sourced_our_own_file(environ, former, is_brought):
    assert source.is_brought(environ, OURS, former) is is_brought


AT = datetime(2024, 6, 9, 6, 45, 44, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stood", "said", "is_same"),
    [
        (None, "", True),
        (None, "x", False),
        ("", "", True),
        ("a", "b", False),
        (Decimal("1.50"), "1.5", True),
        (Decimal("1.50"), 1.5, True),
        (Decimal("1.50"), 1.51, False),
        (Decimal(70), "70%", True),
        (Decimal(1), "", False),
        (15, "15", True),
        (15, 16, False),
        (True, True, True),
        (False, 0, True),
        (True, False, False),
        (AT, "2024-06-09T09:45:44+0300", True),
        (AT, "2024-06-09T09:45:44+0000", False),
        (date(2024, 6, 9), "2024-06-09", True),
        (date(2024, 6, 9), "2024-06-10", False),
        (date(2024, 6, 9), "soon", False),
    ],
)
def test_a_column_is_what_the_source_wrote_or_it_is_not(stood, said, is_same):
    assert comparison._is_same(stood, said) is is_same


def test_every_difference_is_a_fault_in_words():
    equal = comparison.Line("product", 1, 1, 0, [], [], [])
    assert equal.is_equal
    assert comparison.faults([equal]) == []
    lines = [
        comparison.Line("product", 2, 0, 0, ["p1", "p2"], [], []),
        comparison.Line("invoice", 0, 1, 0, [], ["i1"], []),
        comparison.Line("order", 1, 1, 0, [], [], ["order o1: total is 1, at the source 2"]),
    ]
    assert not any(line.is_equal for line in lines)
    assert comparison.faults(lines) == [
        "2 records of product are at the source but not here: p1, p2",
        "1 records of invoice are here but not at the source: i1",
        "1 records of order differ, such as order o1: total is 1, at the source 2",
    ]
