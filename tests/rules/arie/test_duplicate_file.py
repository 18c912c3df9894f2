"""duplicate_file: the same bytes twice."""

from __future__ import annotations

from tests.rules.arie.trees import said

NAME = "duplicate_file"
LONG = "x = 1  # the same words in both of these files, which is more than chance\n"


def test_a_copy_is_found_beside_the_first():
    assert said(NAME, {"b.py": LONG, "a.py": LONG, "c.py": LONG + " "}) == [("b.py", 1, "low")]


def test_what_is_short_or_differs_is_let_be():
    assert said(NAME, {"a.py": "x = 1\n", "b.py": "x = 1\n", "c.py": LONG}) == []
