"""The stabilization domain: a fault boundary around one part of something larger, and a ticket for what fails inside.

Only `Exception` is held back, so that the parts beside it go on; whoever cancels or interrupts is obeyed. What was held back
is never silent: it is logged, it stands in the outcome, and there is a ticket. STABILIZER_ENABLED=false: nothing is held back
and there are no tickets; errors go on as if there were no boundary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from common import db, log, settings
from common.db import Transaction
from common.errors import AppError, Passive, Waiting
from common.rules import fingerprints
from common.rules.shard import Failure, Lost
from common.stores import tickets
from common.stores.plans import Work

PASSING = (Lost, Waiting, Passive, CancelledError)  # no faults: the work is somebody else's, or its time has not come
WATCHED = ("deploy.", "system.")  # kinds of stages whose failures make tickets


@dataclass
class Outcome:
    """What became of the part inside a boundary."""

    error: Exception | None = None
    ticket: int | None = None  # None: nothing failed, or the ticket could not be written

    @property
    def is_ok(self) -> bool:
        """Whether it went well."""
        return self.error is None


@contextmanager
def boundary(
    kind: str,
    title: str,
    *,
    deployment: UUID | str | None = None,
    plan: UUID | str | None = None,
    target: str | None = None,
    passing: type[Exception] | tuple[()] = (),
) -> Iterator[Outcome]:
    """Hold back what fails inside, and make a ticket of it, or count on the one that there is.

    Raises: what is no fault (Lost, Waiting, Passive, cancellation, interrupts), and what is of the class `passing`; everything,
    with STABILIZER_ENABLED=false.
    """
    outcome = Outcome()
    try:
        yield outcome
    except PASSING:
        raise
    except passing:
        raise
    except Exception as error:
        if not settings.load().stabilizer_enabled:
            raise
        outcome.error = error
        code, message = _said(error)
        log.error("domain.failed", kind=kind, code=code, error=message[:500], deployment=deployment, plan=plan, target=target)
        outcome.ticket = _told(kind, title, code, message, {"deployment": deployment, "plan": plan, "target": target})


def _said(error: Exception) -> tuple[str, str]:
    if isinstance(error, AppError):
        return str(error.fields.get("sqlstate") or error.slug), error.detail
    return type(error).__name__, str(error)


def _told(kind: str, title: str, code: str, message: str, of: Mapping[str, Any]) -> int | None:
    fingerprint = fingerprints.fingerprint(code, kind, message)

    def write(tx: Transaction) -> int:
        return tickets.raise_ticket(tx, fingerprint=fingerprint, kind=kind, title=title, message=f"{code}: {message}", **of)

    try:
        return db.replayed(write, "worker")
    except AppError as error:  # the boundary holds even while the database is what fails
        log.error("ticket.not_written", kind=kind, code=code, reason=error.detail)
        return None


def of_shards(tx: Transaction, plan: str, stage: Work, failures: Mapping[int, Failure]) -> None:
    """In the transaction that records them: tickets for the failed shards of a deploy or of the system itself.

    Shards of other kinds have their dead letters and alerts. Called last there: the tickets are locked until it ends.
    """
    kind = stage.kind
    if not kind.startswith(WATCHED) or not settings.load().stabilizer_enabled:
        return
    said = {fingerprints.fingerprint(each.code, kind, each.message): each for each in failures.values()}
    times = Counter(fingerprints.fingerprint(each.code, kind, each.message) for each in failures.values())
    target = stage.config.get("target")
    for fingerprint, failure in sorted(said.items()):
        tickets.raise_ticket(
            tx,
            fingerprint=fingerprint,
            kind=kind,
            title=f"{kind} failed in stage {stage.id}",
            message=f"{failure.code}: {failure.message}",
            plan=plan,
            target=target if isinstance(target, str) else None,
            times=times[fingerprint],
        )
