"""When a plan will be over, with an interval: from how far it was at a few moments, about a minute apart. Pure, advisory.

Its rate is smoothed, recent minutes counting more. It checks itself: unless the smoothed rate has foretold each next minute
of this very plan better than the last minute's rate did, there is no forecast, for then the smoothing is no use here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

FEWEST = 6  # samples
WEIGHT = 0.25  # of the newest rate
NORMAL = 1.2533  # what makes the mean absolute deviation of a normal distribution its standard deviation
SPREAD = 1.645  # standard deviations on either side that leave one in twenty beyond


class Sample(NamedTuple):
    """How far a plan was."""

    seconds: float  # since any moment, the same for all
    done: int  # shards


class Forecast(NamedTuple):
    """Seconds until it is over; `high` is None when it may be never, as far as this can tell."""

    seconds: float
    low: float
    high: float | None


class Tested(NamedTuple):
    """How well the smoothed rate, and the last one, foretold the next: mean absolute errors, in shards a second."""

    smoothed: float
    last: float
    rate: float  # the smoothed one, now

    @property
    def is_better(self) -> bool:
        """Whether smoothing is any use."""
        return self.smoothed < self.last


def rates(samples: Sequence[Sample]) -> list[float]:
    """Shards a second between each two samples."""
    pairs = [(former, later) for former, later in itertools.pairwise(samples) if later.seconds > former.seconds]
    return [(later.done - former.done) / (later.seconds - former.seconds) for former, later in pairs]


def tested(found: Sequence[float]) -> Tested:
    """The back-test on the rates themselves, oldest first; there are two or more."""
    level, off_smoothed, off_last = found[0], 0.0, 0.0
    for former, rate in itertools.pairwise(found):
        off_smoothed += abs(rate - level)
        off_last += abs(rate - former)
        level += WEIGHT * (rate - level)
    count = len(found) - 1
    return Tested(off_smoothed / count, off_last / count, level)


def forecast(samples: Sequence[Sample], left: int) -> Forecast | None:
    """When `left` shards will be done; None when this cannot be told better than by the last minute.

    There are FEWEST samples or more.
    """
    found = rates(samples)
    if len(found) < FEWEST - 1:
        return None
    test = tested(found)
    if not test.is_better or test.rate <= 0:
        return None
    step = (samples[-1].seconds - samples[0].seconds) / len(found)
    steps = max(1.0, left / test.rate / step)
    remembered = (2 - WEIGHT) / WEIGHT  # rates that the smoothed one is as good as the mean of
    off = SPREAD * NORMAL * test.smoothed * math.sqrt(1 / min(remembered, len(found)) + 1 / steps)
    slow = test.rate - off
    return Forecast(left / test.rate, left / (test.rate + off), left / slow if slow > 0 else None)
