"""Cron: an expression of five fields, or an alias, in a time zone, and the moments it names, across changes of the clock.

Its hour field alone decides what an expression means where the clock is changed:
- one that leaves hours out ("30 2 * * *", "*/15 9-17 * * 1-5") means the clock on the wall. Each of its wall times comes
  once: in the hour that is repeated the first time, and one that falls into the gap at the first moment after the gap.
  What then falls on the same moment is one slot.
- one that leaves none out ("*/15 * * * *", "5 * * * *") means time that passes: it goes on through the repeated hour, and
  for it the gap is simply not there.
"""

from __future__ import annotations

import functools
import re
import threading
import zoneinfo
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

LONGEST = 120  # characters
ALIASES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
SKIPPED, REPEATED = "skipped_hour", "repeated_hour"

_NUMBERS = r"[0-9*,/-]"
_FIELDS = re.compile(
    rf"{_NUMBERS}+ {_NUMBERS}+ {_NUMBERS}+ "
    rf"(?:{_NUMBERS}|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)+ "
    rf"(?:{_NUMBERS}|sun|mon|tue|wed|thu|fri|sat)+"
)
_MINUTE = timedelta(minutes=1)
_SOME_DAY = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall time has no zone
_OF_THE_MACHINE = {"localtime", "Factory", "posixrules"}


class Slot(NamedTuple):
    """A moment at which an expression is due."""

    at: datetime  # UTC
    wall: datetime  # what the clock on the wall was meant to show, without a zone
    edge: str | None  # SKIPPED: the wall never showed it; REPEATED: it showed it twice


def checked(cron: object) -> str:
    """`cron` as it is stored: lower case, single spaces.

    Raises: ValueError, unless it is an alias or five fields that name a moment at some time.
    """
    if not isinstance(cron, str) or not 0 < len(cron) <= LONGEST:
        message = f"must be text of 1 to {LONGEST} characters"
        raise ValueError(message)
    plain = re.sub("[ \t]+", " ", cron.strip(" \t")).lower()
    if plain in ALIASES:
        return plain
    if not _FIELDS.fullmatch(plain):
        message = f"must be five fields (minute, hour, day, month, weekday) or one of {', '.join(ALIASES)}"
        raise ValueError(message)
    from croniter import CroniterBadDateError  # noqa: PLC0415 - 40 ms; see _matching

    try:
        _matching(plain, _SOME_DAY)
    except CroniterBadDateError as error:
        message = "never fires: no day is like that"
        raise ValueError(message) from error
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        message = f"has a field that cannot be read: {str(error)[:200]}"
        raise ValueError(message) from error
    return plain


@functools.cache
def zones() -> frozenset[str]:
    """The names of every time zone that there is."""
    return frozenset(zoneinfo.available_timezones() - _OF_THE_MACHINE)


def checked_zone(name: object) -> str:
    """`name`, if it is a time zone's.

    Raises: ValueError.
    """
    if not isinstance(name, str) or name not in zones():
        message = "must be the name of a time zone, such as Europe/Berlin or UTC"
        raise ValueError(message)
    return name


def place_of(zone: str) -> tzinfo:
    """The time zone of that name.

    Raises: ValueError, when there is none (any more).
    """
    if zone == "UTC":
        return UTC  # also on a machine that has no time zones
    try:
        return zoneinfo.ZoneInfo(zone)
    except (KeyError, OSError) as error:
        message = f"there is no time zone {zone[:64]}"
        raise ValueError(message) from error


@functools.lru_cache(maxsize=8192)
def following(cron: str, zone: str, after: datetime) -> Slot:
    """The first slot later than `after`.

    Raises: ValueError, when the expression or the zone is not one (any more), or there is no such slot.
    """
    # Remembered, because schedules that are due at the same time mostly share their expression.
    place = place_of(zone)
    try:
        return _by_elapsed_time(cron, place, after) if _is_of_elapsed_time(cron) else _by_wall(cron, place, after)
    except (KeyError, IndexError, OverflowError) as error:
        message = f"{cron[:LONGEST]} has no slot after {after:%Y-%m-%d}"
        raise ValueError(message) from error


def slots(cron: str, zone: str, after: datetime, until: datetime, limit: int) -> list[Slot]:
    """The slots later than `after` and not later than `until`, the first `limit` of them.

    Raises: ValueError, as `following`.
    """
    found: list[Slot] = []
    while len(found) < limit:
        slot = following(cron, zone, after)
        if slot.at > until:
            break
        found.append(slot)
        after = slot.at
    return found


