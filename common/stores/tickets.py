"""Tickets: one row for each fault that is not resolved, however often it happens."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from common import log
from common.db import Transaction

TITLE, MESSAGE = 255, 4000


class Ticket(NamedTuple):
    """A ticket as it is shown."""

    id: int
    kind: str
    title: str
    message: str
    count: int  # type: ignore[assignment]  # as the column and the answer have it
    status: str
    first_at: datetime
    last_at: datetime
    deployment: UUID | None
    plan: UUID | None
    target: str | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    resolved_at: datetime | None
    resolved_by: str | None
    note: str | None
    fingerprint: str
    former: int | None  # of the same fault, resolved before this one was opened


class Counts(NamedTuple):
    """Tickets that are not resolved."""

    unresolved: int
    unseen: int


class Last(NamedTuple):
    """What went wrong last."""

    id: int
    title: str
    status: str
    count: int  # type: ignore[assignment]  # as the column and the answer have it
    last_at: datetime


def raise_ticket(
    tx: Transaction,
    *,
    fingerprint: str,
    kind: str,
    title: str,
    message: str,
    deployment: UUID | str | None = None,
    plan: UUID | str | None = None,
    target: str | None = None,
    times: int = 1,
) -> int:
    """A fault happened `times` times: the id of its ticket, a new one unless one is not resolved yet.

    Without `deployment` it is the one that `plan` belongs to. Call it last in a transaction, and in the order of the
    fingerprints: the ticket is locked until it ends.
    """
    return int(
        tx.value(
            "tickets.raise",
            fingerprint=fingerprint,
            kind=kind,
            title=_clean(title, TITLE),
            message=_clean(message, MESSAGE),
            deployment=deployment,
            plan=plan,
            target=target,
            times=times,
        )
    )


def _clean(text: str, most: int) -> str:
    """Text that can be stored, without secrets: a fault's words may hold anything."""
    return str(log.redact(text)).replace("\x00", "").encode("utf-8", "replace").decode()[:most]


def page(tx: Transaction, *, status: str, deployment: UUID | None, before: int | None, limit: int) -> list[Ticket]:
    """Tickets that are open, acknowledged, resolved, unresolved or all, the newest first, those before the id `before`."""
    return tx.all(Ticket, "tickets.page", status=status, deployment=deployment, before=before, limit=limit)


def find(tx: Transaction, identifier: int) -> Ticket | None:
    """One ticket."""
    return tx.one(Ticket, "tickets.find", id=identifier)


def acknowledge(tx: Transaction, identifier: int, *, actor: str, note: str | None) -> bool:
    """Whether it is not resolved, so that it is acknowledged now; whoever did so first stays."""
    return tx.run("tickets.acknowledge", id=identifier, actor=actor, note=note) == 1


def resolve(tx: Transaction, identifier: int, *, actor: str, note: str | None) -> bool:
    """Whether it was not resolved before, so that it is now."""
    return tx.run("tickets.resolve", id=identifier, actor=actor, note=note) == 1


def counts(tx: Transaction, deployment: UUID | None = None) -> Counts:
    """How many are not resolved, of one deployment or of all."""
    return tx.one(Counts, "tickets.counts", deployment=deployment) or Counts(0, 0)


def last(tx: Transaction) -> Last | None:
    """What went wrong last and is not resolved."""
    return tx.one(Last, "tickets.last")
