"""The queue: what became of each event that left the inbox, and the life of those whose first attempt failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from common import encoding
from common.db import Transaction
from common.stores.inbox import Claimed


class Outcome(NamedTuple):
    """How a first attempt ended: an outcome, or the faults for which the event goes into quarantine."""

    id: str
    outcome: str | None
    ambiguous: bool = False
    errors: list[dict[str, str]] | None = None


class Failure(NamedTuple):
    """How a first attempt failed; `wait` in seconds, None when another one would fail too."""

    id: str
    wait: float | None
    code: str
    message: str


class Lease(NamedTuple):
    """The right to work on an event, until it runs out or is taken away."""

    id: UUID
    token: int
    attempt: int


def complete_first(
    tx: Transaction, outcomes: Sequence[Outcome], *, priorities: Mapping[str, int], attempts: int, worker: str
) -> int:
    """Write down first attempts that ended; how many there were."""
    rows = encoding.rows([outcome._asdict() for outcome in outcomes])
    return int(tx.value("queue.complete_first", rows=rows, priorities=encoding.rows(priorities), attempts=attempts, worker=worker))


def fail_first(tx: Transaction, failures: Sequence[Failure], *, priorities: Mapping[str, int], attempts: int, worker: str) -> int:
    """Write down first attempts that failed; how many of the events were still in the inbox."""
    rows = encoding.rows([failure._asdict() for failure in failures])
    return int(tx.value("queue.fail_first", rows=rows, priorities=encoding.rows(priorities), attempts=attempts, worker=worker))


def claim(tx: Transaction, *, limit: int, lease: timedelta, worker: str) -> list[Lease]:
    """Leases on the next events that are due; each claim counts as an attempt."""
    return tx.all(Lease, "queue.claim", limit=limit, lease=lease, worker=worker)


def take(tx: Transaction, lease: Lease) -> Claimed | None:
    """The event behind a lease, locked until the transaction ends; None when the lease was lost."""
    events = Claimed.read(tx.value("queue.take", id=lease.id, token=lease.token))
    return events[0] if events else None


def complete(tx: Transaction, lease: Lease, *, outcome: str, ambiguous: bool, worker: str) -> bool:
    """Whether the lease was still ours, so that the event is completed now."""
    return bool(tx.value("queue.complete", id=lease.id, token=lease.token, outcome=outcome, ambiguous=ambiguous, worker=worker))


def refuse(tx: Transaction, lease: Lease, errors: list[dict[str, Any]]) -> bool:
    """Whether the lease was still ours, so that the event is in quarantine now."""
    return bool(tx.value("queue.refuse", id=lease.id, token=lease.token, errors=encoding.rows(errors)))


def fail(tx: Transaction, lease: Lease, *, code: str, message: str, wait: timedelta, final: bool, worker: str) -> bool:
    """Whether the lease was still ours; then the event waits for its next attempt, or is a dead letter."""
    return bool(
        tx.value(
            "queue.fail",
            id=lease.id,
            token=lease.token,
            code=code[:50],
            message=message,
            wait=wait.total_seconds(),
            final=final,
            worker=worker,
        )
    )


def expired(tx: Transaction, *, limit: int) -> list[Lease]:
    """Leases that ran out, locked until the transaction ends."""
    return tx.all(Lease, "queue.expired", limit=limit)


def next_due(tx: Transaction) -> datetime | None:
    """When the next waiting event is due."""
    found: datetime | None = tx.value("queue.next_due")
    return found


def revive(tx: Transaction, dead_letter: UUID, *, actor: str) -> UUID | None:
    """The event of a dead letter, which gets one more attempt now; None when there is no such unresolved letter."""
    found: UUID | None = tx.value("queue.revive", id=dead_letter, actor=actor)
    return found
