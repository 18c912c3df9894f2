"""How far this database is in step with its source: runs, entities, cursors. Reads only."""

from __future__ import annotations

from typing import Any

from common import db, entities, settings
from common.errors import Invalid, Unknown
from common.flows.status import id_of, limit_of
from common.rules.entity import Entity
from common.rules.http import Request
from common.rules.pace import pace
from common.stores import limits, refetches, runs, standing

STATUSES = ("pending", "processing", "completed", "failed")
LOGS = 20
SOURCE = "zoho"


def listed(request: Request) -> dict[str, Any]:
    """Runs, the newest first: ?entity=&status=&limit=.

    Raises: Invalid.
    """
    faults = []
    entity, status = request.arguments.get("entity") or None, request.arguments.get("status") or None
    if entity is not None and entity not in entities.by_label():
        faults.append({"pointer": "/entity", "message": f"must be one of {', '.join(sorted(entities.by_label()))}"})
    if status is not None and status not in STATUSES:
        faults.append({"pointer": "/status", "message": f"must be one of {', '.join(STATUSES)}"})
    if faults:
        message = "The runs cannot be listed as asked."
        raise Invalid(message, errors=faults)
    limit = limit_of(request)
    with db.transaction("status", read_only=True) as tx:
        found, expected = runs.listed(tx, entity=entity, status=status, limit=limit), runs.last_pages(tx)
    return {"runs": [_run(run, expected) for run in found], "count": len(found)}


def one(identifier: str) -> dict[str, Any]:
    """A run, with those of its entities if it is of several, and its last pages."""
    run = str(id_of(identifier))
    with db.transaction("status", read_only=True) as tx:
        found, expected = runs.of_plan(tx, run), runs.last_pages(tx)
        logs = runs.logs(tx, run, LOGS)
    first = next((each for each in found if each.run_id == run), None)
    if first is None:
        message = f"There is no run {run}."
        raise Unknown(message)
    parts = [_run(each, expected) for each in found if each.run_id != run]
    return _run(first, expected) | {"entities": parts, "pages_log": [log._asdict() for log in logs]}


def _run(run: runs.Run, expected: dict[str, int]) -> dict[str, Any]:
    is_full = run.mode == "full" and run.entity_type is not None
    paced = pace(
        pages=run.pages,
        rows=run.total_events,
        started_at=run.started_at,
        until=run.completed_at or run.now,
        is_over=run.completed_at is not None,
        expected=expected.get(str(run.entity_type)) if is_full else None,
    )
    return {key: value for key, value in run._asdict().items() if key != "now"} | paced._asdict()


def every_entity() -> dict[str, Any]:
    """Each entity: what stands here, how old its sync is, what waits to be read again."""
    organization = settings.load().zoho_organization_id
    with db.transaction("status", read_only=True) as tx:
        cursors, waiting, last = runs.cursors(tx), refetches.waiting(tx), runs.last_of_entities(tx)
        active = {each.entity: each for each in runs.active(tx)}
        counts = {entity.label: standing.counts(tx, entity, organization) for entity in entities.every()}
        rate = next((each for each in limits.state(tx) if each.organization_id == organization), None)
    found = []
    for entity in sorted(entities.every(), key=lambda each: each.rank):
        cursor = cursors.get(entity.label)
        found.append(
            {
                "entity_type": entity.label,
                "webhook_path": f"/webhooks/{entity.path}",
                "table": f"erp.{entity.table}",
                "is_pulled": entity.pull is not None,
                "incremental": _incremental(entity),
                "records": counts[entity.label].live,
                "deleted": counts[entity.label].deleted,
                "ambiguous": counts[entity.label].ambiguous,
                "newest_at": counts[entity.label].newest,
                "cursor": cursor.cursor if cursor else None,
                "last_sync_at": cursor.last_sync_at if cursor else None,
                "last_sync_status": cursor.last_sync_status if cursor else None,
                "lag_seconds": cursor.age_seconds if cursor else None,
                "syncing": active[entity.label].mode if entity.label in active else None,
                "refetches": {each.reason: each.records for each in waiting if each.entity_type == entity.label},
                "last_runs": {each.mode: each._asdict() for each in last if each.entity_type == entity.label},
            }
        )
    return {"entities": found, "count": len(found), "source": {"name": SOURCE, "rate": rate._asdict() if rate else None}}


def _incremental(entity: Entity) -> str | None:
    """How what changed is found between two full lists."""
    if entity.pull is None:
        return None
    return "filter" if entity.pull.filter else ("walk" if entity.pull.walk else "whole list")


def cursors() -> dict[str, Any]:
    """Where each entity's next sync begins."""
    with db.transaction("status", read_only=True) as tx:
        found = runs.cursors(tx)
    return {"cursors": [{"source_type": SOURCE, **cursor._asdict()} for cursor in found.values()], "count": len(found)}
