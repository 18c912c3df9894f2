"""Subscriptions: who outside is told of notices. Each is delivered to by one at a time, in order, under a token."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from common import encoding
from common.db import Transaction
from common.rules.cursors import Cursor

LEASE = timedelta(minutes=1)  # longer than one notice takes; each that arrives renews it


class Taken(NamedTuple):
    """A subscription while it is ours to deliver to."""

    id: str
    topics: list[Any]
    url: str
    xid: int
    seq: int
    lost: int  # notices that were trimmed before it could be told
    lost_xid: int | None
    lost_seq: int | None
    attempts: int  # since the last that went well, this one included
    token: int
    created_at: datetime

    @property
    def cursor(self) -> Cursor:
        """Up to here it was told."""
        return Cursor(self.xid, self.seq)

    @property
    def lost_upto(self) -> Cursor | None:
        """The last notice that is gone of those it was not told of."""
        return None if self.lost_xid is None or self.lost_seq is None else Cursor(self.lost_xid, self.lost_seq)


class Row(NamedTuple):
    """A subscription as it is shown."""

    id: str
    topics: list[Any]
    url: str
    state: str
    reason: str | None
    xid: int
    seq: int
    lost: int
    lag: int  # notices that it is yet to be told of
    told: int
    told_at: datetime | None
    attempts: int
    ready_at: datetime
    last_error: str | None
    created_at: datetime
    created_by: str


class Standing(NamedTuple):
    """How the subscriptions are."""

    live: int
    failing: int
    closed: int


def _key(taken: Taken) -> dict[str, Any]:
    return {"id": taken.id, "token": taken.token}


def add(tx: Transaction, *, topics: Sequence[str], url: str, after: Cursor, created_by: str, most: int) -> str | None:
    """The id of a new one, which is told of what comes after `after`; None when `most` live ones are there already."""
    found: str | None = tx.value(
        "subscriptions.add",
        topics=encoding.rows(list(topics)),
        url=url,
        xid=str(after.xid),
        seq=after.seq,
        created_by=created_by,
        most=most,
    )
    return found


def delete(tx: Transaction, identifier: str) -> bool:
    """It is told of nothing any more; False when there was none."""
    return tx.run("subscriptions.delete", id=identifier) == 1


def listed(tx: Transaction, *, limit: int, identifier: str | None = None) -> list[Row]:
    """All of them, or the one."""
    return tx.all(Row, "subscriptions.listed", id=identifier, limit=limit)


def are_behind(tx: Transaction) -> bool:
    """Whether anybody is to be told of something now."""
    return bool(tx.value("subscriptions.are_behind"))


def take(tx: Transaction) -> Taken | None:
    """The right to deliver to one that is behind, whoever has waited longest."""
    return tx.one(Taken, "subscriptions.take", lease=LEASE)


def has_lost(tx: Transaction, taken: Taken) -> bool:
    """Whether more was trimmed before it could be told than it was when it was taken."""
    return bool(tx.value("subscriptions.has_lost", id=taken.id, lost=taken.lost))


def advance(tx: Transaction, taken: Taken, upto: Cursor, *, lost: int = 0) -> bool:
    """It was told up to here, `lost` of them only that they are gone; False when it is not ours any more."""
    return tx.run("subscriptions.advance", **_key(taken), xid=str(upto.xid), seq=upto.seq, lost=lost, lease=LEASE) == 1


def give_back(tx: Transaction, taken: Taken, upto: Cursor) -> bool:
    """Deliver nothing more to it now; up to here there was nothing else for it."""
    return tx.run("subscriptions.give_back", **_key(taken), xid=str(upto.xid), seq=upto.seq) == 1


def put_off(tx: Transaction, taken: Taken, *, wait: timedelta, error: str) -> bool:
    """It did not take a notice: the next attempt is after `wait`."""
    return tx.run("subscriptions.put_off", **_key(taken), wait=wait, error=error) == 1


def close(tx: Transaction, taken: Taken, *, reason: str, error: str | None = None) -> bool:
    """Deliver nothing to it any more."""
    return tx.run("subscriptions.close", **_key(taken), reason=reason, error=error) == 1


def standing(tx: Transaction) -> Standing:
    """How many there are, and how many of them are in trouble."""
    return tx.one(Standing, "subscriptions.standing") or Standing(0, 0, 0)
