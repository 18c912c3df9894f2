"""Rules of plans: circles are found, waves and lanes cover everything, chunks learn their size."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from common.rules import shard
from common.rules.pace import pace
from common.rules.plan import cycle
from common.rules.progress import Stage, whole
from common.rules.waves import released

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_circle_is_named_and_a_diamond_is_none():
    assert cycle([[], [0], [0], [1, 2]]) == []
    assert cycle([[2], [0], [1]]) == [0, 2, 1, 0]
    assert cycle([[], [1]]) == [1, 1]


@given(st.integers(1, 10_000), st.integers(1, 64))
def test_lanes_cover_every_shard_once_and_differ_by_one_at_most(shards, concurrency):
    found = shard.lanes(shards, concurrency)
    assert [lo for lo, _ in found] == [0, *[hi for _, hi in found][:-1]]
    assert found[-1][1] == shards
    lengths = {hi - lo for lo, hi in found}
    assert max(lengths) - min(lengths) <= 1
    assert 0 not in lengths


@given(st.integers(1, 100_000), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_waves_release_ever_more_until_all(shards, parts):
    parts = [*parts[:-1], 100 - sum(parts[:-1])] if sum(parts[:-1]) < 100 else [100]
    borders, before = [], 0
    while before < shards:
        before = released(shards, parts, before)
        borders.append(before)
    assert borders == sorted(set(borders))
    assert borders[-1] == shards
    assert len(borders) <= len(parts)


def test_a_chunk_grows_towards_a_second_and_shrinks_at_once():
    rules = {"longest": timedelta(seconds=8), "factor": 4}
    assert shard.next_chunk(1, 0.001, **rules) == shard.GROWTH
    assert shard.next_chunk(100, 2.0, **rules) == 50
    assert shard.next_chunk(100, 9.0, **rules) == 25
    assert shard.next_chunk(1, 60.0, **rules) == 1
    assert shard.next_chunk(shard.LARGEST_CHUNK, 0.01, **rules) == shard.LARGEST_CHUNK


def stage(total=100, released_=100, left=40, **rest):
    given_ = {"running": 10, "retry": 0, "dead": 0, "opened_at": NOW - timedelta(seconds=60), "finished_at": None}
    return Stage(total=total, released=released_, left=left, **given_ | rest)


def test_progress_adds_up():
    found = whole([stage(), stage(left=None, opened_at=None, running=0)], NOW)
    assert (found.total, found.done, found.running, found.pending, found.share) == (200, 60, 10, 130, 0.3)
    assert (found.rate, found.eta_seconds) == (1.0, 140.0)


def test_failed_shards_are_neither_done_nor_pending_for_ever():
    found = whole([stage(left=0, running=0, retry=2, dead=3)], NOW)
    assert (found.done, found.failed, found.pending) == (95, 5, 2)


def test_what_is_open_ended_has_no_end_in_sight():
    found = whole([stage(total=None, released_=7, left=2)], NOW)
    assert (found.total, found.pending, found.eta_seconds, found.done) == (None, None, None, 5)


def test_a_run_is_forecast_by_the_last_one_of_its_kind():
    start = NOW - timedelta(seconds=50)
    found = pace(pages=25, rows=5000, started_at=start, until=NOW, is_over=False, expected=100)
    assert (found.rows_per_second, found.progress, found.eta_seconds) == (100.0, 0.25, 150.0)
    assert pace(pages=101, rows=1, started_at=start, until=NOW, is_over=False, expected=100).eta_seconds is None
