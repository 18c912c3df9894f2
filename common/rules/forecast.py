"""Forecasts: when a backlog will reach its limit, and whether an hour was unlike the same hour of other weeks. Pure.

Arrivals and completions of each minute are averaged, old minutes counting less and less (half as much every `half_life`
minutes); what they differ by is how fast the backlog grows. The same hour of the week is compared by median and median
absolute deviation: one week with an outage does not become what is expected of the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

FEWEST_WEEKS = 3  # fewer say nothing about what is usual
NORMAL = 1.4826  # what makes the median absolute deviation of a normal distribution its standard deviation


class Flow(NamedTuple):
    """How much came and went per minute, lately."""

    arrivals: float = 0.0
    completions: float = 0.0

    @property
    def growth(self) -> float:
        """By how much the backlog grows in a minute."""
        return self.arrivals - self.completions


def folded(flow: Flow, minutes: Iterable[tuple[float, float]], *, half_life: float) -> Flow:
    """The flow after so many more minutes of (arrivals, completions), oldest first."""
    kept = 0.5 ** (1 / half_life)
    arrivals, completions = flow
    for came, went in minutes:
        arrivals += (1 - kept) * (came - arrivals)
        completions += (1 - kept) * (went - completions)
    return Flow(arrivals, completions)


def projected(backlog: float, flow: Flow, minutes: float) -> float:
    """The backlog in so many minutes, if it goes on like this."""
    return max(0.0, backlog + flow.growth * minutes)


def minutes_left(backlog: float, limit: float, flow: Flow) -> float | None:
    """Minutes until the backlog reaches its limit; None: it does not."""
    if backlog >= limit:
        return 0.0
    return (limit - backlog) / flow.growth if flow.growth > 0 else None


class Hour(NamedTuple):
    """How an hour compares with the same hour of other weeks."""

    amount: float
    usual: float  # the median
    score: float  # how many deviations it is above (or below) that


def compared(amount: float, weeks: Sequence[float]) -> Hour | None:
    """An hour beside those of other weeks; None when there are too few of them.

    Counts scatter by at least the root of what is expected, so that is the least deviation, however alike the weeks were.
    """
    if len(weeks) < FEWEST_WEEKS:
        return None
    usual = median(weeks)
    deviation = max(NORMAL * median(abs(each - usual) for each in weeks), math.sqrt(usual), 1.0)
    return Hour(amount, usual, (amount - usual) / deviation)


def oddity(hours: Sequence[Hour | None], *, fewest: float) -> float:
    """How odd the hours in a row (newest last) are together: the smallest of their scores, with its sign; 0.0 when they do
    not all point the same way, or when there is too little in them to tell.
    """  # fmt: skip
    known = [each for each in hours if each is not None and max(each.amount, each.usual) >= fewest]
    if not hours or len(known) < len(hours) or len({each.score > 0 for each in known}) > 1:
        return 0.0
    return min((each.score for each in known), key=abs)


def is_silent(hour: Hour | None, *, above: float) -> bool:
    """Whether nothing at all came in an hour in which there usually is more than `above`."""
    return hour is not None and hour.amount == 0 and hour.usual > above
