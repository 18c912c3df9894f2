"""The histogram of latencies: the same bounds in SQL and here, exact at the bounds, quantiles inside the right bucket."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import VERSION
from common.rules import latency
from common.rules.latency import BOUNDS, Histogram, histogram, quantile
from tests.house.tree import ROOT


def test_sql_puts_a_time_into_the_bucket_of_the_least_bound_that_it_does_not_exceed(sql):
    for lower, bound in zip((None, *BOUNDS), BOUNDS, strict=False):
        edge = round(float(bound) * 1_000_000) if bound != "inf" else 10**15
        times = [edge] if lower is None else [round(float(lower) * 1_000_000) + 1, edge]
        assert [sql(f"select tidemark.latency_le({us})")[0][0] for us in times] == [bound] * len(times)
    assert [sql(f"select tidemark.latency_le({us})")[0][0] for us in (0, 1, -5)] == [BOUNDS[0]] * 3


def test_a_histogram_is_read_from_its_counters_and_no_others():
    found = histogram({"latency_le_0.1": 3, "latency_le_inf": 1, "latency_us": 2_000_000, "completed": 99})
    assert (found.total, found.mean_seconds, latency.cumulative(found.counts)[-2:]) == (4, 0.5, [3, 4])
    assert [latency.is_counter(name) for name in ("latency_us", "latency_le_5", "completed")] == [True, True, False]


def test_of_nothing_there_is_no_mean_and_no_quantile():
    nothing = histogram({})
    assert (nothing.total, nothing.mean_seconds, quantile(0.5, nothing)) == (0, None, None)


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 0.1), (0.25, 0.05), (0.75, 0.175), (1.0, 0.25)])
def test_a_quantile_is_spread_evenly_over_its_bucket(share, seconds):
    assert quantile(share, Histogram((2, 2, *[0] * (len(BOUNDS) - 2)), 0.0)) == pytest.approx(seconds)


def test_a_quantile_beyond_the_last_bound_is_that_bound():
    assert quantile(0.99, Histogram((*[0] * (len(BOUNDS) - 1), 5), 0.0)) == 3600.0


@given(st.lists(st.integers(0, 50), min_size=len(BOUNDS), max_size=len(BOUNDS)).filter(any), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_greater_share_takes_no_less_time(counts, one, other):
    found = Histogram(tuple(counts), 0.0)
    assert quantile(min(one, other), found) <= quantile(max(one, other), found)


def test_the_version_is_that_of_the_project():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
