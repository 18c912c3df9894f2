"""Schedulers: which parts of a stage each of its lanes works through, and in which order. Pure; called when a stage is cut."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import NamedTuple


class Unit(NamedTuple):
    """A part, as a scheduler sees it."""

    weight: int
    group: str


Dealt = list[list[int]]  # for each lane the parts that it works through, by their number, in order
Scheduler = Callable[[Sequence[Unit], int, float], Dealt]


def fair_round_robin(units: Sequence[Unit], lanes: int, _: float) -> Dealt:
    """Groups take turns, and so do lanes: none has to wait until a large group is through."""
    groups: dict[str, list[int]] = {}
    for number, unit in enumerate(units):
        groups.setdefault(unit.group, []).append(number)
    turns = [number for turn in zip_longest(*groups.values()) for number in turn if number is not None]
    return _dealt(turns, lanes)


def hot_shard_splitter(units: Sequence[Unit], lanes: int, _: float) -> Dealt:
    """The heaviest first, each to the lane that has the least to do: no two hot ones behind each other, all end together."""
    found: Dealt = [[] for _ in range(lanes)]
    loads = [(0, lane) for lane in range(lanes)]
    for number in sorted(range(len(units)), key=lambda number: (-units[number].weight, number)):
        load, lane = heapq.heappop(loads)
        found[lane].append(number)
        # A part that weighs nothing still takes a turn: else all of those would go to one lane.
        heapq.heappush(loads, (load + max(1, units[number].weight), lane))
    return [each for each in found if each]


def backpressure_aware(units: Sequence[Unit], lanes: int, pressure: float) -> Dealt:
    """The busier everything is, the fewer lanes; the lightest first, so that little is waiting for much."""
    lightest = sorted(range(len(units)), key=lambda number: (units[number].weight, number))
    return _dealt(lightest, width("backpressure_aware", lanes, pressure))


def _dealt(numbers: Sequence[int], lanes: int) -> Dealt:
    return [list(each) for each in (numbers[lane::lanes] for lane in range(lanes)) if each]


SCHEDULERS: dict[str, Scheduler] = {
    "fair_round_robin": fair_round_robin,
    "hot_shard_splitter": hot_shard_splitter,
    "backpressure_aware": backpressure_aware,
}


def width(name: str, lanes: int, pressure: float) -> int:
    """How many lanes a stage is cut into whose shards are all alike, of `lanes` that it may have; `pressure` from 0 to 1."""
    if name != "backpressure_aware":
        return lanes
    return max(1, math.ceil(lanes * (1 - min(max(pressure, 0.0), 1.0))))


def ranges(dealt: Dealt) -> list[tuple[int, int]]:
    """The lanes as slices of the numbers that the parts get when they are numbered in the order they were dealt in."""
    found, end = [], 0
    for each in dealt:
        found.append((end, end + len(each)))
        end += len(each)
    return found
