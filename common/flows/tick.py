"""Tick: once a minute, whoever calls and however often. Sweeps what died, folds the counters, rings for ready work."""

from __future__ import annotations

from dataclasses import dataclass

from common import db
from common.flows import process, ring
from common.rules.instants import LAST_YEAR
from common.stores import alerts, bells, counters

# What the faults of a stamp say that is a day, or centuries, ahead.
FUTURE = f"{process.AHEAD}|is outside [0-9]+ to {LAST_YEAR}"


@dataclass(frozen=True)
class Report:
    """What one tick did."""

    swept: int
    folded: int
    rang: bool


def tick() -> Report:
    """Do what nobody else was there to do."""
    swept = process.sweep(process.rules_for("tick"))
    with db.transaction("worker") as tx:
        folded = counters.fold(tx)
        is_needed = bells.is_needed(tx)
        alerts.open_for_future_stamps(tx, marks=FUTURE)
    if swept:
        process.wake_when_due()  # what was swept waits a moment before it is tried again
    return Report(swept, folded, is_needed and ring.ring("process"))
