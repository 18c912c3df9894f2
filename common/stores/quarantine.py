"""Quarantine: events that could not be read, and may be readable now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from common import encoding
from common.db import Transaction


class Kept(NamedTuple):
    """An event in quarantine, as it came."""

    id: UUID
    source_type: str
    entity_type: str
    entity_id: str
    operation: str
    organization: str
    received_at: datetime
    method: str | None
    query: str | None
    headers: dict[str, str] | None
    payload: str  # JSON
    body: bytes | None
    errors: list[dict[str, str]]


def untried(tx: Transaction, versions: Mapping[str, str], *, limit: int) -> list[Kept]:
    """Events that have not been read with the shapes of these versions, by entity; locked until the transaction ends."""
    return tx.all(Kept, "quarantine.untried", versions=encoding.rows(dict(versions)), limit=limit)


def some(tx: Transaction, ids: Sequence[UUID]) -> list[Kept]:
    """Those of them that are in quarantine, locked until the transaction ends."""
    return tx.all(Kept, "quarantine.some", ids=encoding.rows(list(ids)))


def keep(tx: Transaction, event: UUID, version: str, errors: Sequence[Mapping[str, str]]) -> None:
    """It was read with these shapes, and is still wrong."""
    tx.run("quarantine.keep", id=event, version=version, errors=encoding.rows(list(errors)))


def release(tx: Transaction, event: Mapping[str, Any]) -> bool:
    """Put an event back to those that wait, with what was read of it; False when somebody was faster."""
    return bool(tx.value("quarantine.release", event=encoding.rows(dict(event))))


def resolve(tx: Transaction, event: UUID, version: str, *, actor: str, notes: str) -> None:
    """Nobody need look at it any more."""
    tx.run("quarantine.resolve", id=event, version=version, actor=actor, notes=notes)
