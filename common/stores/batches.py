"""Batches: an operator's SQL, run as the role tidemark_batch, which reaches the business data and nothing of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from common.db import Transaction


def ran(tx: Transaction, statement: str, parameters: Mapping[str, Any], *, lock: timedelta, limit: timedelta) -> int:
    """How many rows a statement touched, run as tidemark_batch; the transaction is the worker's again afterwards.

    Raises: Unavailable, when a lock is not given within `lock`, or the statement takes longer than `limit`; Conflict,
    Invalid and Broken, when the database refuses it, as it does with everything that the role must not touch.
    """
    _become(tx, lock, limit)
    touched = tx.statement(statement, parameters)[1]
    tx.run("batches.as_worker")  # after an error there is nothing to come back to: the transaction is over
    return touched


def counted(tx: Transaction, statement: str, *, lock: timedelta, limit: timedelta) -> Any:
    """The first column of the first row of a reading statement, run in the same way; None for no row."""
    _become(tx, lock, limit)
    rows, _ = tx.statement(statement, {})
    tx.run("batches.as_worker")
    return rows[0][0] if rows else None


def _become(tx: Transaction, lock: timedelta, limit: timedelta) -> None:
    tx.run("batches.as_batch", lock_ms=int(lock.total_seconds() * 1000), statement_ms=int(limit.total_seconds() * 1000))
