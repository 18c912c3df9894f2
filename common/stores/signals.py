"""Signals: what the watcher looks at, each read in time that does not grow with what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from common import encoding
from common.db import Transaction
from common.rules.forecast import Flow


class Queue(NamedTuple):
    """How much waits, what has failed, and how the last hour went."""

    now: datetime
    waiting: int
    dead: int
    failed: int  # in the last hour
    finished: int  # in the last hour
    oldest_seconds: float  # for how long what is due first has been due


class Long(NamedTuple):
    """A transaction that has been open for too long."""

    pid: int | None  # None: a prepared one
    kind: str
    application: str | None
    username: str | None
    state: str | None
    seconds: float


class Secret(NamedTuple):
    """A webhook secret that has counted for too long."""

    fingerprint: str
    days: float


class Average(NamedTuple):
    """A signal's averages per minute, and the last minute that is in them."""

    arrivals: float
    completions: float
    minute: datetime


class Minute(NamedTuple):
    """What came and what went."""

    minute: datetime
    arrivals: float
    completions: float


class Hour(NamedTuple):
    """How much there was in an hour, and in the same hour of other weeks, the latest first."""

    signal: str
    hour: datetime
    amount: int
    weeks: list[int]
    since: int  # what came after that hour, as far as it is counted


class Schedule(NamedTuple):
    """A schedule that calls the source."""

    name: str
    function: str
    arguments: dict[str, Any]
    cron: str
    time_zone: str
    next_slot: datetime | None
    last_slot: datetime | None
    calls: float | None  # of a fire, on average; None: none of them is over


class Late(NamedTuple):
    """An entity that was to be in step again."""

    entity: str
    last_sync_at: datetime
    last_sync_status: str
    first: float  # seconds since it was first due
    second: float | None  # seconds since it was due once more


class Pages(NamedTuple):
    """How long the list of an entity is."""

    entity: str
    pages: int


class UnderWay(NamedTuple):
    """A scheduled sync that goes on."""

    schedule: str
    plan: str
    slot: datetime
    following: datetime | None  # the next slot of its schedule; None: there is none
    mode: str
    pages: int
    left_pages: int  # as far as anybody can know
    seconds: float


def queue(tx: Transaction, *, most: int) -> Queue:
    """The queue and the dead letters; no more than `most` of what has to be counted is."""
    found = tx.one(Queue, "signals.queue", most=most)
    assert found is not None  # noqa: S101 - an aggregate always has a row
    return found


def long_transactions(tx: Transaction, age: timedelta) -> list[Long]:
    """Transactions that have been open for so long, the oldest first."""
    return tx.all(Long, "signals.long_transactions", seconds=age.total_seconds())


def old_secrets(tx: Transaction, age: timedelta) -> list[Secret]:
    """Webhook secrets that have counted for so long, as far as that is known."""
    return tx.all(Secret, "signals.old_secrets", seconds=age.total_seconds())


def flow(tx: Transaction, name: str) -> Flow:
    """A signal's averages as they stand."""
    found = tx.one(Average, "signals.flow", name=name)
    return Flow(found.arrivals, found.completions) if found else Flow()


def minutes(tx: Transaction, name: str, *, arrivals: Sequence[str], completions: Sequence[str], most: int) -> list[Minute]:
    """The whole minutes that are not in a signal's averages yet, oldest first: the counters that say what came, and what went."""
    names = encoding.rows([*arrivals, *completions])
    return tx.all(Minute, "signals.minutes", name=name, names=names, arrivals=encoding.rows(arrivals), most=most)


def keep_flow(tx: Transaction, name: str, minute: datetime, flow: Flow) -> None:
    """Keep a signal's averages with every minute up to this one in them."""
    tx.run("signals.keep_flow", name=name, minute=minute, arrivals=flow.arrivals, completions=flow.completions)


def close_hours(tx: Transaction, *, weeks: int) -> int:
    """Write down the hours that are over; how many amounts that were."""
    return tx.run("signals.close_hours", weeks=weeks)


def hours(tx: Transaction, signals: Iterable[str], *, weeks: int) -> list[Hour]:
    """The last two hours of each signal, beside the same hour of other weeks."""
    return tx.all(Hour, "signals.hours", signals=encoding.rows(sorted(signals)), weeks=weeks)


def schedules(tx: Transaction) -> list[Schedule]:
    """The schedules that call the source."""
    return tx.all(Schedule, "signals.schedules")


def late(tx: Transaction, covers: Iterable[tuple[str, str]], slos: Mapping[str, timedelta]) -> list[Late]:
    """Entities that are overdue, given which schedule keeps which entity in step, and how long a sync of a mode may take."""
    rows = encoding.rows([{"schedule": schedule, "entity": entity} for schedule, entity in covers])
    return tx.all(Late, "signals.late", covers=rows, slos=encoding.rows(slos))


def full_pages(tx: Transaction) -> dict[str, int]:
    """How many pages the last full list of each entity had."""
    return {each.entity: each.pages for each in tx.all(Pages, "signals.full_pages")}


def under_way(tx: Transaction) -> list[UnderWay]:
    """Scheduled syncs that go on."""
    return tx.all(UnderWay, "signals.under_way")
