"""Alerts: one open row per condition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from common import encoding
from common.db import Transaction
from common.rules.hysteresis import Reading, State
from common.stores import locks

Key = tuple[str, str | None]  # an alert's type and its entity: one of them is open at most


class Alert(NamedTuple):
    """An alert as it is shown."""

    id: UUID
    alert_type: str
    severity: str
    title: str
    message: str
    entity_type: str | None
    affected_count: int | None
    threshold_value: Any
    actual_value: Any
    triggered_at: datetime
    acknowledged: bool
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledgement_note: str | None
    resolved: bool
    resolved_at: datetime | None
    resolved_by: str | None
    resolution_notes: str | None
    metadata: dict[str, Any] | None


class Condition(NamedTuple):
    """What is remembered of a condition, and whether its alert is open."""

    alert_type: str
    entity: str | None
    is_open: bool
    minute: datetime | None
    over: int
    calm: int
    over_at: datetime | None
    closed_at: datetime | None
    flaps: int
    muted_until: datetime | None


def open_for_future_stamps(tx: Transaction, *, marks: str) -> int:
    """Open or update an alert per entity for events that lie in quarantine since a moment ago, because their time of
    change is ahead of every clock; `marks` is a pattern of what their faults say. How many alerts that were.
    """
    return tx.run("alerts.open_for_future_stamps", marks=marks)


def raise_alert(
    tx: Transaction, *, alert_type: str, severity: str, title: str, message: str, entity: str | None = None,
    affected: int | None = None, metadata: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Open an alert, or bring the one that is open for this type and entity up to date."""
    tx.run(
        "alerts.raise",
        alert_type=alert_type,
        severity=severity,
        title=title[:255],
        message=message,
        entity=entity,
        affected=affected,
        metadata=encoding.dumps(metadata or {}),
    )


def resolve(tx: Transaction, *, alert_type: str, entity: str | None = None) -> int:
    """Close the alert that is open for this type and entity: the condition is over."""
    return tx.run("alerts.resolve", alert_type=alert_type, entity=entity)


# For the watcher ---------------------------------------------------------------------------------------------------


def try_watch(tx: Transaction) -> bool:
    """Whether nobody else is looking at this moment, so that this transaction may."""
    return locks.taken(tx, "watch")


def keep_watch_out(tx: Transaction) -> None:
    """Let no watcher look until the transaction ends."""
    locks.wait(tx, "watch")


def conditions(tx: Transaction, types: Iterable[str]) -> dict[Key, State]:
    """What is remembered of each condition of these types."""
    found = tx.all(Condition, "alerts.conditions", kinds=encoding.rows(sorted(types)))
    return {(each.alert_type, each.entity): State(*each[2:]) for each in found}


def remember(tx: Transaction, states: Mapping[Key, State]) -> None:
    """Keep these for the next look."""
    rows = [{"alert_type": key[0], "entity": key[1], **state._asdict()} for key, state in states.items()]
    tx.run("alerts.remember", rows=encoding.rows(rows))


def forget(tx: Transaction, keys: Iterable[Key]) -> None:
    """Drop what is remembered of these."""
    tx.run("alerts.forget", keys=_keys(keys))


def reopen(tx: Transaction, keys: Iterable[Key]) -> int:
    """Open the last alerts of these conditions again; how many there were."""
    return tx.run("alerts.reopen", keys=_keys(keys))


def tell(tx: Transaction, readings: Iterable[Reading]) -> None:
    """Open alerts, or bring those that are open up to date."""
    rows = [
        {
            "alert_type": each.alert_type,
            "entity": each.entity,
            "severity": each.severity,
            "title": each.title,
            "message": each.message,
            "affected": each.affected,
            "threshold": each.threshold,
            "value": round(each.value, 4),
            "metadata": dict(each.metadata),
        }
        for each in readings
    ]
    tx.run("alerts.tell", rows=encoding.rows(rows))


def close(tx: Transaction, keys: Iterable[Key]) -> int:
    """Close the open alerts of these conditions; how many there were."""
    return tx.run("alerts.close", keys=_keys(keys))


def settle(tx: Transaction) -> int:
    """Close the alerts that others opened and whose cause is gone; how many."""
    return tx.run("alerts.settle")


def _keys(keys: Iterable[Key]) -> str:
    return encoding.rows([{"alert_type": alert_type, "entity": entity} for alert_type, entity in keys])


# For people --------------------------------------------------------------------------------------------------------


def page(tx: Transaction, *, state: str, severity: str | None, entity: str | None, after: UUID | None, limit: int) -> list[Alert]:
    """Alerts that are open, acknowledged, resolved or all, the latest first, those after the one with the id `after`."""
    return tx.all(Alert, "alerts.page", state=state, severity=severity, entity=entity, after=after, limit=limit)


def find(tx: Transaction, identifier: UUID) -> Alert | None:
    """One alert."""
    return tx.one(Alert, "alerts.find", id=identifier)


def acknowledge(tx: Transaction, identifier: UUID, *, actor: str, note: str | None) -> bool:
    """Whether the alert is open, so that it is acknowledged now; whoever did so first stays."""
    return tx.run("alerts.acknowledge", id=identifier, actor=actor, note=note) == 1


def settle_by_hand(tx: Transaction, identifier: UUID, *, actor: str, note: str | None) -> bool:
    """Whether the alert was open, so that it is resolved now."""
    return tx.run("alerts.settle_by_hand", id=identifier, actor=actor, note=note) == 1


def mute(tx: Transaction, identifier: UUID) -> None:
    """Let the alert's condition be quiet until it was false once, or for as long as the settings say."""
    tx.run("alerts.mute", id=identifier)
