"""Shards whose run failed: retry, dead letter and status stay exact for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from common import encoding
from common.db import Transaction
from common.rules.shard import Failure


class Taken(NamedTuple):
    """A failed shard to be tried again."""

    plan: str
    stage: int
    shard: int
    token: int
    attempts: int  # before this one
    heal_depth: int


class Counts(NamedTuple):
    """The failed shards of a stage that are not healed."""

    retry: int
    dead: int


class Row(NamedTuple):
    """A failure as it is shown."""

    stage: str
    shard: int
    status: str
    attempts: int
    heal_depth: int
    code: str
    message: str
    failed_at: datetime


def _key(taken: Taken) -> dict[str, Any]:
    return {"plan": taken.plan, "stage": taken.stage, "shard": taken.shard, "token": taken.token}


def add(tx: Transaction, plan: str, stage: int, failures: Mapping[int, Failure], wait: timedelta) -> None:
    """Write down the failures of a chunk; each is due again after `wait`."""
    rows = [{"shard": shard, **failure._asdict(), "wait": wait.total_seconds()} for shard, failure in sorted(failures.items())]
    tx.run("shard_failures.add", plan=plan, stage=stage, failures=encoding.rows(rows))


def take(tx: Transaction, *, lease: timedelta, kinds: Sequence[str] = ()) -> Taken | None:
    """A failed shard whose time has come; the caller has queued up."""
    return tx.one(Taken, "shard_failures.take", lease=lease, kinds=encoding.rows(list(kinds)))


def beat(tx: Transaction, taken: Taken, lease: timedelta) -> bool:
    """Keep the lease; False when it was lost, or the plan does not run any more."""
    return tx.run("shard_failures.beat", **_key(taken), lease=lease) == 1


def hold(tx: Transaction, taken: Taken) -> bool:
    """Lock it, before its stage and its plan are; False when it was lost."""
    return tx.run("shard_failures.hold", **_key(taken)) == 1


def lock(tx: Transaction, plan: str) -> None:
    """Lock every failed shard of a plan: after its lanes, before its stages and the plan itself."""
    tx.run("shard_failures.lock", plan=plan)


def heal(tx: Transaction, taken: Taken, digest: bytes) -> bool:
    """It went well; False when it was lost, and nothing of it may be written."""
    return tx.run("shard_failures.heal", **_key(taken), digest=digest.hex()) == 1


def fail(tx: Transaction, taken: Taken, failure: Failure, *, wait: timedelta, most: int) -> str | None:
    """It failed again: `retry` or `dead`; None when it was lost."""
    said: str | None = tx.value(
        "shard_failures.fail",
        **_key(taken),
        code=failure.code,
        message=failure.message,
        final=failure.is_final,
        wait=wait,
        most=most,
    )
    return said


def give_back(tx: Transaction, taken: Taken, wait: timedelta) -> None:
    """The source was in trouble, not the shard."""
    tx.run("shard_failures.give_back", **_key(taken), wait=wait)


def counts(tx: Transaction, plan: str, stage: int) -> Counts:
    """How many shards of a stage have failed and are not healed."""
    return tx.one(Counts, "shard_failures.counts", plan=plan, stage=stage) or Counts(0, 0)


def revive(tx: Transaction, plan: str) -> int:
    """Give every dead shard of a plan another life; how many."""
    return tx.run("shard_failures.revive", plan=plan)


def revoke(tx: Transaction, plan: str) -> None:
    """Take failed shards from whoever is at them."""
    tx.run("shard_failures.revoke", plan=plan)


def listed(tx: Transaction, plan: str, limit: int) -> list[Row]:
    """The failures of a plan, worst first."""
    return tx.all(Row, "shard_failures.all", plan=plan, limit=limit)
