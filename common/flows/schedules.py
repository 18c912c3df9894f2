"""Schedules: what people do with them. They are rows: a change counts from the moment it is committed, without a deploy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from common import db, log
from common.db import Transaction
from common.errors import Conflict, Invalid, Unknown
from common.flows import fires
from common.flows.status import limit_of
from common.rules import cron
from common.rules import schedules as rules
from common.rules.http import Request
from common.rules.schedules import Fault, fault
from common.stores import schedules
from common.stores.schedules import NEVER, Schedule

MOST_BACKFILLED = 1000
MOST_PREVIEWED = 100
REASON_CHARACTERS = 500
END = datetime(9000, 1, 1, tzinfo=UTC)
STATES = ("due", "started", "done", "failed", "skipped", "missed")
WHEN = ("cron", "time_zone", "enabled", "starts_at", "ends_at")  # what decides when a schedule is due next


def listed(request: Request) -> dict[str, Any]:
    """Schedules by name; `next` goes into `after` to read on."""
    limit = limit_of(request)
    with db.transaction("status", read_only=True) as tx:
        found = schedules.page(tx, after=request.arguments.get("after", ""), limit=limit)
        total = schedules.number(tx)
    following = found[-1].name if len(found) == limit else None
    return {"schedules": [_shown(each) for each in found], "count": len(found), "total": total, "next": following}


def one(name: str) -> dict[str, Any]:
    """One schedule."""
    with db.transaction("status", read_only=True) as tx:
        return _shown(_found(tx, name))


def jobs(request: Request) -> dict[str, Any]:
    """The scheduler's jobs, the seeded ones first, and whether ticks come."""
    with db.transaction("status", read_only=True) as tx:
        found = schedules.seeded_first(tx, limit=limit_of(request))
        total, ticked = schedules.number(tx), schedules.ticked(tx)
    listed = [{"id": each.name, **_shown(each), "trigger": f"cron[{each.cron}]"} for each in found]
    state = {"scheduler_running": bool(ticked and ticked.is_running), "last_tick": ticked.seen_at if ticked else None}
    return {"jobs": listed, "count": len(listed), "total": total, **state}


