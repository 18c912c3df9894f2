"""Alerts: one open row per condition."""

from __future__ import annotations

from common.db import Transaction


def open_for_future_stamps(tx: Transaction, *, marks: str) -> int:
    """Open or update an alert per entity for events that lie in quarantine since a moment ago, because their time of
    change is ahead of every clock; `marks` is a pattern of what their faults say. How many alerts that were.
    """
    return tx.run("alerts.open_for_future_stamps", marks=marks)
