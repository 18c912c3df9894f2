"""Metrics: the numbers that are watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from common import encoding
from common.db import Transaction


class Minute(NamedTuple):
    """What was counted under a name in one minute."""

    name: str
    ago: int  # minutes; 0 is this one
    amount: int


class Severity(NamedTuple):
    """Open alerts of a severity."""

    severity: str
    open: int
    acknowledged: int


def minutes(tx: Transaction, names: Sequence[str]) -> list[Minute]:
    """What was counted in each of the last sixty minutes."""
    return tx.all(Minute, "metrics.minutes", names=encoding.rows(list(names)))


def alerts(tx: Transaction) -> list[Severity]:
    """Open alerts by severity; one without any is not there."""
    return tx.all(Severity, "metrics.alerts")


def lateness(tx: Transaction) -> float:
    """Seconds since the oldest slot came that nobody has begun."""
    return float(tx.value("metrics.lateness"))


def record(tx: Transaction, rows: Sequence[dict[str, Any]]) -> int:
    """Write down {name, type, value, unit, tags} of this minute; how many were not there yet."""
    return tx.run("metrics.record", rows=encoding.rows(list(rows)))
