"""How things stand: read-only, and in time that does not grow with what is stored."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from common.db import Transaction


class Summary(NamedTuple):
    """What /health tells of the queue."""

    received: int
    processed: int
    depth: int
    refused: int  # in the last hour
    offered: int  # in the last hour


class State(NamedTuple):
    """How many events are in a state, and since when the oldest."""

    status: str
    events: int
    oldest_at: datetime | None


class Whole(NamedTuple):
    """The whole system."""

    queue: dict[str, int]  # events by state; pending has those that wait for a retry
    active_alerts: int
    dead_letters: int  # unresolved


class Count(NamedTuple):
    """How often something happened."""

    name: str
    amount: int


class Duplicate(NamedTuple):
    """An event that was delivered more than once."""

    event_id: UUID
    entity_type: str
    entity_id: str
    duplicates: int
    last_seen_at: datetime
    received_at: datetime


class RecentEvent(NamedTuple):
    """An event, and what became of it."""

    event_id: UUID
    received_at: datetime
    entity_type: str
    entity_id: str
    operation: str
    source_modified_at: datetime | None
    is_valid: bool
    validation_errors: list[dict[str, str]] | None
    processed_at: datetime | None
    status: str
    outcome: str | None
    attempts: int | None
    error_message: str | None
    signed_by: str | None
    flags: list[str]


class Event(NamedTuple):
    """One event, whole."""

    event_id: UUID
    received_at: datetime
    entity_type: str
    entity_id: str
    operation: str
    source_modified_at: datetime | None
    is_valid: bool
    validation_errors: list[dict[str, str]] | None
    processed_at: datetime | None
    idempotency_key: str
    signed_by: str | None
    method: str | None
    query: str | None
    headers: dict[str, str] | None
    flags: list[str]
    payload: Any
    body_base64: str | None
    status: str | None
    processing_result: dict[str, Any] | None
    attempts: int | None
    error_code: str | None
    error_message: str | None
    duplicates: int


class DeadLetter(NamedTuple):
    """An event that ended badly: a dead letter, or a quarantined one."""

    id: UUID
    kind: str
    event_id: UUID
    entity_type: str
    entity_id: str
    reason: str | None
    error_code: str | None
    attempts: int
    at: datetime


class Database(NamedTuple):
    """The database itself."""

    server_version: str
    schema_version: int | None
    connections: int
    max_connections: int
    size_bytes: int
    oldest_snapshot_seconds: float | None
    oldest_snapshot_pid: int | None  # None: there is none, or it is a prepared one


def summary(tx: Transaction) -> Summary:
    """The queue in five numbers."""
    found = tx.one(Summary, "health.summary")
    assert found is not None  # noqa: S101 - an aggregate always has a row
    return found


def queue(tx: Transaction) -> list[State]:
    """How many events are in each state."""
    return tx.all(State, "health.queue")


def counters(tx: Transaction) -> dict[str, int]:
    """How often each thing happened so far."""
    return dict(tx.all(Count, "health.counters"))


def hour(tx: Transaction) -> dict[str, int]:
    """How often each thing happened in the last sixty minutes, this one included."""
    return dict(tx.all(Count, "health.hour"))


def whole(tx: Transaction) -> Whole:
    """The whole system in one row."""
    found = tx.one(Whole, "health.whole")
    assert found is not None  # noqa: S101 - an aggregate always has a row
    return found


def dead(tx: Transaction) -> int:
    """How many dead letters are unresolved."""
    return int(tx.value("health.dead"))


def duplicates(tx: Transaction, *, limit: int) -> list[Duplicate]:
    """Events that were delivered more than once, latest first."""
    return tx.all(Duplicate, "health.duplicates", limit=limit)


def recent_events(tx: Transaction, *, limit: int, entity: str | None = None, before: datetime | None = None) -> list[RecentEvent]:
    """The events that came last."""
    return tx.all(RecentEvent, "health.recent_events", limit=limit, entity=entity, before=before)


def event(tx: Transaction, identifier: UUID) -> Event | None:
    """One event, whole; its headers as they were stored, without secrets."""
    return tx.one(Event, "health.event", id=identifier)


def dead_letters(tx: Transaction, *, limit: int) -> list[DeadLetter]:
    """What ended badly and nobody has resolved, latest first."""
    return tx.all(DeadLetter, "health.dead_letters", limit=limit)


def database(tx: Transaction) -> Database:
    """The database itself."""
    found = tx.one(Database, "health.database")
    assert found is not None  # noqa: S101
    return found
