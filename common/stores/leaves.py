"""Leaves: the tree of results as it was written, for those who look at it again."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from common.db import Transaction
from common.errors import Broken


class Head(NamedTuple):
    """A stage of a plan, and what the plan's tree is made with."""

    plan: str
    name: str
    plan_status: str
    hash: str
    seed: str
    plan_root: bytes | None
    finished_at: datetime | None
    no: int
    id: str
    kind: str
    config: dict[str, Any]
    status: str
    released: int
    root: bytes | None


class Chunk(NamedTuple):
    """A chunk as it was written; `tree_peaks` and `tree_parity` are of what the tree holds, where shards went well later."""

    lo: int
    hi: int
    digests: bytes
    peaks: bytes
    parity: bytes | None
    tree_peaks: bytes | None
    tree_parity: bytes | None
    is_healed: bool


class Nodes(NamedTuple):
    """The nodes over a chunk."""

    lo: int
    hi: int
    peaks: bytes


class Counts(NamedTuple):
    """Shards of a plan."""

    recorded: int
    expected: int
    healed: int
    quarantined: int
    failed: int


def head(tx: Transaction, plan: str) -> list[Head]:
    """The stages of a plan; none, when there is no such plan."""
    return tx.all(Head, "leaves.head", plan=plan)


def page(tx: Transaction, plan: str, stage: int, lo: int, shards: int) -> list[Chunk]:
    """Chunks of a stage from `lo` on, as many as have `shards` shards together, one at least."""
    return tx.all(Chunk, "leaves.page", plan=plan, stage=stage, lo=lo, shards=shards)


def nodes(tx: Transaction, plan: str, stage: int, lo: int, limit: int) -> list[Nodes]:
    """The nodes over the chunks of a stage from `lo` on, in order."""
    return tx.all(Nodes, "leaves.nodes", plan=plan, stage=stage, lo=lo, limit=limit)


def holding(tx: Transaction, plan: str, stage: int, shard: int) -> int | None:
    """Where the chunk begins that may hold a shard; None when there is none before it."""
    found = tx.value("leaves.holding", plan=plan, stage=stage, shard=shard)
    return None if found is None else int(found)


def size(tx: Transaction, plan: str, stage: int) -> int:
    """Up to which shard leaves of a stage were written."""
    return int(tx.value("leaves.size", plan=plan, stage=stage))


def keep_healed(tx: Transaction, plan: str, stage: int, lo: int, *, peaks: bytes, parity: bytes) -> None:
    """Remember the nodes of a chunk in which failed shards went well later."""
    tx.run("leaves.keep_healed", plan=plan, stage=stage, lo=lo, peaks=peaks, parity=parity)


def counts(tx: Transaction, plan: str) -> Counts:
    """How many shards were recorded, and what became of those that failed."""
    found = tx.one(Counts, "leaves.counts", plan=plan)
    if found is None:
        message = "an aggregate had no row"
        raise Broken(message)
    return found
