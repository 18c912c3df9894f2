"""Dead letters: what ended badly and waits for somebody, grouped by cause; dead letters and quarantined events alike."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from common import encoding
from common.db import Transaction


class Filter(NamedTuple):
    """Which letters are meant; what is None does not matter."""

    fingerprint: str | None = None
    entity: str | None = None
    kind: str | None = None
    code: str | None = None
    before: datetime | None = None
    ids: list[str] | None = None


class Group(NamedTuple):
    """Letters of one cause."""

    fingerprint: str | None
    kind: str  # dead_letter or quarantine
    cause: str | None  # as the newest of them says it
    entity_type: str
    error_code: str | None
    letters: int
    first_seen: datetime
    last_seen: datetime
    samples: list[UUID]


class Letter(NamedTuple):
    """An event that ended badly."""

    id: UUID
    kind: str
    event_id: UUID
    entity_type: str
    entity_id: str
    fingerprint: str | None
    reason: str | None
    error_code: str | None
    attempts: int
    auto_retries: int
    at: datetime


class Found(NamedTuple):
    """A letter, open or not."""

    id: UUID
    kind: str
    event_id: UUID
    entity_type: str
    entity_id: str
    fingerprint: str | None
    reason: str | None
    error_code: str | None
    attempts: int
    auto_retries: int
    at: datetime
    is_open: bool
    resolved_at: datetime | None
    resolved_by: str | None
    resolution_notes: str | None


class Event(NamedTuple):
    """What an event was received as."""

    id: UUID
    entity_type: str
    entity_id: str
    operation: str
    method: str | None
    query: str | None
    payload: Any
    received_at: datetime


class Intervention(NamedTuple):
    """What somebody did to an event."""

    at: datetime
    actor: str
    verb: str
    reason: str | None
    before: Any
    after: Any
    became: UUID | None


class Matched(NamedTuple):
    """Letters that a filter means."""

    letters: int
    digest: str  # of their ids
    sample: list[UUID] | None


def groups(tx: Transaction, asked: Filter, *, limit: int) -> list[Group]:
    """Open letters by cause, the most frequent first."""
    return tx.all(Group, "dead_letters.groups", fingerprint=asked.fingerprint, entity=asked.entity, kind=asked.kind, limit=limit)


def page(tx: Transaction, asked: Filter, *, before: datetime | None, after: UUID | None, limit: int) -> list[Letter]:
    """Open letters, the latest first, those that come after the letter `after` of `before`."""
    return tx.all(
        Letter,
        "dead_letters.page",
        fingerprint=asked.fingerprint,
        entity=asked.entity,
        kind=asked.kind,
        before=before,
        after=after,
        limit=limit,
    )


def find(tx: Transaction, identifier: UUID) -> Found | None:
    """A letter by its id, or the last one of the event with that id."""
    return tx.one(Found, "dead_letters.find", id=identifier)


def event(tx: Transaction, identifier: UUID) -> Event | None:
    """What an event was received as; None when it is gone."""
    return tx.one(Event, "dead_letters.event", id=identifier)


def interventions(tx: Transaction, identifier: UUID) -> list[Intervention]:
    """What people did to an event, the latest first."""
    return tx.all(Intervention, "dead_letters.interventions", event=identifier)


def matched(tx: Transaction, asked: Filter) -> Matched:
    """The open letters that a filter means and no replay is at."""
    return tx.one(Matched, "dead_letters.matched", **_meant(asked))  # type: ignore[return-value]  # an aggregate has a row


def discard(tx: Transaction, asked: Filter, *, actor: str, reason: str) -> Matched:
    """Give up the open letters that a filter means; which ones those were."""
    return tx.one(Matched, "dead_letters.discard", actor=actor, reason=reason, **_meant(asked))  # type: ignore[return-value]


def edit(
    tx: Transaction,
    row: Mapping[str, Any],
    *,
    original: UUID,
    letter: UUID | None,
    actor: str,
    reason: str,
    before: Any,
    after: Any,
) -> str:
    """Put an edited event, a row as the inbox receives it, in the place of one that failed: done, gone or known."""
    return str(
        tx.value(
            "dead_letters.edit",
            event=encoding.rows(dict(row)),
            original=original,
            letter=letter,
            actor=actor,
            reason=reason,
            before=encoding.rows(before),
            after=encoding.rows(after),
        )
    )


def revive_due(tx: Transaction, *, hours: int, most: int, limit: int) -> int:
    """Try dead letters again that are `hours` old, each event `most` times for ever; how many."""
    return int(tx.value("dead_letters.revive_due", hours=hours, most=most, limit=limit))


def _meant(asked: Filter) -> dict[str, Any]:
    return {
        "fingerprint": asked.fingerprint,
        "entity": asked.entity,
        "kind": asked.kind,
        "code": asked.code,
        "before": asked.before,
        "ids": None if asked.ids is None else encoding.rows(asked.ids),
    }
