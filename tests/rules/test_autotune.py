"""Autosplit: a window of chunk times says how large the next chunk may be, and what to tell of it."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from common.rules import autotune, shard
from common.rules.autotune import Window

LONGEST, TIMEOUT = timedelta(seconds=8), timedelta(seconds=15)


def window(*times):
    return Window.of(times)


def test_p95_is_what_nineteen_in_twenty_did_not_exceed():
    assert autotune.p95([float(each) for each in range(1, 101)]) == 95.0
    assert autotune.p95([1.0] * 19 + [50.0]) == 1.0
    assert autotune.p95([1.0] * 18 + [50.0] * 2) == 50.0
    assert autotune.p95([]) == 0.0


def test_one_slow_chunk_among_many_does_not_shrink_those_to_come_and_two_in_twenty_do():
    rules = {"longest": LONGEST, "factor": 4}
    assert shard.next_chunk(64, 1.0, **rules, slowest=window(*[0.01] * 39, 9.0).p95) == 64
    assert shard.next_chunk(64, 1.0, **rules, slowest=window(*[0.01] * 36, *[1.0] * 4).p95) == 4


@given(st.integers(1, 4096), st.floats(0, 100), st.integers(1, 16))
def test_a_narrowed_chunk_stays_within_the_limit_or_is_one_shard(size, p95, factor):
    found = autotune.narrowed(size, p95, longest=LONGEST, factor=factor)
    assert 1 <= found <= size
    assert factor == 1 or found == 1 or found * p95 <= 8


def test_only_the_last_chunks_are_kept():
    found = window()
    for seconds in range(100):
        found.add(2, float(seconds))
    assert len(found.times) == len(found.fresh) == autotune.KEPT
    assert found.times[0] == 49.5
    assert (found.shards, found.seconds) == (200, 4950.0)


def test_what_is_told_names_the_trouble_and_a_way_out():
    def told(*times, chunk=1, **rest):
        found = autotune.signals(window(*times), chunk=chunk, longest=LONGEST, shard_timeout=TIMEOUT, **rest)
        return [(signal.type, signal.action) for signal in found]

    assert told(0.1) == []
    assert told(9.0) == [("high_latency", "split_shard")]
    assert told(1.0, chunk=64) == [("high_latency", "change_partitioner")]
    assert told(9.0, was_split=2) == [("hotspot", "split_shard")]
    assert told(13.0) == [("high_latency", "split_shard"), ("timeout_risk", "split_shard")]
