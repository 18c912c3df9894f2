"""Schedulers: each deals every part once, and each in a way of its own."""

from __future__ import annotations

import random

import pytest

from common.rules import schedulers, shard
from common.rules.schedulers import Unit

# Eight parts of two modules; one of them is hot.
UNITS = [Unit(1, "a"), Unit(1, "a"), Unit(90, "a"), Unit(1, "a"), Unit(30, "a"), Unit(30, "b"), Unit(30, "b"), Unit(2, "b")]


def dealt(name, units=UNITS, lanes=2, pressure=0.0):
    return schedulers.SCHEDULERS[name](units, lanes, pressure)


@pytest.mark.parametrize("name", schedulers.SCHEDULERS)
def test_every_part_is_dealt_once_to_any_number_of_lanes(name):
    chance = random.Random(7)
    for _ in range(100):
        units = [Unit(chance.choice([0, 1, 1, 50]), chance.choice("abc")) for _ in range(chance.randrange(1, 30))]
        lanes = chance.randrange(1, 9)
        found = dealt(name, units, lanes, chance.random())
        assert sorted(number for lane in found for number in lane) == list(range(len(units)))
        assert 1 <= len(found) <= lanes
        assert all(found)
        ranges = schedulers.ranges(found)
        assert [hi - lo for lo, hi in ranges] == [len(lane) for lane in found]
        assert [lo for lo, _ in ranges][1:] == [hi for _, hi in ranges][:-1]


def test_fair_round_robin_lets_groups_take_turns():
    order = [number for turn in zip(*dealt("fair_round_robin"), strict=True) for number in turn]
    assert [UNITS[number].group for number in order] == ["a", "b", "a", "b", "a", "b", "a", "a"]


def test_hot_shard_splitter_keeps_the_hot_one_from_the_others():
    units = [Unit(50, "a"), Unit(50, "a"), Unit(1, "a"), Unit(1, "a")]
    assert [sum(units[number].weight for number in range(lo, hi)) for lo, hi in shard.lanes(4, 2)] == [100, 2]  # as they come
    assert [sum(units[number].weight for number in lane) for lane in dealt("hot_shard_splitter", units)] == [51, 51]
    assert next(lane for lane in dealt("hot_shard_splitter", lanes=4) if 2 in lane) == [2]


def test_backpressure_aware_takes_fewer_lanes_the_busier_it_is_and_the_lightest_first():
    widths = [len(dealt("backpressure_aware", lanes=8, pressure=pressure)) for pressure in (0.0, 0.5, 0.9, 1.0, 7.0)]
    assert widths == [8, 4, 1, 1, 1]
    weights = [UNITS[number].weight for number in dealt("backpressure_aware", pressure=1.0)[0]]
    assert weights == sorted(weights)


def test_the_three_schedulers_differ():
    found = {name: dealt(name, pressure=0.6) for name in schedulers.SCHEDULERS}
    in_order = [list(range(lo, hi)) for lo, hi in shard.lanes(len(UNITS), 2)]
    seen = [*found.values(), in_order]
    assert all(one != other for number, one in enumerate(seen) for other in seen[:number])


def test_shards_that_are_all_alike_are_only_cut_into_fewer_lanes():
    assert {name: schedulers.width(name, 8, 0.75) for name in schedulers.SCHEDULERS} == {
        "fair_round_robin": 8, "hot_shard_splitter": 8, "backpressure_aware": 2,
    }  # fmt: skip
