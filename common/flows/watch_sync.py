"""What is watched of syncs: entities that are not in step in time, the source's calls of the day, and runs that take too long."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from common import entities, settings
from common.db import Transaction
from common.rules import cron
from common.rules import sync as rules
from common.rules.hysteresis import Reading, Severity
from common.stores import limits, runs, schedules, signals
from common.stores.limits import State
from common.stores.signals import Schedule, UnderWay

LATE = ("sync_lag",)
PLANNED = ("source_quota", "run_overrun")
MOST_SLOTS = 2000  # of one schedule in what is left of a day
SETTLED = 120.0  # seconds after which a run's own speed says something


def late(tx: Transaction, values: Mapping[str, Any]) -> Iterator[Reading]:
    """Entities whose scheduled sync was due and has not gone well since, whatever became of it: failed, skipped, never begun."""
    covers = _covers(tx, signals.schedules(tx), values)
    limit = float(values["sync_lag_threshold_minutes"])
    for each in signals.late(tx, covers, rules.SLO) if covers else ():
        minutes = each.first / 60
        is_stale = each.second is not None and each.second > limit * 60
        yield Reading(
            *LATE,
            minutes,
            limit,
            Severity.ERROR if is_stale else Severity.WARNING,
            f"The sync of {each.entity} is {minutes:.0f} minutes late" + (", and a second one is due" if is_stale else ""),
            f"It last went well at {each.last_sync_at:%Y-%m-%d %H:%M} UTC; the last one ended as {each.last_sync_status}. "
            "See /api/tds/runs, and whether its schedule fires.",
            entity=each.entity,
            metadata={
                "last_sync_at": each.last_sync_at,
                "last_sync_status": each.last_sync_status,
                "late_minutes": round(minutes, 1),
                "missed_slots": 2 if each.second is not None else 1,
            },
        )


def _covers(tx: Transaction, found: Sequence[Schedule], values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Which schedule keeps which entity in step: what each would read now."""
    cursors = {label: cursor.cursor for label, cursor in runs.cursors(tx).items() if cursor.cursor}
    pages = signals.full_pages(tx)
    covers = []
    for each in found:
        mode, labels = each.arguments.get("mode", "incremental"), each.arguments.get("entities", [])
        if each.function != "sync" or mode not in rules.MODES or not isinstance(labels, list):
            continue
        parts = rules.parts(
            entities.every(),
            mode,
            labels=[label for label in labels if isinstance(label, str)],
            cursors=cursors,
            last_pages=pages,
            lookback=timedelta(seconds=float(values["sync.lookback_seconds"])),
            whole_list_pages=values["sync.whole_list_pages"],
        )
        covers += [(each.name, part.entity.label) for part in parts]
    return covers


def planned(tx: Transaction, _: Mapping[str, Any]) -> Iterator[Reading]:
    """Whether the day's calls will do for what is planned, and whether runs will be over before they are due again."""
    organization = settings.load().zoho_organization_id
    state = next((each for each in limits.state(tx) if each.organization_id == organization), None)
    if state is None:
        return
    now, found = schedules.now(tx), signals.schedules(tx)
    is_predictive = settings.load().hxo_predictive_mode
    if state.resets_at is not None:
        yield _quota(state, found if is_predictive else [], now, state.resets_at)
    if is_predictive:
        yield from _overruns(signals.under_way(tx), found, state, now)


def _quota(state: State, found: Sequence[Schedule], now: datetime, resets_at: datetime) -> Reading:
    counts = {each.name: (_slots(each, now, resets_at), each.calls or 0.0) for each in found}
    wanted = sum(number * calls for number, calls in counts.values())
    is_spent = state.left_today <= 0
    total = state.used_today + max(wanted, float(is_spent))
    ends_at = _ends_at(found, state.left_today, now, resets_at) if total > state.day_limit else None
    when = "are spent" if is_spent else f"will be spent at {ends_at:%H:%M} UTC" if ends_at else "will do"
    return Reading(
        "source_quota",
        total,
        state.day_limit,
        Severity.ERROR if is_spent else Severity.WARNING,
        f"The day's {state.day_limit:,} calls {when}",
        f"{state.used_today:,} are used and {wanted:.0f} are planned until {resets_at:%Y-%m-%d %H:%M} UTC. Pause or thin out "
        "schedules: comparisons and full lists first, then incremental syncs.",
        affected=round(max(0.0, total - state.day_limit)),
        metadata={
            "used": state.used_today,
            "planned": round(wanted),
            "day_limit": state.day_limit,
            "resets_at": resets_at,
            "spent_at": now if is_spent else ends_at,
            "by_schedule": {name: round(number * calls) for name, (number, calls) in counts.items() if number and calls},
        },
    )


def _slots(schedule: Schedule, now: datetime, until: datetime) -> int:
    try:
        return cron.count(schedule.cron, schedule.time_zone, now, until, MOST_SLOTS)
    except ValueError:
        return 0  # a tick will pause it, and say so


def _ends_at(found: Sequence[Schedule], left: float, now: datetime, until: datetime) -> datetime | None:
    """The slot with which the calls that are left will be used up."""
    coming = sorted(
        (slot.at, each.calls)
        for each in found
        if each.calls and _slots(each, now, until)
        for slot in cron.slots(each.cron, each.time_zone, now, until, MOST_SLOTS)
    )
    wanted = itertools.accumulate(calls for _, calls in coming)
    return next((at for (at, _), sum_ in zip(coming, wanted, strict=True) if sum_ > left), None)


def _overruns(found: Sequence[UnderWay], every: Sequence[Schedule], state: State, now: datetime) -> Iterator[Reading]:
    ahead = 0  # pages of older runs: they share the rate
    worst: tuple[float, UnderWay, datetime, datetime] | None = None
    for each in found:
        rate = state.calls_per_minute
        if each.seconds > SETTLED and each.pages:
            rate = min(rate, each.pages / each.seconds * 60)
        ahead += each.left_pages
        ends_at = now + timedelta(minutes=ahead / max(rate, 0.01))
        due_at = _due_at(each, every)
        minutes = (ends_at - due_at).total_seconds() / 60 if due_at else 0.0
        if due_at and (worst is None or minutes > worst[0]):
            worst = (minutes, each, ends_at, due_at)
    if worst is None:
        return
    minutes, run, ends_at, due_at = worst
    yield Reading(
        "run_overrun",
        minutes,
        0,
        Severity.WARNING,
        f"The {run.mode} sync of {run.schedule} will be over {max(minutes, 0):.0f} minutes after the next one is due",
        f"It has read {run.pages:,} pages and has {run.left_pages:,} left; it ends at {ends_at:%H:%M} UTC, the next is due at "
        f"{due_at:%H:%M} UTC and will be skipped where this one is at work.",
        affected=run.left_pages,
        metadata={
            "plan_id": run.plan,
            "slot": run.slot,
            "ends_at": ends_at,
            "due_at": due_at,
            "pages": run.pages,
            "left": run.left_pages,
        },
    )


def _due_at(run: UnderWay, every: Sequence[Schedule]) -> datetime | None:
    """When its schedule is due again; for a full list also when an incremental sync is, which it would keep from running."""
    others = [
        each.last_slot if each.last_slot and each.last_slot > run.slot else each.next_slot
        for each in every
        if run.mode == "full" and each.function == "sync" and each.arguments.get("mode", "incremental") == "incremental"
    ]
    return min((at for at in [run.following, *others] if at), default=None)
