"""A chunk: what it is run with, what its kind's errors mean, and the leaves that it leaves in the tree of results."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from common import settings, shards
from common.db import Transaction
from common.errors import AppError, Conflict, Invalid
from common.rules import backoff, merkle
from common.rules import shard as rules
from common.rules.shard import Context, Failure, Ran
from common.stores.lanes import Lane
from common.stores.plans import Work
from common.stores.shard_failures import Taken

LEASE = timedelta(seconds=30)
BASE, LONGEST = timedelta(seconds=1), timedelta(seconds=60)
MESSAGE = 2000


@dataclass
class Report:
    """What one call did."""

    lanes: int = 0
    chunks: int = 0
    shards: int = 0
    failed: int = 0
    given_back: int = 0
    waited: int = 0
    lost: int = 0
    rang: int = 0

    def add(self, other: Report) -> None:
        """What another lane of the same call did."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


def context(held: Lane | Taken, work_: Work, until: float, holder: str, beat: Callable[[Any], None]) -> Context:
    """What a chunk of `held` is run with; `beat` keeps its lease."""
    stage = rules.Stage(held.plan, held.stage, work_.id, work_.kind, work_.config, work_.shards)
    lapses, checkpoint = (held.lapses, held.checkpoint) if isinstance(held, Lane) else (0, None)
    if work_.seconds_left is not None:
        until = min(until, time.monotonic() + work_.seconds_left)
    return Context(
        stage=stage,
        hash=merkle.hasher(work_.hash),
        until=until,
        lapses=lapses,
        checkpoint=checkpoint,
        beat=beat,
        holder=holder,
        piece=held.piece if isinstance(held, Taken) else None,
        factor=settings.load().hxo_autosplit_factor,
    )


def run(work_: Work, span: range, given: Context) -> Ran:
    """Run it, or undo it.

    Raises: whatever the kind does; Conflict, when it cannot be undone.
    """
    kind = shards.find(work_.kind)
    if not work_.is_undoing:
        return kind.run(span, given)  # type: ignore[no-any-return]
    if not hasattr(kind, "undo"):
        message = f"What {work_.kind} did cannot be taken back."
        raise Conflict(message)
    return kind.undo(span, given)  # type: ignore[no-any-return]


def failure_of(error: Exception) -> Failure:
    """What an error of a kind says of its shard."""
    if isinstance(error, AppError):
        code = str(error.fields.get("sqlstate") or error.slug)
        return Failure(code, error.detail[:MESSAGE], isinstance(error, Invalid | Conflict))
    return Failure(type(error).__name__, str(error)[:MESSAGE])


def wait_after(attempt: int) -> timedelta:
    """How long after failed attempt number `attempt` the next one is due."""
    return backoff.delay(attempt, base=BASE, longest=LONGEST, chance=random.random())  # noqa: S311


def digests(hash_: merkle.Hash, span: range, ran: Ran) -> Sequence[bytes]:
    """The leaves of a chunk; a failure is one as well."""
    if not ran.failures:
        return ran.leaves
    found = list(ran.leaves)
    for shard, failure in ran.failures.items():
        found[shard - span.start] = merkle.leaf(hash_, b"failed %d %s" % (shard, failure.code.encode()))
    return found


def together(effects: Sequence[Callable[[Transaction], Any]]) -> Callable[[Transaction], None]:
    """Several effects as one."""

    def write(tx: Transaction) -> None:
        for effect in effects:
            effect(tx)

    return write
