"""Runs of syncs, true at every moment, and the cursors that they move when they succeed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from common import encoding
from common.db import Transaction
from common.stores import locks


class Active(NamedTuple):
    """An entity that a sync is at."""

    entity: str
    mode: str
    plan: str


class Ended(NamedTuple):
    """What a run has seen."""

    newest: datetime | None
    first_served_at: datetime | None
    rows: int
    written: int


class Cursor(NamedTuple):
    """How far an entity is in step with the source."""

    entity_type: str
    cursor: datetime | None
    last_sync_at: datetime
    total_synced: int
    last_sync_count: int
    last_sync_status: str
    metadata: dict[str, Any] | None
    age_seconds: float


class Run(NamedTuple):
    """A run as it is shown."""

    run_id: str
    run_type: str
    entity_type: str | None
    mode: str | None
    status: str
    plan_id: str | None
    pages: int
    total_events: int
    processed_events: int
    failed_events: int
    skipped_events: int
    started_at: datetime
    completed_at: datetime | None
    duration_seconds: int | None
    newest: datetime | None
    worker_id: str | None
    error_summary: dict[str, Any] | None
    configuration: dict[str, Any] | None
    now: datetime


class Log(NamedTuple):
    """A page, or a call."""

    what: str
    status: str
    said: dict[str, Any] | None
    took_ms: int | None
    worker_id: str | None
    at: datetime


class LastPages(NamedTuple):
    """How many pages the last full list of an entity had."""

    entity_type: str
    pages: int


class Last(NamedTuple):
    """The last run of an entity in a mode."""

    entity_type: str
    mode: str
    status: str
    started_at: datetime
    completed_at: datetime | None
    total_events: int
    processed_events: int
    failed_events: int


def add(
    tx: Transaction,
    plan: str,
    *,
    run_type: str,
    mode: str,
    runs: Sequence[tuple[str, str | None]],
    snapshot: dict[str, Any],
    worker: str,
) -> None:
    """The runs of a plan, as (id, entity); entity None: the run of all of them."""
    rows = [{"id": run, "entity": entity} for run, entity in runs]
    tx.run(
        "runs.add",
        plan=plan,
        run_type=run_type,
        mode=mode,
        runs=encoding.rows(rows),
        snapshot=encoding.dumps(snapshot),
        worker=worker,
    )


def begin(tx: Transaction, run: str, plan: str) -> None:
    """The first page is on its way."""
    tx.run("runs.begin", run=run, plan=plan)


def count(
    tx: Transaction, run: str, plan: str, *, rows: int, written: int, skipped: int, failed: int, newest: datetime | None,
    served_at: datetime, worker: str,
) -> None:  # fmt: skip
    """Add what a page did. The last write of a page's transaction: all pages of a run meet at this row."""
    tx.run(
        "runs.count", run=run, plan=plan, rows=rows, written=written, skipped=skipped, failed=failed, newest=newest,
        served_at=served_at, worker=worker,
    )  # fmt: skip


def log(
    tx: Transaction, run: str, entity: str, what: str, *, said: dict[str, Any], took_ms: float, worker: str, context: dict[str, Any]
) -> None:
    """One line per page or call."""
    tx.run(
        "runs.log", run=run, entity=entity, what=what, said=encoding.dumps(said), took_ms=round(took_ms), worker=worker,
        context=encoding.dumps(context),
    )  # fmt: skip


def end(tx: Transaction, run: str, *, ok: bool, message: str | None = None) -> Ended | None:
    """A run is over; what it has seen. None when it was over before."""
    return tx.one(Ended, "runs.end", run=run, ok=ok, message=message)


def finish_plan(tx: Transaction, plan: str, *, ok: bool, message: str | None) -> None:
    """The plan is over, and with it every run of it that is not."""
    tx.run("runs.finish_plan", plan=plan, ok=ok, message=message)


def queue_up(tx: Transaction) -> None:
    """Wait for others who are starting a sync, and let others wait, until the transaction ends."""
    locks.wait(tx, "syncs")


def reopen(tx: Transaction, plan: str) -> None:
    """The plan is tried again: so are its runs that failed."""
    tx.run("runs.reopen", plan=plan)


def active(tx: Transaction) -> list[Active]:
    """The entities that a sync is at."""
    return tx.all(Active, "runs.active")


def last_pages(tx: Transaction) -> dict[str, int]:
    """How many pages the last full list of each entity had."""
    return dict(tx.all(LastPages, "runs.last_pages"))


def advance(tx: Transaction, entity: str, *, cursor: datetime | None, count: int, run: str, mode: str) -> None:
    """Move an entity's cursor, forward only."""
    text = cursor.isoformat() if cursor else None
    tx.run("runs.advance", entity=entity, cursor=text, count=count, run=run, mode=mode)


def pin(tx: Transaction, entity: str) -> None:
    """A sync failed: its cursor stays where it is."""
    tx.run("runs.pin", entity=entity)


def last_begun(tx: Transaction, entity: str, modes: Sequence[str]) -> datetime | None:
    """When the last run of an entity began that went well in one of these modes."""
    begun: datetime | None = tx.value("runs.last_begun", entity=entity, modes=encoding.rows(list(modes)))
    return begun


def cursors(tx: Transaction) -> dict[str, Cursor]:
    """Where each entity's sync begins."""
    return {cursor.entity_type: cursor for cursor in tx.all(Cursor, "runs.cursors")}


def listed(tx: Transaction, *, entity: str | None, status: str | None, limit: int) -> list[Run]:
    """Runs, the newest first."""
    return tx.all(Run, "runs.listed", entity=entity, status=status, limit=limit)


def of_plan(tx: Transaction, run: str) -> list[Run]:
    """A run, or all runs of a plan."""
    return tx.all(Run, "runs.of_plan", run=run)


def logs(tx: Transaction, run: str, limit: int) -> list[Log]:
    """The last pages and calls of a run."""
    return tx.all(Log, "runs.logs", run=run, limit=limit)


def last_of_entities(tx: Transaction) -> list[Last]:
    """The last run of each entity in each mode."""
    return tx.all(Last, "runs.last_of_entities")


class Stalled(NamedTuple):
    """An entity whose syncs succeed while its cursor stays."""

    entity_type: str
    cursor: datetime | None
    last_sync_at: datetime
    runs: int


def stalled(tx: Transaction, period: timedelta) -> list[Stalled]:
    """Entities whose cursor has stayed for two periods although their syncs succeed."""
    return tx.all(Stalled, "runs.stalled", period=period)
