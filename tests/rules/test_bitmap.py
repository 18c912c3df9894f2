"""Bitmaps: every shard is in one run, runs are short, and a cell shows the worst of its shards."""

import re

from hypothesis import given
from hypothesis import strategies as st

from common.rules import bitmap
from common.rules.bitmap import FAILED, HEALED, PENDING, QUARANTINED, RUNNING, Slice


def drawn(found):
    return "".join(letter * int(count) for count, letter in re.findall(r"(\d+)(\w)", found.runs))


def test_a_stage_is_drawn_in_shard_order():
    found = bitmap.bitmap(12, [Slice(3, 5, RUNNING), Slice(5, 9, PENDING)], [(1, HEALED), (0, FAILED), (11, QUARANTINED)])
    assert found == (1, "1f1h1d2r4p2d1q")


@given(st.integers(1, 300), st.lists(st.tuples(st.integers(0, 299), st.integers(0, 5)), max_size=20), st.integers(0, 300))
def test_every_shard_is_drawn_once(shards, marks, done):
    found = bitmap.bitmap(shards, [Slice(min(done, shards), shards, PENDING)], [(at, state) for at, state in marks if at < shards])
    assert len(drawn(found)) == shards
    last = dict(marks)
    assert all(drawn(found)[at] == bitmap.LETTERS[state] for at, state in last.items() if at < shards)


def test_a_cell_of_many_shards_shows_the_worst_of_them():
    assert drawn(bitmap.bitmap(10, [Slice(3, 5, RUNNING), Slice(5, 8, PENDING)], [(0, QUARANTINED)], scale=4)) == "qrd"


def test_a_million_shards_of_which_every_other_one_failed_stay_short():
    scale = bitmap.scale_for(1_000_000, 500_000)
    found = bitmap.bitmap(1_000_000, [], [(cell, FAILED) for cell in range(0, 1_000_000 // scale, 2)], scale)
    assert len(found.runs) < 100_000
    shown = re.findall(r"(\d+)(\w)", found.runs)
    assert sum(int(count) for count, _ in shown) == -(-1_000_000 // found.scale)


def test_nothing_is_drawn_of_nothing():
    assert bitmap.bitmap(0, [], []) == (1, "")
