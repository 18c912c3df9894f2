"""Moments and days as the source writes them; free of pydantic, because the receiver reads version stamps with it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

FIRST_YEAR, LAST_YEAR = 1900, 2200  # a stamp of the year 9999 would be the newest version for ever

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(_DAY.pattern + r"(?:[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?))?")


def instant(text: object) -> datetime | None:
    """The moment in UTC that `text` names, such as 2026-06-09T09:45:44-0400; None when it is "" or null.

    A day alone is its midnight in UTC. A time of day without an offset names no moment.
    Raises: ValueError, for anything else.
    """
    if text is None or text == "":
        return None
    if not isinstance(text, str) or not _INSTANT.fullmatch(text):
        message = "not a moment such as 2026-06-09T09:45:44-0400"
        raise ValueError(message)
    moment = datetime.fromisoformat(text)
    _check_year(moment)  # first: near the ends of the calendar a change of zone overflows
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def day(text: object) -> date | None:
    """The day that `text` names, such as 2026-06-09; None when it is "" or null.

    Raises: ValueError, for anything else.
    """
    if text is None or text == "":
        return None
    if not isinstance(text, str) or not _DAY.fullmatch(text):
        message = "not a day such as 2026-06-09"
        raise ValueError(message)
    found = date.fromisoformat(text)
    _check_year(found)
    return found


def _check_year(when: date) -> None:
    if not FIRST_YEAR <= when.year <= LAST_YEAR:
        message = f"the year {when.year} is outside {FIRST_YEAR} to {LAST_YEAR}"
        raise ValueError(message)
