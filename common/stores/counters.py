"""Counters: appended by whoever did something, folded by tick, read without counting anything large."""

from __future__ import annotations

from common.db import Transaction


def fold(tx: Transaction) -> int:
    """Fold what was appended into minutes and totals; how many rows that was."""
    return int(tx.value("counters.fold"))
