"""Tick: once a minute, whoever calls and however often. Fires what is due, sweeps what died, folds the counters, and
rings for ready work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common import db, log
from common.errors import AppError
from common.flows import fires, process, ring
from common.rules.instants import LAST_YEAR
from common.stores import alerts, bells, counters

# What the faults of a stamp say that is a day, or centuries, ahead.
FUTURE = f"{process.AHEAD}|is outside [0-9]+ to {LAST_YEAR}"


@dataclass(frozen=True)
class Report:
    """What one tick did."""

    fired: fires.Report
    swept: int
    folded: int
    rang: bool
    lanes: int  # workers that were rung for


def tick() -> Report:
    """Do what nobody else was there to do.

    Raises: what the first part that failed did, after all the others have had their turn.
    """
    done: dict[str, Any] = {}
    failures: list[AppError] = []
    for name, part in PARTS.items():
        try:
            done[name] = part()
        except AppError as error:
            log.error("tick.part_failed", part=name, error=error.detail)
            failures.append(error)
    if failures:
        raise failures[0]
    return Report(**done)


def _sweep() -> int:
    swept = process.sweep(process.rules_for("tick"))
    if swept:
        process.wake_when_due()  # what was swept waits a moment before it is tried again
    return swept


def _fold() -> int:
    with db.transaction("worker") as tx:
        folded = counters.fold(tx)
        alerts.open_for_future_stamps(tx, marks=FUTURE)
    return folded


def _ring() -> bool:
    with db.transaction("worker") as tx:
        is_needed = bells.is_needed(tx)
    return is_needed and ring.ring("process")


def _work() -> int:
    from common.flows import plan_verbs, work  # noqa: PLC0415 - most ticks come to an instance that does nothing else

    plan_verbs.stop_overdue()
    plan_verbs.watch()
    return work.call_for_more()


PARTS: dict[str, Callable[[], Any]] = {
    "fired": fires.fire,
    "swept": _sweep,
    "folded": _fold,
    "rang": _ring,
    "lanes": _work,
}
