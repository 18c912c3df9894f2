"""Schedules: what may stand in one, and what is to be done with the slots that have come."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from common import encoding
from common.rules import cron
from common.rules.instants import instant

# The deployables that a schedule may ring: tasks that answer a fire. Held against serverless.yml by a test.
FUNCTIONS = ("heal", "process", "reconcile", "sync")
CATCH_UPS, OVERLAPS = ("none", "last", "all"), ("skip", "queue", "allow")
MOST_CAUGHT_UP = 100
MOST_WAITING = 100  # fires of one schedule that may queue up behind one that does not end
ARGUMENTS_CHARACTERS = 4096
NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
FIELDS = (
    "name", "cron", "time_zone", "function", "arguments", "enabled", "catch_up", "catch_up_limit", "overlap",
    "starts_at", "ends_at",
)  # fmt: skip
# A tick that comes late by this much is late; later than that, the slot was missed.
GRACE = timedelta(minutes=5)
ROUND = 1000  # slots of one schedule that are looked at in one go

Fault = dict[str, str]


# What may stand in one ---------------------------------------------------------------------------------------------


def cleaned(asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """A whole schedule as it is stored, and what is wrong with it, by JSON pointer."""
    faults = [fault(key, "there is no such field") for key in asked if key not in FIELDS]
    found: dict[str, Any] = {}
    for name in FIELDS:
        try:
            found[name] = _READ[name](asked.get(name))
        except ValueError as error:
            faults.append(fault(name, str(error)))
    starts_at, ends_at = found.get("starts_at"), found.get("ends_at")
    if starts_at and ends_at and starts_at >= ends_at:
        faults.append(fault("ends_at", "must be later than starts_at"))
    return found, faults


def fault(field: str, message: str) -> Fault:
    """What is wrong with a field."""
    return {"pointer": f"/{field[:64]}", "message": message}


def _name(value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        message = "must be 1 to 63 of a-z, 0-9, _ and -, beginning with a letter"
        raise ValueError(message)
    return value


def _zone(value: object) -> str | None:
    return None if value is None else cron.checked_zone(value)


def _function(value: object) -> str:
    return _one_of(FUNCTIONS, value)


def _one_of(known: tuple[str, ...], value: object) -> str:
    if not isinstance(value, str) or value not in known:
        message = f"must be one of {', '.join(known)}"
        raise ValueError(message)
    return value


def _arguments(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(encoding.rows(value)) > ARGUMENTS_CHARACTERS:
        message = f"must be an object of {ARGUMENTS_CHARACTERS} characters at most"
        raise ValueError(message)
    return value


def _enabled(value: object) -> bool:
    if value is not None and not isinstance(value, bool):
        message = "must be true or false"
        raise ValueError(message)
    return value is not False


def _limit(value: object) -> int:
    if value is None:
        return 10
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_CAUGHT_UP:
        message = f"must be a whole number from 1 to {MOST_CAUGHT_UP}"
        raise ValueError(message)
    return value


def moment(value: object) -> datetime | None:
    """A moment as people send it.

    Raises: ValueError.
    """
    if isinstance(value, datetime):
        return value
    try:
        return instant(value)
    except ValueError as error:
        message = str(error) if str(error).startswith("the year") else "must be a moment such as 2026-06-09T09:45:44Z"
        raise ValueError(message) from error


_READ = {
    "name": _name,
    "cron": cron.checked,
    "time_zone": _zone,
    "function": _function,
    "arguments": _arguments,
    "enabled": _enabled,
    "catch_up": lambda value: _one_of(CATCH_UPS, "none" if value is None else value),
    "catch_up_limit": _limit,
    "overlap": lambda value: _one_of(OVERLAPS, "skip" if value is None else value),
    "starts_at": moment,
    "ends_at": moment,
}


# When it is due next -----------------------------------------------------------------------------------------------


def next_slot(expression: str, zone: str, after: datetime, starts_at: datetime | None, ends_at: datetime | None) -> datetime | None:
    """The first slot later than `after` and within the schedule's own limits; None when there is none any more.

    Raises: ValueError, when the expression or the zone is not one.
    """
    # A slot may be at starts_at itself.
    slot = cron.following(expression, zone, max(after, starts_at - timedelta(microseconds=1)) if starts_at else after).at
    return None if ends_at and slot > ends_at else slot


# What is to be done with the slots that have come ------------------------------------------------------------------


class Due(NamedTuple):
    """A schedule whose slot has come."""

    name: str
    cron: str
    time_zone: str
    catch_up: str
    catch_up_limit: int
    overlap: str
    ends_at: datetime | None
    next_slot: datetime
    unfinished: int  # fires of it that are due or started
    now: datetime
    function: str


class Fire(NamedTuple):
    """What becomes of a slot: due (at once, or once the one before it is over), missed, or skipped."""

    slot: datetime
    state: str
    waits: bool = False
    message: str | None = None


def decided(due: Due) -> tuple[list[Fire], datetime | None]:
    """What becomes of each slot up to now, and when the schedule is due next; at most ROUND slots, the rest in the next round.

    Raises: ValueError, when the expression or the zone is not one.
    """
    slots = [due.next_slot]
    following = next_slot(due.cron, due.time_zone, due.next_slot, None, due.ends_at)
    while following and following <= due.now and len(slots) < ROUND:
        slots.append(following)
        following = next_slot(due.cron, due.time_zone, following, None, due.ends_at)
    chosen: list[datetime] = []
    wanted = due.catch_up_limit if due.catch_up == "all" else 1
    if following and following <= due.now:
        # There are more, so none of these is sure to be among the last: decide those that cannot be, and come back for the rest.
        following = slots[-wanted]
        slots = slots[:-wanted]
    elif due.catch_up != "none" or due.now - slots[-1] <= GRACE:
        slots, chosen = slots[:-wanted], slots[-wanted:]
    return [Fire(slot, "missed", message="Nobody ticked while it was due.") for slot in slots] + _run(due, chosen), following


def _run(due: Due, slots: list[datetime]) -> list[Fire]:
    """What becomes of slots that are to run, by what is to be done while an earlier one is not over."""
    if due.overlap == "allow":
        return [Fire(slot, "due") for slot in slots]
    if due.overlap == "skip" and due.unfinished and len(slots) == 1:
        return [Fire(slot, "skipped", message="The one before it was not over.") for slot in slots]
    # Several that are caught up with run one after the other, as they would have.
    return [
        Fire(slot, "due", waits=position > 0)
        if position < MOST_WAITING
        else Fire(slot, "skipped", message=f"{MOST_WAITING} wait already for one that is not over.")
        for position, slot in enumerate(slots, start=due.unfinished)
    ]
