"""A stage's shards by state, as runs: `1000d64r20p` is a thousand done, 64 running and 20 pending, in shard order.

Where that would be too long, a cell stands for `scale` shards and shows the worst of their states.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# In the order in which a cell shows them, the worst last.
STATES = ("done", "healed", "pending", "running", "failed", "quarantined")
LETTERS = "dhprfq"
DONE, HEALED, PENDING, RUNNING, FAILED, QUARANTINED = range(6)
MOST_CELLS = 1 << 20
MOST_MARKS = 1 << 17
MOST_RUNS = 20_000


class Slice(NamedTuple):
    """Shards [lo, hi) that are all in one state."""

    lo: int
    hi: int
    state: int


class Bitmap(NamedTuple):
    """The runs, of cells of `scale` shards each; the last cell may be shorter."""

    scale: int
    runs: str


def scale_for(shards: int, marks: int) -> int:
    """How many shards a cell must stand for at least, with `marks` shards that have a state of their own."""
    scale = 1
    while shards / scale > (MOST_CELLS if marks <= MOST_MARKS else MOST_MARKS):
        scale *= 2
    return scale


def bitmap(shards: int, slices: Iterable[Slice], marks: Iterable[tuple[int, int]], scale: int = 1) -> Bitmap:
    """The bitmap of a stage: done, but for these slices, which do not overlap, and these marks (cell, state), which cover them."""
    cells = bytearray(-(-shards // scale))
    for lo, hi, state in slices:
        first, last = -(-lo // scale), hi // scale  # the cells that lie inside as a whole
        if first < last:
            cells[first:last] = bytes([state]) * (last - first)
        for cell in {lo // scale, (hi - 1) // scale} if lo < hi else ():
            cells[cell] = max(cells[cell], state)
    for cell, state in marks:
        if cell < len(cells):
            cells[cell] = state if scale == 1 else max(cells[cell], state)
    runs = _runs(cells)
    while len(runs) > MOST_RUNS:
        cells = bytearray(map(max, cells[::2], itertools.chain(cells[1::2], b"\0")))
        scale *= 2
        runs = _runs(cells)
    return Bitmap(scale, "".join(f"{count}{LETTERS[state]}" for state, count in runs))


def _runs(cells: Sequence[int]) -> list[tuple[int, int]]:
    return [(state, sum(1 for _ in run)) for state, run in itertools.groupby(cells)]