def create(asked: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """A new schedule.

    Raises: Invalid; Conflict, when its name is taken.
    """
    definition, faults = rules.cleaned(asked)
    _refuse(faults)
    with db.transaction("operator") as tx:
        definition["next_slot"] = _next(tx, definition) or NEVER
        if not schedules.add(tx, definition, actor=_actor()):
            message = f"There is a schedule {definition['name']} already; change it with PATCH."
            raise Conflict(message)
        return 201, _shown(_found(tx, definition["name"]))


def change(name: str, asked: dict[str, Any]) -> dict[str, Any]:
    """A schedule with some of its fields changed; with `version`, only if that is still its version.

    Raises: Unknown, Invalid, Conflict.
    """
    faults = []
    version = asked.pop("version", None)
    if version is not None and (not isinstance(version, int) or isinstance(version, bool)):
        faults.append(fault("version", "must be a whole number"))
    if asked.get("name", name) != name:
        faults.append(fault("name", "cannot be changed; make a new one and delete this one"))
    with db.transaction("operator") as tx:
        current = _locked(tx, name)
        stored = current._asdict() | {"time_zone": None if current.is_default_zone else current.time_zone}
        definition, wrong = rules.cleaned({field: stored[field] for field in rules.FIELDS} | asked)
        _refuse(faults + wrong)
        if any(definition[field] != stored[field] for field in WHEN):
            definition["next_slot"] = _next(tx, definition) or NEVER
        if not schedules.change(tx, definition, actor=_actor(), version=current.version if version is None else version):
            message = f"Schedule {name} has been changed since: it has version {current.version} now."
            raise Conflict(message, version=current.version)
        return _shown(_found(tx, name))


def remove(name: str) -> dict[str, Any]:
    """Delete a schedule and what is told of its fires.

    Raises: Unknown; Conflict, for a seeded one.
    """
    with db.transaction("operator") as tx:
        _locked(tx, name)
        if not schedules.remove(tx, name):
            message = f"{name} is seeded and would come back with the next migration: pause it, or set `enabled` to false."
            raise Conflict(message)
    return {"success": True, "message": f"Schedule {name} is deleted."}


def pause(name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Let a schedule stand still, whatever comes due."""
    reason = asked.get("reason")
    faults = _unknown(asked, "reason")
    if reason is not None and (not isinstance(reason, str) or len(reason) > REASON_CHARACTERS):
        faults.append(fault("reason", f"must be text of {REASON_CHARACTERS} characters at most"))
    _refuse(faults)
    with db.transaction("operator") as tx:
        _locked(tx, name)
        schedules.pause(tx, name, actor=_actor(), reason=reason)
        return _shown(_found(tx, name))


def resume(name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Let a schedule go on. What came due meanwhile is caught up with only if the schedule says so."""
    _refuse(_unknown(asked))
    with db.transaction("operator") as tx:
        current = _locked(tx, name)
        schedules.resume(tx, name, actor=_actor(), following=_next(tx, current._asdict()))
        return _shown(_found(tx, name))


def run(name: str, asked: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Fire a schedule now, beside its slots and also while it is paused.

    Raises: Unknown; Conflict, when it may not overlap and is not over.
    """
    _refuse(_unknown(asked))
    with db.transaction("operator") as tx:
        current = _locked(tx, name)
        if current.overlap == "skip" and current.unfinished:
            message = f"The last fire of {name} is not over, and its overlap is `skip`."
            raise Conflict(message)
        slot = schedules.now(tx)
        waits = current.overlap == "queue" and current.unfinished > 0
        recorded = schedules.record(tx, name, [slot], kind="manual", waits=waits, actor=_actor())
        if not recorded:
            message = "It is being run at this very moment."
            raise Conflict(message)
    fires.follow_up()
    return 202, {"schedule": name, "slot": slot, "waits": waits}


def backfill(name: str, asked: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Fire a schedule for its slots in a time that is over, one after the other unless it may overlap.

    Slots that were done, or are about to be, are left alone. Raises: Unknown; Invalid, also for more than a thousand slots.
    """
    faults = _unknown(asked, "from", "to", "dry_run")
    bounds = {key: _moment(asked, key, faults) for key in ("from", "to")}
    first, last, dry_run = bounds["from"], bounds["to"], asked.get("dry_run", False)
    if not isinstance(dry_run, bool):
        faults.append(fault("dry_run", "must be true or false"))
    if first and last and last < first:
        faults.append(fault("to", "must not be earlier than `from`"))
    with db.transaction("operator") as tx:
        current = _locked(tx, name)
        if last and last > schedules.now(tx):
            faults.append(fault("to", "must not be in the future: its slots come by themselves"))
        if not first or not last or faults:
            _refuse(faults)
            raise AssertionError
        before = first - timedelta(microseconds=1)  # a slot may be at `from` itself
        try:
            number = cron.count(current.cron, current.time_zone, before, last, MOST_BACKFILLED)
            slots = cron.slots(current.cron, current.time_zone, before, last, MOST_BACKFILLED)
        except ValueError as error:
            raise Invalid(f"{error}.", errors=[fault("cron", str(error))]) from error  # noqa: EM102
        if number > MOST_BACKFILLED:
            message = f"These are {number} slots; {MOST_BACKFILLED} at most can be made up for at once."
            raise Invalid(message, errors=[fault("from", message)], count=number)
        recorded = []
        if not dry_run:
            waits = current.overlap != "allow"
            recorded = schedules.record(tx, name, [slot.at for slot in slots], kind="backfill", waits=waits, actor=_actor())
    if recorded:
        fires.follow_up()
    return 202 if recorded else 200, {"schedule": name, "slots": number, "recorded": len(recorded), "dry_run": dry_run}


def preview(name: str, request: Request) -> dict[str, Any]:
    """When a schedule is due next, by the wall and in UTC, with what changes of the clock do to it."""
    text = request.arguments.get("next", "10")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST_PREVIEWED:
        message = f"'next' must be a whole number from 1 to {MOST_PREVIEWED}."
        raise Invalid(message, errors=[{"pointer": "next", "message": message}])
    with db.transaction("status", read_only=True) as tx:
        found, after = _found(tx, name), schedules.now(tx)
    if found.starts_at:
        after = max(after, found.starts_at - timedelta(microseconds=1))
    try:
        place = cron.place_of(found.time_zone)
        slots = cron.slots(found.cron, found.time_zone, after, found.ends_at or END, int(text))
    except ValueError:
        slots = []  # the schedule itself says why, under pause_reason
    shown = [
        {"at": each.at, "wall": each.at.astimezone(place).isoformat(), "meant": each.wall.isoformat(), "edge": each.edge}
        for each in slots
    ]
    return {
        "name": found.name,
        "cron": found.cron,
        "time_zone": found.time_zone,
        "paused": _is_halted(found),
        "slots": shown,
        "count": len(shown),
    }


def fires_of(name: str, request: Request) -> dict[str, Any]:
    """The fires of a schedule, latest first, all or those in a state; `next` goes into `before` to read on."""
    limit, state = limit_of(request), request.arguments.get("state")
    faults: list[Fault] = []
    if state is not None and state not in STATES:
        faults.append({"pointer": "state", "message": f"must be one of {', '.join(STATES)}"})
    before = None
    if request.arguments.get("before"):
        before = _moment(request.arguments, "before", faults)
    _refuse(faults)
    with db.transaction("status", read_only=True) as tx:
        _found(tx, name)
        found = schedules.fires(tx, name, state=state, before=before, limit=limit)
    following = found[-1].slot if len(found) == limit else None
    return {"schedule": name, "fires": [each._asdict() for each in found], "count": len(found), "next": following}


def _moment(asked: Mapping[str, Any], key: str, faults: list[Fault]) -> datetime | None:
    try:
        found = rules.moment(asked.get(key))
    except ValueError as error:
        faults.append(fault(key, str(error)))
        return None
    if found is None:
        faults.append(fault(key, "is missing"))
    return found


def _next(tx: Transaction, definition: Mapping[str, Any]) -> datetime | None:
    zone = definition["time_zone"] or schedules.default_zone(tx)
    try:
        return rules.next_slot(definition["cron"], zone, schedules.now(tx), definition["starts_at"], definition["ends_at"])
    except ValueError as error:
        message = f"{error}."
        raise Invalid(message, errors=[fault("cron", str(error))]) from error


def _found(tx: Transaction, name: str) -> Schedule:
    found = schedules.find(tx, name)
    if found is None:
        message = f"There is no schedule {name[:64]}."
        raise Unknown(message)
    return found


def _locked(tx: Transaction, name: str) -> Schedule:
    schedules.lock(tx, name)
    return _found(tx, name)


def _unknown(asked: Mapping[str, Any], *known: str) -> list[Fault]:
    return [fault(key, "there is no such field") for key in asked if key not in known]


def _refuse(faults: list[Fault]) -> None:
    if faults:
        message = (
            "The schedule cannot do what is asked: "
            + "; ".join(f"{each['pointer']} {each['message']}" for each in faults[:3])
            + "."
        )
        raise Invalid(message, errors=faults)


def _actor() -> str:
    return str(log.field("operator"))


def _is_halted(schedule: Schedule) -> bool:
    return schedule.paused_at is not None or not schedule.enabled


def _shown(schedule: Schedule) -> dict[str, Any]:
    fields = schedule._asdict()
    ended, succeeded, next_slot, last_slot = (fields.pop(key) for key in ("ended", "succeeded", "next_slot", "last_slot"))
    return {
        **fields,
        "paused": _is_halted(schedule),
        "next_run": None if _is_halted(schedule) else next_slot,
        "last_run": last_slot,
        "success_rate": round(100 * succeeded / ended, 2) if ended else None,  # in percent, of the last hundred
    }
