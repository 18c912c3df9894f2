"""Heal actions: what was done about shards that failed, and why. Nobody changes or deletes one."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from common.db import Transaction


class Action(NamedTuple):
    """One of them."""

    id: int
    stage_id: str | None
    shard: int | None
    piece: int | None
    depth: int
    action: str
    reason: str
    at: datetime


class Count(NamedTuple):
    """How often something was done."""

    action: str
    times: int


def add(
    tx: Transaction, plan: str, action: str, reason: str, *, stage: int | None = None, shard: int | None = None,
    piece: int | None = None, depth: int = 0,
) -> None:  # fmt: skip
    """Write down what this transaction does about a shard, a stage or a plan."""
    tx.run("heal_actions.add", plan=plan, stage=stage, shard=shard, piece=piece, depth=depth, action=action, reason=reason)


def of_plan(tx: Transaction, plan: str, *, after: int, limit: int) -> list[Action]:
    """What was done about a plan, in order, from beyond action `after`."""
    return tx.all(Action, "heal_actions.of_plan", plan=plan, after=after, limit=limit)


def counts(tx: Transaction, plan: str) -> dict[str, int]:
    """How often each was done about a plan."""
    return dict(tx.all(Count, "heal_actions.counts", plan=plan))
