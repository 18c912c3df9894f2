"""What the times of a stage's chunks say: how large the next one may be, and what to tell of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

KEPT = 64  # chunks
AT_RISK = 0.8  # of the time that a shard may take
TELLING_SECONDS = 0.05  # that a turn must have taken for its times to be worth writing down


class Signal(NamedTuple):
    """One of hxo.autotune.signal."""

    type: str  # high_latency, hotspot, timeout_risk or queue_depth
    value: float  # seconds
    action: str  # split_shard, increase_concurrency or change_partitioner


def quantile(times: Sequence[float], share: float) -> float:
    """What this share of them, above 0, did not exceed; 0.0 of none."""
    return sorted(times)[math.ceil(share * len(times)) - 1] if times else 0.0


def p95(times: Sequence[float]) -> float:
    """What nineteen in twenty of these did not exceed; 0.0 of none."""
    return quantile(times, 0.95)


@dataclass
class Window:
    """The last chunks of a stage, by how many seconds one shard of each took; newest first."""

    times: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    fresh: list[float] = field(default_factory=list)  # those that nobody has written down yet, newest first
    shards: int = 0  # in those
    seconds: float = 0.0

    @classmethod
    def of(cls, times: Iterable[float]) -> Window:
        """What was written down of the chunks before."""
        return cls(deque((float(each) for each in times), maxlen=KEPT))

    def add(self, shards: int, seconds: float) -> None:
        """One more chunk."""
        self.times.appendleft(seconds / shards)
        self.fresh.insert(0, round(seconds / shards, 6))
        del self.fresh[KEPT:]
        self.shards += shards
        self.seconds += seconds

    @property
    def p95(self) -> float:
        """Seconds that nineteen in twenty shards did not exceed."""
        return p95(self.times)

    @property
    def is_telling(self) -> bool:
        """Whether there is anything in it that is worth a write."""
        return self.seconds >= TELLING_SECONDS


def narrowed(size: int, p95_seconds: float, *, longest: timedelta, factor: int) -> int:
    """`size`, cut by `factor` until a chunk of it would stay within `longest` (HXO_AUTOSPLIT_P95_MS) at this p95 of a shard."""
    while size > 1 and factor > 1 and size * p95_seconds > longest.total_seconds():
        size = max(1, size // factor)
    return size


def signals(window: Window, *, chunk: int, longest: timedelta, shard_timeout: timedelta, was_split: int = 0) -> list[Signal]:
    """What to tell of a turn that began with chunks of `chunk` shards, and put `was_split` shards aside to be split."""
    found, slowest = [], window.p95
    if was_split:
        found.append(Signal("hotspot", slowest, "split_shard"))
    elif slowest * chunk > longest.total_seconds():
        found.append(Signal("high_latency", slowest * chunk, "split_shard" if chunk == 1 else "change_partitioner"))
    if slowest > AT_RISK * shard_timeout.total_seconds():
        found.append(Signal("timeout_risk", slowest, "split_shard"))
    return found
