"""Shards whose run failed: retry, dead letter and status stay exact for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from common import encoding, settings
from common.db import Transaction
from common.rules.remedies import Remedy, remedy
from common.rules.shard import SLOW, Failure


class Taken(NamedTuple):
    """A failed shard to be tried again."""

    plan: str
    stage: int
    shard: int
    token: int
    attempts: int  # before this one
    heal_depth: int
    action: str  # what is due: retry or split
    level: int  # how often what this is a piece of was split
    parent: int | None  # what this is a piece of
    origin: int  # the shard of the stage that this is, or is a piece of
    piece: Any  # what of it


class Counts(NamedTuple):
    """The failed shards of a stage that are not healed."""

    retry: int
    dead: int
    slow: int  # of both: those that did not fail, but are to be split


class Parent(NamedTuple):
    """A shard, or a piece of one, that was split."""

    shard: int
    parent: int | None
    origin: int | None
    depth: int


class Gathered(NamedTuple):
    """What became of the pieces of a shard."""

    retry: int
    dead: int
    digests: bytes | None


class Row(NamedTuple):
    """A failure as it is shown."""

    stage: str
    shard: int
    piece: int | None  # of that shard, counted within the stage
    status: str
    attempts: int
    heal_depth: int
    code: str
    message: str
    failed_at: datetime


def _key(taken: Taken) -> dict[str, Any]:
    return {"plan": taken.plan, "stage": taken.stage, "shard": taken.shard, "token": taken.token}


def add(
    tx: Transaction, plan: str, stage: int, failures: Mapping[int, Failure], wait: timedelta, *, can_be_split: bool = False
) -> None:
    """Write down the failures of a chunk, and what is done about each: one that is tried again is due after `wait`."""
    rows = []
    for shard, failure in sorted(failures.items()):
        is_slow = failure.code == SLOW
        due = Remedy.SPLIT if is_slow else remedy(attempts=1, is_final=failure.is_final, can_be_split=can_be_split)
        rows.append(
            {
                "shard": shard,
                "code": failure.code,
                "message": failure.message,
                "remedy": due,
                "attempts": 0 if is_slow else 1,
                "wait": wait.total_seconds() if due is Remedy.RETRY else 0,
            }
        )
    tx.run("shard_failures.add", plan=plan, stage=stage, failures=encoding.rows(rows))


def take(tx: Transaction, *, lease: timedelta, kinds: Sequence[str] = ()) -> Taken | None:
    """A failed shard whose time has come; the caller has queued up."""
    adaptive = settings.load().hxo_alir_enabled
    return tx.one(Taken, "shard_failures.take", lease=lease, kinds=encoding.rows(list(kinds)), adaptive=adaptive)


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


def fail(tx: Transaction, taken: Taken, failure: Failure, *, due: Remedy, wait: timedelta) -> str | None:
    """It failed again, and this is due: `retry` or `dead`; None when it was lost."""
    said: str | None = tx.value(
        "shard_failures.fail",
        **_key(taken),
        code=failure.code,
        message=failure.message,
        remedy=due,
        wait=wait if due is Remedy.RETRY else timedelta(),
    )
    return said


def split(tx: Transaction, taken: Taken, pieces: Sequence[Any], before: int) -> bool:
    """It is done in these pieces from now on, of which the stage had `before`; False when it was lost."""
    return tx.run("shard_failures.split", **_key(taken), pieces=encoding.rows(list(pieces)), first=-(before + 1)) == 1


def lock_parent(tx: Transaction, plan: str, stage: int, shard: int) -> Parent | None:
    """What a piece is a piece of, locked: after the piece, before the stage."""
    return tx.one(Parent, "shard_failures.lock_parent", plan=plan, stage=stage, shard=shard)


def gathered(tx: Transaction, plan: str, stage: int, parent: int) -> Gathered:
    """What became of the pieces of a shard that is locked."""
    return tx.one(Gathered, "shard_failures.gathered", plan=plan, stage=stage, parent=parent) or Gathered(0, 0, None)


def end_parent(tx: Transaction, plan: str, stage: int, shard: int, *, digest: bytes | None, message: str) -> None:
    """The last piece of a shard has ended, and so has the shard: well, if there is a digest."""
    text = digest.hex() if digest else None
    tx.run("shard_failures.end_parent", plan=plan, stage=stage, shard=shard, digest=text, message=message)


def give_back(tx: Transaction, taken: Taken, wait: timedelta) -> None:
    """The source was in trouble, not the shard."""
    tx.run("shard_failures.give_back", **_key(taken), wait=wait)


def counts(tx: Transaction, plan: str, stage: int) -> Counts:
    """How many shards of a stage have failed and are not healed."""
    return tx.one(Counts, "shard_failures.counts", plan=plan, stage=stage) or Counts(0, 0, 0)


def revive(tx: Transaction, plan: str) -> int:
    """Give every dead shard of a plan another life; how many."""
    return tx.run("shard_failures.revive", plan=plan)


def revoke(tx: Transaction, plan: str, stage: int | None = None) -> None:
    """Take failed shards of a plan, or of one stage of it, from whoever is at them."""
    tx.run("shard_failures.revoke", plan=plan, stage=stage)


def listed(tx: Transaction, plan: str, limit: int) -> list[Row]:
    """The failures of a plan, worst first."""
    return tx.all(Row, "shard_failures.all", plan=plan, limit=limit)
