"""Tick: once a minute, whoever calls and however often. Fires what is due, sweeps what died, folds the counters, and
rings for ready work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common import db, log, settings
from common.errors import AppError, LeaseLost
from common.flows import drain, fires, lease, metrics, presence, process, ring, rolling, sweep
from common.rules.instants import LAST_YEAR
from common.stores import alerts, bells, counters, deliveries, healers, migrations, notices, plans, subscriptions

FOLDED, FOLDS = 50_000, 20  # deltas at once, and how often: readers must add up what is left
# What the faults of a stamp say that is a day, or centuries, ahead.
FUTURE = f"{process.AHEAD}|is outside [0-9]+ to {LAST_YEAR}"


@dataclass(frozen=True)
class Report:
    """What one tick did; what only the ACTIVE deployment does is empty for a PASSIVE one."""

    is_active: bool
    migrated: list[str]  # by name, where the schema was older than this code
    fired: fires.Report
    swept: int
    folded: int
    measured: int  # series of which this minute was not written down yet
    rang: bool
    worse: int  # dependencies that are not as well as they were
    lanes: int  # workers that were rung for
    watched: int  # alerts that were opened
    told: int  # notices that subscribers of the bus were told of
    delivered: int  # deliveries of alerts


def tick() -> Report:
    """Do what nobody else was there to do; this is also what keeps the lease, and takes it over from a deployment that is gone.

    Nothing else is done while the schema is older than this code, and nothing that only an ACTIVE one does while it is drained.
    Raises: what the first part that failed did, after all the others have had their turn; Unavailable, when this code is too old.
    """
    migrated = _migrated()
    if migrated is None:
        return Report(is_active=False, migrated=[], **{name: nothing() for name, nothing in NOTHING.items()})
    done: dict[str, Any] = {}
    failures: list[AppError] = []
    watch: lease.Watch | None = None
    parts = dict(PARTS)
    try:
        held = None if drain.settle() else lease.held_or_none()
        if held is not None:
            watch, parts["fired"] = lease.Watch(held), functools.partial(fires.fire, held)
    except AppError as error:  # who is ACTIVE is not known: then nothing is done that only it may do
        log.error("tick.part_failed", part="lease", error=error.detail)
        failures.append(error)
    for name, part in parts.items():
        try:
            is_ours = name not in IDLE or (watch is not None and watch.stands())
            done[name] = part() if is_ours else IDLE[name]()
        except LeaseLost:
            watch, done[name] = None, IDLE[name]()
        except AppError as error:
            log.error("tick.part_failed", part=name, error=error.detail)
            failures.append(error)
    if failures:
        raise failures[0]
    return Report(is_active=watch is not None and not watch.is_lost, migrated=migrated, **done)


def _migrated() -> list[str] | None:
    """What brought the schema up to this code; None: it is still older, and nothing can be done on it."""
    if presence.check() is presence.Fit.READY:
        rolling.resume()  # who migrated may have died before it said so
        return []
    return None if lease.held_or_none() is None else rolling.update()


def _sweep() -> int:
    return sweep.sweep("tick")


def _fold() -> int:
    folded = 0
    for _ in range(FOLDS):
        with db.transaction("worker") as tx:
            count = counters.fold(tx, limit=FOLDED)
        folded += count
        if count < FOLDED:
            break
    with db.transaction("worker") as tx:
        alerts.open_for_future_stamps(tx, marks=FUTURE)
        healers.alert_if_silent(tx)
    return folded


def _ring() -> bool:
    with db.transaction("worker") as tx:
        is_needed = bells.is_needed(tx)
    return is_needed and ring.ring("process")


def _work() -> int:
    if any(migrations.BACKFILLS.glob("*.json")):
        from common.flows import system  # noqa: PLC0415 - most releases have none

        system.begin_backfills()
    with db.transaction("worker") as tx:
        if not plans.are_watched(tx):
            return 0
    from common.flows import forecasting, plan_verbs, summary, work  # noqa: PLC0415 - most ticks come to an instance that does nothing else

    plan_verbs.stop_overdue()
    plan_verbs.watch()
    forecasting.watch()
    summary.tell()
    return work.call_for_more()


def _link() -> int:
    from common.flows import links  # noqa: PLC0415 - as above

    return links.watch()


def _watch() -> int:
    from common.flows import watch  # noqa: PLC0415 - as above

    return watch.watch()


def _publish() -> int:
    current = settings.load()
    with db.transaction("worker") as tx:
        is_anybody_behind = current.genesis_enabled and subscriptions.are_behind(tx)
        is_needed = is_anybody_behind or notices.may_be_trimmed(tx, keep=current.hxo_event_cache_limit)
        if not is_needed and not notices.are_from_elsewhere(tx):
            return 0
    from common.flows import publish  # noqa: PLC0415 - as above

    return publish.publish()


def _deliver() -> int:
    with db.transaction("worker") as tx:
        if not deliveries.is_needed(tx):
            return 0
    from common.flows import deliver  # noqa: PLC0415 - as above

    return deliver.deliver()


# What only the ACTIVE deployment does, and what a PASSIVE one reports of it.
IDLE: dict[str, Callable[[], Any]] = {
    "fired": fires.Report,
    "rang": bool,
    "worse": int,
    "lanes": int,
    "watched": int,
    "told": int,
    "delivered": int,
}
NOTHING: dict[str, Callable[[], Any]] = IDLE | {"swept": int, "folded": int, "measured": int}
PARTS: dict[str, Callable[[], Any]] = {
    "fired": fires.fire,
    "swept": _sweep,
    "folded": _fold,
    "measured": metrics.record,
    "rang": _ring,
    "worse": _link,
    "lanes": _work,
    "watched": _watch,
    "told": _publish,
    "delivered": _deliver,  # the last: it waits for others
}
