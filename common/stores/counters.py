"""Counters: appended by whoever did something, folded by tick, read without counting anything large."""

from __future__ import annotations

from common.db import Transaction
from common.stores import locks


def fold(tx: Transaction, *, limit: int) -> int:
    """Fold what was appended into minutes and totals, `limit` rows at most; how many that was."""
    return int(tx.value("counters.fold", limit=limit))


def repair_waiting(tx: Transaction, *, most: int) -> int:
    """What the counter of waiting events was off, and is no more; 0 as well when more than `most` wait."""
    locks.wait(tx, "counters")  # two would each make up for the whole difference
    return int(tx.value("counters.repair_waiting", most=most))
