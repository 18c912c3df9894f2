"""Validation: what is wrong with the data itself. Each answer looks at a bounded number of rows, and says where to go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from common import db, entities, settings
from common.db import Transaction
from common.errors import Invalid
from common.rules.entity import Entity
from common.rules.http import Request
from common.rules.references import Reference
from common.rules.references import references as references_of
from common.stores import alerts, validation
from common.stores.validation import Check

PRODUCTS, RECORDS, EVENTS = 5_000, 1_000, 2_000  # rows that are looked at in one answer, of each table
LONGEST_ID = 200
SAMPLE = 10
WALK_SECONDS = 3.0

Look = Callable[..., list[Check]]


def products(request: Request) -> dict[str, Any]:
    """What /api/tds/data-validation/products tells: missing names, skus and rates, impossible stock, one sku twice.

    ?after=<id> goes on from there: `next` of the answer before. `is_complete`: nothing comes after what was looked at.
    """
    organization, after = settings.load().zoho_organization_id, _after(request)
    with db.transaction("status", read_only=True) as tx:
        found = validation.products(tx, organization=organization, after=after, rows=PRODUCTS)
    return _told({"product": _table(found, PRODUCTS)})


def integrity(request: Request) -> dict[str, Any]:
    """What /api/tds/data-validation/integrity tells: documents that contradict their lines, lines without one, stale rows.

    ?entity=<label>&after=<id> goes on with one entity.
    """
    return _each(request, validation.integrity)


def references(entity: Entity) -> list[Reference]:
    """The columns of an entity, and of its lines, that refer to others."""
    return [each for each in references_of(entities.every()) if each.entity is entity]


def _orphans(tx: Transaction, entity: Entity, *, organization: str, after: str, rows: int) -> list[Check]:
    return validation.orphans(tx, references(entity), organization=organization, after=after, rows=rows)


def orphans(request: Request) -> dict[str, Any]:
    """What /api/tds/data-validation/orphans tells: what refers to a record that is not there or is deleted; and events,
    queue rows and logs that have lost each other, for which there are no foreign keys. ?entity=<label>&after=<id>
    """
    told = _each(request, _orphans)
    if not request.arguments.get("entity"):
        with db.transaction("status", read_only=True) as tx:
            found = validation.events(tx, rows=EVENTS)
        told["events"] = {"looked_at": EVENTS, "checks": [_check(each) for each in found]}
        told["found"] += sum(each.found for each in found)
    return told


def walk() -> int:
    """Look once at every event, an hour after it came, for rows that it has lost: how many have. They raise an alert.

    This stands in for the foreign keys that the inbox, the queue and the logs do not have.
    """
    lost, ids = 0, list[str]()
    until = time.monotonic() + WALK_SECONDS
    while time.monotonic() < until:
        with db.transaction("worker") as tx:
            found = validation.walk(tx, rows=EVENTS)
            if found.lost:
                lost, ids = lost + found.lost, [*ids, *(found.ids or [])][:SAMPLE]
                _tell(tx, lost, ids)
        if found.examined < EVENTS:
            break
    return lost


def _tell(tx: Transaction, lost: int, ids: list[str]) -> None:
    alerts.raise_alert(
        tx,
        alert_type="lost_rows",
        severity="error",
        title="Events have lost rows that belong to them",
        message="Somebody deleted from the inbox, the queue or the logs by hand: look at /api/tds/data-validation/orphans.",
        affected=lost,
        metadata={"events": ids},
    )


def _each(request: Request, look: Look) -> dict[str, Any]:
    organization, after = settings.load().zoho_organization_id, _after(request)
    chosen = _entities(request)
    with db.transaction("status", read_only=True) as tx:
        found = {entity.label: _looked(tx, look, entity, organization, after) for entity in chosen}
    return _told(found)


def _looked(tx: Transaction, look: Look, entity: Entity, organization: str, after: str) -> dict[str, Any]:
    return _table(look(tx, entity, organization=organization, after=after, rows=RECORDS), RECORDS)


def _entities(request: Request) -> list[Entity]:
    label = request.arguments.get("entity")
    if label and label not in entities.by_label():
        _refuse("entity", f"must be one of {', '.join(sorted(entities.by_label()))}")
    if request.arguments.get("after") and not label:
        _refuse("after", "goes with an entity")
    return [each for each in sorted(entities.every(), key=lambda each: each.rank) if not label or each.label == label]


def _after(request: Request) -> str:
    text = request.arguments.get("after", "")
    if len(text) > LONGEST_ID or "\x00" in text:
        _refuse("after", f"must be an id of {LONGEST_ID} characters at most")
    return text


def _refuse(pointer: str, message: str) -> None:
    full = f"'{pointer}' {message}."
    raise Invalid(full, errors=[{"pointer": pointer, "message": message}])


def _table(found: list[Check], rows: int) -> dict[str, Any]:
    """What was found in the tables of an entity; each check walks its own, the slowest says where to go on."""
    full = [each.last for each in found if each.examined >= rows and each.last is not None]
    return {
        "examined": max((each.examined for each in found), default=0),
        "found": sum(each.found for each in found),
        "checks": [_check(each) for each in found if each.found],
        "next": min(full, default=None),
    }


def _check(found: Check) -> dict[str, Any]:
    return {"check": found.check, "count": found.found, "sample": (found.ids or [])[:SAMPLE]}


def _told(tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "timestamp": datetime.now(UTC),
        "found": sum(each["found"] for each in tables.values()),
        "is_complete": all(each["next"] is None for each in tables.values()),
        "entities": tables,
    }
