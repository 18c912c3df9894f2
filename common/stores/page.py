"""Page: what the static page shows, a few rows of everything."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from common.db import Transaction


class Entity(NamedTuple):
    """How far an entity is in step with the source."""

    entity: str
    last_sync_at: datetime | None
    lag_seconds: float | None
    run_status: str | None
    run_at: datetime | None


class Schedule(NamedTuple):
    """When a schedule runs."""

    name: str
    next_slot: datetime | None
    last_slot: datetime | None
    missed: int
    changed_at: datetime


class Alert(NamedTuple):
    """An open alert."""

    severity: str
    alert_type: str
    title: str
    entity_type: str | None
    acknowledged: bool
    triggered_at: datetime
    changed_at: datetime


class Sizes(NamedTuple):
    """How many there are of what is cut short."""

    schedules: int
    plans: int
    alerts: int


class Notable(NamedTuple):
    """Something that happened."""

    at: datetime
    what: str
    name: str


def entities(tx: Transaction) -> list[Entity]:
    """The entities that a sync has been at."""
    return tx.all(Entity, "page.entities")


def schedules(tx: Transaction, *, limit: int) -> list[Schedule]:
    """The schedules that matter most, the next first."""
    return tx.all(Schedule, "page.schedules", limit=limit)


def alerts(tx: Transaction, *, limit: int) -> list[Alert]:
    """The open alerts that matter most."""
    return tx.all(Alert, "page.alerts", limit=limit)


def sizes(tx: Transaction) -> Sizes:
    """How many there are of what is cut short."""
    found = tx.one(Sizes, "page.sizes")
    assert found is not None  # noqa: S101 - a row of counts
    return found


def notable(tx: Transaction, *, since: datetime, limit: int) -> list[Notable]:
    """What happened since a moment."""
    return tx.all(Notable, "page.notable", since=since, limit=limit)
