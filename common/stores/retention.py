"""Retention: what is old enough goes, a bounded number at a time; what is unresolved, and the audit trail, never does."""

from __future__ import annotations

from collections.abc import Callable

from common.db import Transaction


def events(tx: Transaction, *, days: int, limit: int) -> int:
    """Events that have ended, with their queue rows; how many went."""
    return int(tx.value("retention.events", days=days, limit=limit))


def logs(tx: Transaction, *, days: int, limit: int) -> int:
    """The log of attempts; how much of it went."""
    return int(tx.value("retention.logs", days=days, limit=limit))


def metrics(tx: Transaction, *, days: int, limit: int) -> int:
    """Numbers over time; how many went."""
    return int(tx.value("retention.metrics", days=days, limit=limit))


def rollups(tx: Transaction, *, days: int, limit: int) -> int:
    """Counts by the minute; how many went."""
    return int(tx.value("retention.rollups", days=days, limit=limit))


def duplicates(tx: Transaction, *, days: int, limit: int) -> int:
    """That deliveries came twice; how many went."""
    return int(tx.value("retention.duplicates", days=days, limit=limit))


def replays(tx: Transaction, *, days: int, limit: int) -> int:
    """Replays that are over; how many went."""
    return int(tx.value("retention.replays", days=days, limit=limit))


# What is kept for `retention.<name>_days`. Another one is a query and a line.
RETAINED: dict[str, Callable[..., int]] = {
    "events": events,
    "logs": logs,
    "metrics": metrics,
    "rollups": rollups,
    "duplicates": duplicates,
    "replays": replays,
}
