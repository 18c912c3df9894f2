"""How long events take from receipt to completion: a histogram that is counted under one name per bucket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

# Seconds; tidemark.latency_le in SQL has the same ones. The last bucket is everything beyond.
BOUNDS = ("0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "60", "300", "3600", "inf")
BUCKET, SUM = "latency_le_", "latency_us"


class Histogram(NamedTuple):
    """Events by how long they took."""

    counts: tuple[int, ...]  # one per bound, not cumulative
    sum_seconds: float

    @property
    def total(self) -> int:
        """How many events it has."""
        return sum(self.counts)

    @property
    def mean_seconds(self) -> float | None:
        """How long one took on average; None when there was none."""
        return self.sum_seconds / self.total if self.total else None


def histogram(counters: Mapping[str, int]) -> Histogram:
    """The histogram that stands in these counters."""
    return Histogram(tuple(counters.get(BUCKET + bound, 0) for bound in BOUNDS), counters.get(SUM, 0) / 1_000_000)


def is_counter(name: str) -> bool:
    """Whether a counter is a part of the histogram."""
    return name == SUM or name.startswith(BUCKET)


def cumulative(counts: Sequence[int]) -> list[int]:
    """How many events took no longer than each bound."""
    found, so_far = [], 0
    for count in counts:
        so_far += count
        found.append(so_far)
    return found


def quantile(share: float, found: Histogram) -> float | None:
    """Seconds that this share of the events did not exceed, as evenly spread inside a bucket; None when there was none.

    Beyond the last finite bound it is that bound: nobody knows how far beyond.
    """
    if not found.total:
        return None
    wanted, below, lower = share * found.total, 0, 0.0
    for bound, count in zip(BOUNDS[:-1], found.counts, strict=False):
        if count and below + count >= wanted:
            return lower + (float(bound) - lower) * (wanted - below) / count
        below, lower = below + count, float(bound)
    return lower