def count(cron: str, zone: str, after: datetime, until: datetime, exact: int) -> int:
    """How many slots there are later than `after` and not later than `until`; above `exact` as if no clock were changed.

    Raises: ValueError, as `following`.
    """
    few = len(slots(cron, zone, after, until, exact + 1))
    if few <= exact:
        return few
    minutes, hours, *days = _expanded(cron)
    place = place_of(zone)
    first, last = after.astimezone(place), until.astimezone(place)
    each = len(minutes) * len(hours)
    whole = sum(_is_on(date.fromordinal(day), days) for day in range(first.toordinal(), last.toordinal() + 1)) * each
    before = sum((hour, minute) <= (first.hour, first.minute) for hour in hours for minute in minutes)
    later = sum((hour, minute) > (last.hour, last.minute) for hour in hours for minute in minutes)
    return whole - before * _is_on(first.date(), days) - later * _is_on(last.date(), days)


def _is_on(day: date, sets: list[frozenset[int]]) -> bool:
    days, months, weekdays = sets
    every_day, every_weekday = len(days) == 31, len(weekdays) == 7  # noqa: PLR2004
    if every_day or every_weekday:
        fits = (every_day or day.day in days) and (every_weekday or day.isoweekday() % 7 in weekdays)
    else:
        fits = day.day in days or day.isoweekday() % 7 in weekdays  # as cron has always done when both are given
    return fits and day.month in months


# Wall times: what croniter finds, without any zone -----------------------------------------------------------------


def _matching(cron: str, wall: datetime) -> datetime:
    """The first wall time later than `wall` that the expression names."""
    found: datetime = _iterator(cron, threading.get_ident()).get_next(datetime, start_time=wall)
    return found


@functools.lru_cache(maxsize=1024)
def _iterator(cron: str, thread: int) -> Any:  # noqa: ARG001 - it remembers where it is, so each thread has its own
    from croniter import croniter  # noqa: PLC0415 - 40 ms, and most calls of most functions have nothing to compute

    return croniter(cron, _SOME_DAY)


@functools.lru_cache(maxsize=2048)
def _expanded(cron: str) -> tuple[frozenset[int], ...]:
    """The numbers that each of the five fields stands for."""
    from croniter import croniter  # noqa: PLC0415 - as above

    every = (range(60), range(24), range(1, 32), range(1, 13), range(7))
    fields, _ = croniter.expand(cron)
    return tuple(frozenset(whole if field == ["*"] else map(int, field)) for field, whole in zip(fields, every, strict=True))


def _is_of_elapsed_time(cron: str) -> bool:
    return len(_expanded(cron)[1]) == 24  # noqa: PLR2004 - no hour is left out


# Moments -----------------------------------------------------------------------------------------------------------


def _by_wall(cron: str, zone: tzinfo, after: datetime) -> Slot:
    wall = _wall(after, zone)
    while True:
        wall = _matching(cron, wall)
        first, second = _moment(wall, zone, 0), _moment(wall, zone, 1)
        at = first or _end_of_gap(wall, zone)
        if at > after:  # not so in the second pass of a repeated hour, whose slots came in the first one
            return Slot(at, wall, SKIPPED if first is None else REPEATED if first != second else None)


def _by_elapsed_time(cron: str, zone: tzinfo, after: datetime) -> Slot:
    wall = _wall(after, zone)
    again = after.astimezone(zone).replace(fold=1).astimezone(UTC)
    if again > after:
        # The clock will show this hour a second time. If the first pass holds no further slot, look from where the second begins.
        turn = _change(after, again, zone)
        at = _moment(_matching(cron, wall), zone, 0)
        if at is None or at >= turn:
            wall = _wall(turn, zone) - _MINUTE
    while True:
        wall = _matching(cron, wall)
        moments = {at for fold in (0, 1) if (at := _moment(wall, zone, fold))}
        if later := [at for at in moments if at > after]:
            return Slot(min(later), wall, REPEATED if len(moments) > 1 else None)


def _wall(at: datetime, zone: tzinfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0, second=0, microsecond=0)


def _moment(wall: datetime, zone: tzinfo, fold: int) -> datetime | None:
    """When the wall shows `wall`: for the first (0) or the second (1) time; None when it falls into a gap."""
    at = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    return at if at.astimezone(zone).replace(tzinfo=None) == wall else None


def _end_of_gap(wall: datetime, zone: tzinfo) -> datetime:
    """The first moment after the gap that `wall` falls into."""
    # In a gap fold=1 reckons by the offset after it and so lands before it; fold=0 the other way round (PEP 495).
    before, behind = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (1, 0))
    return _change(before, behind, zone)


def _change(before: datetime, behind: datetime, zone: tzinfo) -> datetime:
    """The moment, to the second, later than `before` and not later than `behind`, from which the clock is another."""
    offset = before.astimezone(zone).utcoffset()
    while behind - before > timedelta(seconds=1):
        middle = (before + (behind - before) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            behind = middle
    return behind
