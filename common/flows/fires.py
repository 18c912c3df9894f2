"""Fires: record each slot of each schedule that has come, ring the function it names, and see to it that somebody answers."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from common import db, encoding, log, settings
from common.errors import AppError, Invalid, Passive
from common.flows import lease, ring
from common.flows.lease import Held
from common.rules.instants import instant
from common.rules.schedules import Due, Fire, decided, next_slot
from common.stores import schedules
from common.stores.schedules import Rest, Rung

BATCH = 500  # schedules whose slots are recorded in one transaction
MOST_AGAIN = 200  # fires that are rung for again in one call
BELLS = 8  # rings that are sent at once
SHARE = 0.5  # of the time a function may take: the rest of a tick wants some, too


@dataclass
class Report:
    """What one call did, in numbers of schedules or fires."""

    due: int = 0
    rung: int = 0
    waiting: int = 0
    missed: int = 0
    skipped: int = 0
    computed: int = 0
    stopped: int = 0


def fire(held: Held | None = None) -> Report:
    """Record every slot that has come and ring for it; any number may do this at once, each slot fires once.

    All of it is written under the lease `held`, or the one that is taken if none is given.
    Raises: Passive, when another deployment is ACTIVE; LeaseLost, when it became so meanwhile: then its tick goes on.
    """
    held = held or lease.held()
    report = Report()
    until = time.monotonic() + settings.load().function_timeout_seconds.total_seconds() * SHARE
    while (rest := _recorded(report, held)) is None and time.monotonic() < until:
        pass
    while (rest is None or rest.uncomputed) and time.monotonic() < until and _computed(report, held):
        pass
    if rest is None or rest.fires:
        report.rung += _followed_up(held)
    return report


def _recorded(report: Report, held: Held) -> Rest | None:
    """Record the slots of a batch of schedules, and that a tick was here; what is left to do, None if that is more of this."""
    decisions: list[tuple[Due, Sequence[Fire], datetime | None]] = []
    reasons: dict[str, str] = {}
    with db.transaction("worker") as tx:
        lease.guard(tx, held)
        schedules.beat(tx)
        due = schedules.lock_due(tx, limit=BATCH)
        for each in due:
            try:
                decisions.append((each, *decided(each)))
            except ValueError as error:
                reasons[each.name] = str(error)
        rung = schedules.advance(tx, decisions) if decisions else []
        _stop(tx, reasons)
        rest = schedules.rest(tx)
    ring_for(rung)
    report.due += len(due)
    report.rung += len(rung)
    report.stopped += len(reasons)
    for _, fires, _ in decisions:
        report.waiting += sum(each.waits for each in fires)
        report.missed += sum(each.state == "missed" for each in fires)
        report.skipped += sum(each.state == "skipped" for each in fires)
    is_behind = len(due) == BATCH or any(following and following <= each.now for each, _, following in decisions)
    return None if is_behind else rest


def _computed(report: Report, held: Held) -> bool:
    """Compute the next slot of a batch of schedules that have none, being new or changed; whether there may be more."""
    slots: dict[str, datetime | None] = {}
    reasons: dict[str, str] = {}
    with db.transaction("worker") as tx:
        lease.guard(tx, held)
        found = schedules.lock_uncomputed(tx, limit=BATCH)
        if not found:
            return False
        now = schedules.now(tx)
        for each in found:
            try:
                slots[each.name] = next_slot(each.cron, each.time_zone, now, each.starts_at, each.ends_at)
            except ValueError as error:
                reasons[each.name] = str(error)
        schedules.compute(tx, slots)
        _stop(tx, reasons)
    report.computed += len(slots)
    report.stopped += len(reasons)
    return len(found) == BATCH


def _stop(tx: db.Transaction, reasons: Mapping[str, str]) -> None:
    # One that cannot be worked with must not keep the others from being: it is paused, and a person is told.
    for name, reason in reasons.items():
        log.error("schedule.stopped", schedule=name, reason=reason)
    if reasons:
        schedules.stop(tx, reasons)


def follow_up() -> int:
    """Let go on what waits for nothing any more, and ring for what nobody has begun; how many rings that were.

    A PASSIVE deployment rings for nothing: the tick of the ACTIVE one does.
    """
    held = lease.held_or_none()
    return 0 if held is None else _followed_up(held)


def _followed_up(held: Held) -> int:
    with db.transaction("worker") as tx:
        lease.guard(tx, held)
        schedules.release(tx, limit=MOST_AGAIN)
        rung = schedules.take_unanswered(tx, limit=MOST_AGAIN)
    ring_for(rung)
    return len(rung)


def ring_for(fires: Sequence[Rung]) -> None:
    """Ring for fires that are committed. A ring that is lost is made up for by a tick, a minute later."""
    if len(fires) == 1:
        _ring(fires[0])
        return
    for sent in [_bells().submit(contextvars.copy_context().run, _ring, each) for each in fires]:
        sent.result()


@functools.cache
def _bells() -> ThreadPoolExecutor:
    # Kept, because each of its threads keeps a connection to the queue.
    return ThreadPoolExecutor(BELLS, thread_name_prefix="bell")


def _ring(fire: Rung) -> None:
    ring.ring(fire.function, light=True, schedule=fire.schedule, slot=fire.slot)


# The other end: a function that was rung -----------------------------------------------------------------------------


def fire_of(body: bytes) -> tuple[str, datetime]:
    """The schedule and the slot that the body of a task names.

    Raises: Invalid, when it does not.
    """
    try:
        given = encoding.loads(body)
    except ValueError:
        given = None
    return _named(given if isinstance(given, dict) else {})


def _named(given: Mapping[str, Any]) -> tuple[str, datetime]:
    name, slot = given.get("schedule"), None
    with contextlib.suppress(ValueError):
        slot = instant(given.get("slot"))
    if not isinstance(name, str) or slot is None:
        message = "A fire is a schedule's name and a slot, such as 2026-06-09T09:45:00Z."
        raise Invalid(message, errors=[{"pointer": "/schedule" if slot else "/slot", "message": "is not one"}])
    return name, slot


def answered(body: Mapping[str, Any], work: Callable[[Mapping[str, Any]], Any]) -> Any:
    """What `work` returns when it is given the arguments of the fire in `body`, once per fire; by hand, they are `body` itself.

    For functions that are done in one call. One that dies inside leaves a fire that a healing pass ends. A PASSIVE
    deployment begins none: the ACTIVE one rings for it again.
    """
    if "schedule" not in body and "slot" not in body:
        return work(body)
    name, slot = _named(body)
    try:
        held = lease.held()
        with db.transaction("worker") as tx:
            lease.guard(tx, held)
            arguments = schedules.begin(tx, name, slot)
    except Passive as passive:
        return {"begun": False, "message": passive.detail}
    if arguments is None:
        return {"begun": False, "message": "There is no such fire, or it is not to be run now, or somebody has it."}
    try:
        result = work(arguments)
    except Exception as error:
        _finish(name, slot, ok=False, message=error.detail if isinstance(error, AppError) else type(error).__name__)
        raise
    _finish(name, slot, ok=True)
    return result


def _finish(name: str, slot: datetime, *, ok: bool, message: str | None = None) -> None:
    with db.transaction("worker") as tx:
        rung = schedules.finish(tx, name, slot, ok=ok, message=message)
    ring_for(rung)
