"""Concurrency: how many lanes of a shard kind may be out, as its latency allows."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from common.db import Transaction
from common.rules.aimd import State


class Out(NamedTuple):
    """How many lanes and failed shards of a kind are being worked on, and when that was."""

    used: int
    now: datetime


class Row(NamedTuple):
    """What is known of a kind."""

    kind: str
    most: int | None
    latency_seconds: float
    usual_seconds: float
    samples: int
    changed_at: datetime


def lock(tx: Transaction, kind: str) -> State | None:
    """What is known of a kind, locked; None: nothing yet."""
    return tx.one(State, "concurrency.lock", kind=kind)


def out(tx: Transaction, kind: str) -> Out:
    """How many lanes of a kind are out."""
    found = tx.one(Out, "concurrency.out", kind=kind)
    assert found is not None  # noqa: S101 - an aggregate has a row
    return found


def keep(tx: Transaction, kind: str, state: State) -> None:
    """What is known of a kind from now on."""
    tx.run(
        "concurrency.keep",
        kind=kind,
        most=state.most,
        latency_seconds=state.latency_seconds,
        usual_seconds=state.usual_seconds,
        samples=state.samples,
        changed_at=state.changed_at,
    )


def every(tx: Transaction) -> list[Row]:
    """Every kind that anything is known of."""
    return tx.all(Row, "concurrency.all")
