"""Schedules, and their fires: one row for each time that one was due, run by hand, or missed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from common import encoding
from common.db import Transaction
from common.rules.schedules import Due, Fire

# What has been rung for and not begun after this long is rung for again.
AGAIN = timedelta(seconds=60)

NEVER = "infinity"  # when a schedule is due next that has come to its end


class Schedule(NamedTuple):
    """A schedule as people see it."""

    name: str
    cron: str
    time_zone: str
    is_default_zone: bool
    function: str
    arguments: dict[str, Any]
    enabled: bool
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None
    catch_up: str
    catch_up_limit: int
    overlap: str
    starts_at: datetime | None
    ends_at: datetime | None
    next_slot: datetime | None
    last_slot: datetime | None
    version: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    succeeded: int  # of the last hundred that ended
    ended: int
    missed: int  # a thousand at most
    unfinished: int


class Listed(NamedTuple):
    """A fire as people see it."""

    slot: datetime
    kind: str
    state: str
    waits: bool
    recorded_at: datetime
    rung_at: datetime | None
    rings: int
    started_at: datetime | None
    finished_at: datetime | None
    plan_id: UUID | None
    message: str | None
    requested_by: str | None


class Uncomputed(NamedTuple):
    """A schedule whose next slot is not known."""

    name: str
    cron: str
    time_zone: str
    starts_at: datetime | None
    ends_at: datetime | None


class Rung(NamedTuple):
    """A fire that the caller has to ring for, once its transaction is over."""

    schedule: str
    function: str
    slot: datetime


class Ticked(NamedTuple):
    """When a tick was last seen, and whether that is recent enough to say that they come."""

    seen_at: datetime | None
    is_running: bool


class Rest(NamedTuple):
    """Whether there are schedules without a next slot, and fires to let go on or to ring for again."""

    uncomputed: bool
    fires: bool


class Recorded(NamedTuple):
    """A fire that stands now."""

    schedule: str
    slot: datetime


# For the functions that schedules name -----------------------------------------------------------------------------


def begin(tx: Transaction, name: str, slot: datetime) -> dict[str, Any] | None:
    """Take a fire; its schedule's arguments. None when it is not known, not to be run now, or somebody has it."""
    arguments: dict[str, Any] | None = tx.value("schedules.begin", name=name, slot=slot)
    return arguments


def finish(tx: Transaction, name: str, slot: datetime, *, ok: bool, message: str | None = None) -> list[Rung]:
    """Say how a fire ended; what waited for it, for the caller to ring for. If nobody does, a tick will."""
    tx.run("schedules.finish", name=name, slot=slot, ok=ok, message=message)
    return tx.all(Rung, "schedules.release_one", name=name, again=AGAIN)


def attach(tx: Transaction, name: str, slot: datetime, plan: UUID | str) -> None:
    """A fire goes on as a plan, and ends with it."""
    tx.run("schedules.attach", name=name, slot=slot, plan=str(plan))


def finish_plan(tx: Transaction, plan: UUID | str, *, ok: bool, message: str | None = None) -> list[Rung]:
    """Say how the plan of a fire ended, if it is one's. Returns as `finish` does."""
    name = tx.value("schedules.finish_plan", plan=str(plan), ok=ok, message=message)
    return tx.all(Rung, "schedules.release_one", name=name, again=AGAIN) if name else []


# For tick ----------------------------------------------------------------------------------------------------------


def now(tx: Transaction) -> datetime:
    """The moment by the one clock."""
    at: datetime = tx.value("schedules.now")
    return at


def lock_due(tx: Transaction, *, limit: int) -> list[Due]:
    """Schedules whose slot has come, longest overdue first, locked; those that another tick has in hand are left to it."""
    return tx.all(Due, "schedules.lock_due", limit=limit)


def advance(tx: Transaction, decisions: Iterable[tuple[Due, Sequence[Fire], datetime | None]]) -> list[Rung]:
    """Move schedules on and record what becomes of their slots; those that are to be rung for now."""
    moved, fires, functions = [], [], {}
    for due, decided, following in decisions:
        moved.append(
            {"name": due.name, "read": due.next_slot, "next": following or NEVER, "last": decided[-1].slot if decided else None}
        )
        functions[due.name] = due.function
        fires += [{"name": due.name, **fire._asdict()} for fire in decided]
    recorded = tx.all(Recorded, "schedules.advance", moved=encoding.rows(moved), fires=encoding.rows(fires), again=AGAIN)
    return [Rung(each.schedule, functions[each.schedule], each.slot) for each in recorded]


def rest(tx: Transaction) -> Rest:
    """What else there is to do."""
    return tx.one(Rest, "schedules.rest") or Rest(uncomputed=False, fires=False)


def lock_uncomputed(tx: Transaction, *, limit: int) -> list[Uncomputed]:
    """Schedules whose next slot nobody has computed yet, locked."""
    return tx.all(Uncomputed, "schedules.lock_uncomputed", limit=limit)


def compute(tx: Transaction, slots: Mapping[str, datetime | None]) -> int:
    """Set when schedules are due next; None: never again."""
    return tx.run("schedules.compute", slots=encoding.rows([{"name": name, "next": slot or NEVER} for name, slot in slots.items()]))


