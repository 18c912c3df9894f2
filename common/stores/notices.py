"""Notices: what the bus tells, each written in the transaction that it tells of.

Readers see what is below every transaction that still runs, in the order (xid, seq): so nothing that commits late is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from common import db, encoding, log
from common.db import Transaction
from common.errors import AppError, Broken, Conflict
from common.rules import topics
from common.rules.cursors import Cursor
from common.rules.notices import Notice
from common.stores import locks


class Horizon(NamedTuple):
    """Up to where notices can be read, and from where."""

    xid: int
    seq: int
    trimmed_xid: int
    trimmed_seq: int

    @property
    def upto(self) -> Cursor:
        """The last one that is to be seen."""
        return Cursor(self.xid, self.seq)

    @property
    def trimmed(self) -> Cursor:
        """The last one that is gone."""
        return Cursor(self.trimmed_xid, self.trimmed_seq)


class Count(NamedTuple):
    """The notices of a topic that are kept."""

    topic: str
    notices: int
    oldest_at: datetime
    newest_at: datetime


class Sizes(NamedTuple):
    """How much there is of everything."""

    kept: int
    held_back: int  # until a transaction that began before them has ended
    trimmed: int
    trimmed_at: datetime | None
    refused: int


class Trimmed(NamedTuple):
    """What a trimming did."""

    notices: int
    subscriptions: int  # that had not been told of all of them


class Told(NamedTuple):
    """What became of a notice."""

    depth: int
    is_told: bool


def add(
    tx: Transaction,
    topic: str,
    payload: Mapping[str, Any],
    *,
    source: str,
    kind: str = "fact",
    dedupe_key: str | None = None,
    correlation_id: str | None = None,
    causation_id: str | None = None,
) -> bool:
    """Tell of what this transaction does; False when a notice of this `dedupe_key` was told before.

    `kind` is intent, heal, fact, audit, metric or control; `correlation_id` the plan, run or deployment that it belongs to;
    `causation_id` the id of the notice that led to this one.
    Raises: Broken, for a topic that there is not, or a payload without the fields that its topic promises; Conflict, when
    notices have led to one another ten times: whoever answers each with another goes round in a circle. Both are counted.
    """
    text = encoding.dumps(payload)
    try:
        topics.check(topic, payload, characters=len(text))
    except Broken as error:
        _refused(topic, error)
        raise
    told = tx.one(
        Told,
        "notices.add",
        topic=topic,
        payload=text,
        source=source,
        kind=kind,
        dedupe_key=dedupe_key,
        correlation_id=correlation_id,
        causation_id=causation_id,
        deepest=topics.DEEPEST,
    )
    if told is not None and told.depth > topics.DEEPEST:
        message = (
            f"Notices have led to one another {topics.DEEPEST} times; another on {topic} is not told, nor what it is about done."
        )
        refusal = Conflict(message)
        _refused(topic, refusal)
        raise refusal
    return told is not None and told.is_told


def _refused(topic: str, error: AppError) -> None:
    """Count it, in a transaction of its own: the other is rolled back."""
    log.error("notice.refused", topic=topic, reason=error.detail)
    try:
        with db.transaction("worker") as tx:
            tx.run("notices.count_refused")
    except AppError as fault:
        log.warning("notice.not_counted", reason=fault.detail)


def horizon(tx: Transaction) -> Horizon:
    """Up to where notices can be read now: what is there up to here can only become less."""
    found = tx.one(Horizon, "notices.horizon")
    if found is None:
        message = "The row of tidemark.trimmed is gone: insert it again with its defaults."
        raise Broken(message)
    return found


def read(tx: Transaction, patterns: Sequence[str], *, after: Cursor, upto: Cursor, limit: int) -> list[Notice]:
    """Notices on these topics, in order."""
    return tx.all(
        Notice,
        "notices.read",
        topics=encoding.rows(list(patterns)),
        after_xid=str(after.xid),
        after_seq=after.seq,
        upto_xid=str(upto.xid),
        upto_seq=upto.seq,
        limit=limit,
    )


def newest(tx: Transaction, patterns: Sequence[str], *, limit: int) -> list[Notice]:
    """The newest notices on these topics, the newest first."""
    return tx.all(Notice, "notices.newest", topics=encoding.rows(list(patterns)), limit=limit)


def counts(tx: Transaction) -> list[Count]:
    """How many of each topic are kept."""
    return tx.all(Count, "notices.counts")


def sizes(tx: Transaction) -> Sizes:
    """How much there is of everything."""
    return tx.one(Sizes, "notices.sizes") or Sizes(0, 0, 0, None, 0)


def are_from_elsewhere(tx: Transaction) -> bool:
    """Whether the database was restored from another cluster, whose transactions had higher numbers."""
    return bool(tx.value("notices.are_from_elsewhere"))


def renumber(tx: Transaction) -> int:
    """Put what another cluster told before what this one tells; how many notices and cursors that were."""
    locks.wait(tx, "notices")
    return int(tx.value("notices.renumber"))


def may_be_trimmed(tx: Transaction, *, keep: int) -> bool:
    """Whether there may be more than `keep`, or some too old; cheap, and never no when there are."""
    return bool(tx.value("notices.may_be_trimmed", limit=keep))


def trim(tx: Transaction, *, keep: int) -> Trimmed:
    """Let the oldest go, beyond `keep` or too old, and mark up to where."""
    locks.wait(tx, "notices")
    return tx.one(Trimmed, "notices.trim", limit=keep) or Trimmed(0, 0)
