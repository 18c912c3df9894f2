"""Where two sides differ, found by counting: ranges of creation days are halved as long as the source's figures differ from ours.

Days of creation never change, so a range means the same tomorrow. Each count is a call that has its price: of two halves only
one is asked for, the other is what is left of the whole. Pure: it says what to ask, and is told what was answered.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

PAGE = 200  # rows in one call
LEAF_PAGES = 2  # read rather than halved: halving it costs one call, and then one for each half that differs
BUDGET_SHARE = 0.4  # of the calls of a full list; beyond them the list is the better buy, since it repairs as well
DAY = timedelta(days=1)


class Figures(NamedTuple):
    """A count, and the sums of what is counted; None where the source does not sum."""

    rows: int
    sums: tuple[Decimal, ...] | None = None

    def less(self, other: Figures) -> Figures:
        """What is left without `other`."""
        sums = None if self.sums is None or other.sums is None else tuple(a - b for a, b in zip(self.sums, other.sums, strict=True))
        return Figures(self.rows - other.rows, sums)

    def equals(self, other: Figures) -> bool:
        """Whether all figures that both have are equal."""
        return self.rows == other.rows and (self.sums is None or other.sums is None or self.sums == other.sums)


class Span(NamedTuple):
    """Days of creation, both ends included; None: without end."""

    first: date | None
    last: date | None


class Local:
    """Our figures of each day; those of a range are differences of running sums."""

    def __init__(self, days: Iterable[tuple[date, Figures]]) -> None:
        ordered = sorted(days)
        self.days = [day for day, _ in ordered]
        self._counts = [0, *itertools.accumulate(each.rows for _, each in ordered)]
        width = len(ordered[0][1].sums or ()) if ordered else 0
        columns = [[(each.sums or ())[column] for _, each in ordered] for column in range(width)]
        self._sums = [[Decimal(), *itertools.accumulate(column)] for column in columns]

    def _places(self, span: Span) -> tuple[int, int]:
        lo = 0 if span.first is None else bisect.bisect_left(self.days, span.first)
        hi = len(self.days) if span.last is None else bisect.bisect_right(self.days, span.last)
        return lo, max(lo, hi)

    def within(self, span: Span) -> Figures:
        """Our figures of a range."""
        lo, hi = self._places(span)
        return Figures(
            self._counts[hi] - self._counts[lo], tuple(sums[hi] - sums[lo] for sums in self._sums) if self.days else None
        )

    def middle(self, span: Span) -> date | None:
        """The last day of the lower half of our rows; None when the range cannot be cut."""
        lo, hi = self._places(span)
        if hi - lo >= 2:  # noqa: PLR2004 - with two days of ours there is something on either side
            wanted = (self._counts[lo] + self._counts[hi]) // 2
            place = bisect.bisect_left(self._counts, wanted, lo + 1, hi) - 1
            return self.days[min(max(place, lo), hi - 2)]
        if hi == lo:
            return None
        only = self.days[lo]
        if span.first is None or span.first < only:
            return only - DAY
        return only if span.last is None or span.last > only else None


class Probe(NamedTuple):
    """Ask the source for its figures of a range."""

    span: Span


class Read(NamedTuple):
    """Read every row of a range, and compare it."""

    span: Span
    pages: int  # as many as its count says


class FullList(NamedTuple):
    """What is left costs more than it is worth: read the whole list."""


class Done(NamedTuple):
    """Every range whose figures differ was read."""


@dataclass
class Bisection:
    """The ranges that are still to be looked at, the newest on top, each with the source's figures."""

    budget: int
    spent: int = 0
    has_sums: bool = True  # False: the source sums something else than the rows say, so only counts are compared
    page: int = PAGE
    pending: list[tuple[Span, Figures]] = field(default_factory=list)

    @classmethod
    def begun(cls, whole: Figures, *, share: float = BUDGET_SHARE, has_sums: bool = True, page: int = PAGE) -> Bisection:
        """A search of everything, whose figures at the source are `whole`."""
        return cls(int(share * pages_of(whole.rows, page)), has_sums=has_sums, page=page, pending=[(Span(None, None), whole)])

    def next(self, local: Local) -> Probe | Read | FullList | Done:
        """What to do now; asked again without an answer in between, it says the same."""
        while self.pending:
            span, source = self.pending[-1]
            ours = local.within(span)
            if self._equal(source, ours):
                self.pending.pop()
                continue
            step = self._step(span, source, ours, local)
            cost = step.pages if isinstance(step, Read) else 1
            return step if self.spent + cost <= self.budget else FullList()
        return Done()

    def _equal(self, source: Figures, ours: Figures) -> bool:
        return source.equals(ours) if self.has_sums else source.rows == ours.rows

    def _step(self, span: Span, source: Figures, ours: Figures, local: Local) -> Probe | Read:
        pages = pages_of(source.rows, self.page)  # an empty range costs one as well: that it is empty was worked out, not said
        middle = local.middle(span)
        is_mostly_missing = 2 * (source.rows - ours.rows) >= source.rows  # all of it must be read anyway
        if pages <= LEAF_PAGES or middle is None or is_mostly_missing:
            return Read(span, pages)
        return Probe(Span(middle + DAY, span.last))

    def probed(self, span: Span, source: Figures) -> None:
        """The source's figures of the upper part of the range on top; the lower part has what is left."""
        whole, figures = self.pending.pop()
        self.spent += 1
        if span.first is None:
            message = "only an upper part is ever asked for"
            raise ValueError(message)
        self.pending.append((Span(whole.first, span.first - DAY), figures.less(source)))
        self.pending.append((span, source))

    def read(self, calls: int) -> None:
        """The range on top was read, with so many calls."""
        self.pending.pop()
        self.spent += calls

    # What outlives a function

    def kept(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "budget": self.budget,
            "spent": self.spent,
            "has_sums": self.has_sums,
            "page": self.page,
            "pending": [
                {
                    "first": span.first.isoformat() if span.first else None,
                    "last": span.last.isoformat() if span.last else None,
                    "rows": figures.rows,
                    "sums": None if figures.sums is None else [str(each) for each in figures.sums],
                }
                for span, figures in self.pending
            ],
        }

    @classmethod
    def found(cls, kept: dict[str, Any]) -> Bisection:
        """What was kept."""
        pending = [
            (
                Span(_day(each["first"]), _day(each["last"])),
                Figures(each["rows"], None if each["sums"] is None else tuple(map(Decimal, each["sums"]))),
            )
            for each in kept["pending"]
        ]
        return cls(kept["budget"], kept["spent"], kept["has_sums"], kept["page"], pending)


def pages_of(count: int, page: int = PAGE) -> int:
    """Calls that reading so many rows takes; one at least."""
    return max(1, -(-count // page))


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None