def stop(tx: Transaction, reasons: Mapping[str, str]) -> None:
    """Pause schedules that cannot be worked with, and open an alert."""
    tx.run("schedules.stop", reasons=encoding.rows([{"name": name, "reason": reason} for name, reason in reasons.items()]))


def release(tx: Transaction, *, limit: int) -> int:
    """Let fires go on whose predecessors are over."""
    return tx.run("schedules.release", limit=limit)


def take_unanswered(tx: Transaction, *, limit: int) -> list[Rung]:
    """Fires that nobody has begun in time, to be rung for now."""
    return tx.all(Rung, "schedules.take_unanswered", limit=limit, again=AGAIN)


def beat(tx: Transaction) -> None:
    """A tick was here."""
    tx.run("schedules.beat")


# For heal ----------------------------------------------------------------------------------------------------------


def fail_stranded(tx: Transaction, *, age: timedelta, limit: int) -> int:
    """End fires whose function began and was never heard of again."""
    return tx.run("schedules.fail_stranded", age=age, limit=limit)


def give_up(tx: Transaction, *, age: timedelta, limit: int) -> int:
    """End fires that nobody began for so long."""
    return tx.run("schedules.give_up", age=age, limit=limit)


def prune(tx: Transaction, *, age: timedelta, limit: int) -> int:
    """Delete fires that ended so long ago."""
    return tx.run("schedules.prune", age=age, limit=limit)


class Slipped(NamedTuple):
    """A schedule whose slot came and was not recorded."""

    name: str
    slot: datetime


def slipped(tx: Transaction, *, age: timedelta, limit: int) -> list[Slipped]:
    """Schedules whose slot came so long ago although ticks are seen."""
    return tx.all(Slipped, "schedules.slipped", age=age, limit=limit)


# For people --------------------------------------------------------------------------------------------------------


def page(tx: Transaction, *, after: str, limit: int) -> list[Schedule]:
    """Schedules by name, those after `after`."""
    return tx.all(Schedule, "schedules.page", after=after, limit=limit)


def seeded_first(tx: Transaction, *, limit: int) -> list[Schedule]:
    """Schedules, the seeded ones first."""
    return tx.all(Schedule, "schedules.seeded_first", limit=limit)


def find(tx: Transaction, name: str) -> Schedule | None:
    """One schedule."""
    return tx.one(Schedule, "schedules.find", name=name)


def lock(tx: Transaction, name: str) -> bool:
    """Keep ticks and other people away from a schedule until the transaction ends; whether there is one."""
    return tx.value("schedules.lock", name=name) is not None


def number(tx: Transaction) -> int:
    """How many schedules there are."""
    return int(tx.value("schedules.number"))


def default_zone(tx: Transaction) -> str:
    """The time zone of schedules that name none."""
    return str(tx.value("schedules.default_zone"))


def ticked(tx: Transaction) -> Ticked | None:
    """When a tick was last seen."""
    return tx.one(Ticked, "schedules.ticked")


def add(tx: Transaction, definition: Mapping[str, Any], *, actor: str) -> bool:
    """Store a new schedule, `next_slot` among its fields; whether its name was free."""
    return tx.run("schedules.add", definition=encoding.rows(definition), actor=actor) == 1


def change(tx: Transaction, definition: Mapping[str, Any], *, actor: str, version: int) -> bool:
    """Change a schedule, and when it is due next if `definition` says so under `next_slot`; whether it still had this version."""
    return tx.run("schedules.change", definition=encoding.rows(definition), actor=actor, version=version) == 1


def remove(tx: Transaction, name: str) -> bool:
    """Delete a schedule that is not seeded, with its fires; whether there was one."""
    return tx.run("schedules.remove", name=name) == 1


def pause(tx: Transaction, name: str, *, actor: str, reason: str | None) -> bool:
    """Pause a schedule; whether it was not."""
    if tx.run("schedules.pause", name=name, actor=actor, reason=reason) == 0:
        return False
    tx.run("schedules.park", name=name)
    return True


def resume(tx: Transaction, name: str, *, actor: str, following: datetime | None) -> bool:
    """Let a schedule go on, from `following` if it is not to catch up; whether it was paused."""
    if tx.run("schedules.resume", name=name, actor=actor, following=following or NEVER) == 0:
        return False
    tx.run("schedules.forgo", name=name)
    return True


def record(tx: Transaction, name: str, slots: Sequence[datetime], *, kind: str, waits: bool, actor: str) -> list[datetime]:
    """Record fires that somebody asks for: new ones, and those that were missed, skipped or failed; which of them are."""
    asked = encoding.rows(slots)
    return [each.slot for each in tx.all(Recorded, "schedules.record", name=name, slots=asked, kind=kind, waits=waits, actor=actor)]


def fires(tx: Transaction, name: str, *, state: str | None, before: datetime | None, limit: int) -> list[Listed]:
    """The fires of a schedule, latest slot first."""
    return tx.all(Listed, "schedules.fires", name=name, state=state, before=before, limit=limit)
