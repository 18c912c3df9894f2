"""Alerts: one open row per condition."""

from __future__ import annotations

from typing import Any

from common import encoding
from common.db import Transaction


def open_for_future_stamps(tx: Transaction, *, marks: str) -> int:
    """Open or update an alert per entity for events that lie in quarantine since a moment ago, because their time of
    change is ahead of every clock; `marks` is a pattern of what their faults say. How many alerts that were.
    """
    return tx.run("alerts.open_for_future_stamps", marks=marks)


def raise_alert(
    tx: Transaction, *, alert_type: str, severity: str, title: str, message: str, entity: str | None = None,
    affected: int | None = None, metadata: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Open an alert, or bring the one that is open for this type and entity up to date."""
    tx.run(
        "alerts.raise",
        alert_type=alert_type,
        severity=severity,
        title=title[:255],
        message=message,
        entity=entity,
        affected=affected,
        metadata=encoding.dumps(metadata or {}),
    )


def resolve(tx: Transaction, *, alert_type: str, entity: str | None = None) -> int:
    """Close the alert that is open for this type and entity: the condition is over."""
    return tx.run("alerts.resolve", alert_type=alert_type, entity=entity)
