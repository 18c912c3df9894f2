"""The inbox: what came in, stored before it is answered, and claimed in batches to be applied."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from common import db
from common.db import Transaction


class Stored(NamedTuple):
    """What became of a group of events."""

    at: float  # seconds since the epoch, by the database's clock: not before the commit
    ring: bool  # nobody is at work
    odd: dict[int, str]  # by position: duplicate, conflict or expired; everything else was stored

    @classmethod
    def read(cls, answer: dict[str, Any], started: float) -> Stored:
        """What tidemark.receive answered to a call that was `started` at that moment of the monotonic clock."""
        # The database says when it began. Whoever rings for a second must know in which one the commit was over at the latest.
        at = float(answer["at"]) + time.monotonic() - started
        return cls(at, answer["ring"], {int(key): odd for key, odd in answer["odd"].items()})


def receive(events: list[dict[str, Any]], refused: int = 0) -> Stored:
    """Store a group of events in one round trip, each as sql/migrations/0005_receive.sql describes; count the refused.

    Raises: Invalid or Conflict, when the database refuses one of them: then nothing was stored.
            Unavailable: then it is not known whether they were, and storing them again is harmless.
    """
    started = time.monotonic()
    return Stored.read(db.call("ingest", "inbox.receive", {"events": events, "refused": refused}), started)


class Receiving:
    """A group of events on their way: as `receive`, for event loops."""

    def __init__(self, events: list[dict[str, Any]], refused: int = 0) -> None:
        """Raises: Unavailable, when `receive` must be called instead."""
        self._started = time.monotonic()
        self._sent = db.Sent("ingest", "inbox.receive", {"events": events, "refused": refused})
        self.fileno = self._sent.fileno
        self.abandon = self._sent.abandon

    def stored(self) -> Stored:
        """What became of them, once `fileno()` is readable; raises what `receive` raises."""
        return Stored.read(self._sent.answer(), self._started)


class Claimed(NamedTuple):
    """An event to be applied."""

    id: str
    entity_type: str
    source_entity_id: str
    operation_type: str
    organization_id: str
    received_at: datetime
    source_modified_at: datetime | None
    content_hash: str
    payload_path: list[str]
    payload: str  # JSON

    @classmethod
    def read(cls, rows: str | None) -> list[Claimed]:
        """The events that a query gives as one JSON text, in its order."""
        found = []
        for row in orjson.loads(rows or "[]"):
            row["received_at"] = datetime.fromisoformat(row["received_at"])
            stamp = row["source_modified_at"]
            row["source_modified_at"] = datetime.fromisoformat(stamp) if stamp else None
            found.append(cls(**row))
        return found


def claim(tx: Transaction, *, limit: int, lease: timedelta, locked_by: str) -> int | None:
    """The token of a new receipt for the next events, at most `limit`; None when nothing waits."""
    token = tx.value("inbox.claim", limit=limit, lease=lease, locked_by=locked_by)
    return None if token is None else int(token)


def take(tx: Transaction, token: int) -> list[Claimed]:
    """The events of a receipt that nobody else is at, locked until the transaction ends; none if it lapsed."""
    return Claimed.read(tx.value("inbox.take", token=token))


def settle(tx: Transaction, token: int) -> bool:
    """Give the receipt back with the work done; False when it was taken from us, so that nothing may be written."""
    return tx.run("inbox.settle", token=token) == 1


def lapsed(tx: Transaction) -> list[UUID]:
    """The events of one receipt that outlived its lease, which is gone now; none when there is no such receipt."""
    found: list[UUID] = tx.value("inbox.lapsed") or []
    return found
