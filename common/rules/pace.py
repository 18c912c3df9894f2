"""How fast a run is, and when it will be over."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Pace(NamedTuple):
    """None is what nobody can know."""

    rows_per_second: float | None
    pages_expected: int | None
    progress: float | None
    eta_seconds: float | None


def pace(*, pages: int, rows: int, started_at: datetime, until: datetime, is_over: bool, expected: int | None) -> Pace:
    """`expected`: how many pages the last list of this kind had. A run that is longer than that is forecast no more."""
    seconds = (until - started_at).total_seconds()
    rate = rows / seconds if seconds > 0 and rows else None
    if is_over:
        return Pace(rate, pages, 1.0, 0.0)
    if expected is None or pages >= expected or not pages:
        return Pace(rate, expected, None, None)
    return Pace(rate, expected, pages / expected, (expected - pages) * seconds / pages)
