"""Reconcile: compare entities with their source between full syncs, and repair what differs.

It is a plan: for each entity a comparison, and its whole list where the comparison asks for that; then the single records
that must be read by id, and a last count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from common import db, entities, log
from common.db import Transaction
from common.errors import Invalid, Passive, Unavailable
from common.flows import fires, lease, plans, stages, work
from common.flows.lease import Held
from common.flows.sync import NOT_CONNECTED, is_connected
from common.rules.entity import Entity
from common.rules.plan import Reader
from common.rules.urgency import Urgency
from common.sources.zoho import named
from common.stores import configuration, schedules
from common.stores import plans as plan_store
from common.stores.schedules import Rung

MODES = ("cheapest", "full")
FIELDS = frozenset({"entities", "mode"})
NAME = "reconciliation"
TIMEBOX = timedelta(hours=3)
SHARD_TIMEOUT = timedelta(hours=1)  # a comparison is one shard of many calls, and goes on where it stopped
PRIORITY = {"scheduled": 7, "manual": 3}
REASONS = ("missing", "drift")


def by_schedule(schedule: str, slot: datetime) -> dict[str, Any]:
    """Start the comparison that a schedule asks for, once per slot: arguments {"entities": [label], "mode": "cheapest"}.

    A PASSIVE deployment does not begin with it: the ACTIVE one rings for it again.
    """
    try:
        return _by_schedule(schedule, slot, lease.held())
    except Passive as passive:
        return {"success": False, "message": passive.detail}


def _by_schedule(schedule: str, slot: datetime, held: Held) -> dict[str, Any]:
    plan = None
    rung: Sequence[Rung] = ()
    with db.transaction("worker") as tx:
        lease.guard(tx, held)
        arguments = schedules.begin(tx, schedule, slot)
        if arguments is None:
            return {"success": True, "message": "This slot was begun before."}
        faults = None if is_connected() else NOT_CONNECTED
        asked = _asked({key: value for key, value in arguments.items() if key in FIELDS})
        if isinstance(asked, list):
            faults = "; ".join(f"{fault['pointer']} {fault['message']}" for fault in asked)
        if faults or isinstance(asked, list):
            rung = schedules.finish(tx, schedule, slot, ok=False, message=faults)
        else:
            plan = _start(tx, *asked, provenance="scheduled", by=f"schedule {schedule}")
            schedules.attach(tx, schedule, slot, UUID(plan))
    fires.ring_for(rung)
    if plan is None:
        return {"success": False, "message": faults}
    work.call_for_more()
    return {"success": True, "plan_id": plan}


def by_hand(asked: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Start what an operator asks for: 202 with the plan to watch.

    Raises: Invalid, with a pointer to each fault; Unavailable, when no source is connected; Passive, while another deployment
    is ACTIVE.
    """
    wanted = _asked(asked)
    if isinstance(wanted, list):
        message = "The comparison cannot be started as asked."
        raise Invalid(message, errors=wanted)
    if not is_connected():
        message = f"Nothing can be compared: {NOT_CONNECTED}."
        raise Unavailable(message, retry_after_seconds=60)
    held = lease.held()
    with db.transaction("worker") as tx:
        lease.guard(tx, held)
        plan = _start(tx, *wanted, provenance="manual", by=str(log.field("operator")))
    work.call_for_more()
    labels = [entity.label for entity in wanted[0]]
    return 202, {"success": True, "message": "The comparison has begun.", "plan_id": plan, "entities": labels, "mode": wanted[1]}


def _asked(given: Mapping[str, Any]) -> tuple[list[Entity], str] | list[dict[str, str]]:
    """Which entities in which mode, or what is wrong with what was asked."""
    reader = Reader()
    reader.unknown(given, FIELDS, "")
    every = [entity for entity in entities.every() if entity.pull is not None]
    labels = given.get("entities")
    found: dict[str, Entity] = {}
    if labels is None or labels == "all":
        found = {entity.label: entity for entity in every}
    elif not isinstance(labels, list) or not 1 <= len(labels) <= len(every):
        reader.fault("/entities", f"must be a list of 1 to {len(every)} entities")
    else:
        for position, label in enumerate(labels):
            entity = named(label, {}, every) if isinstance(label, str) else None
            if entity is None:
                reader.fault(f"/entities/{position}", f"must be one of {', '.join(sorted(each.label for each in every))}")
            else:
                found[entity.label] = entity
    mode = given.get("mode", "cheapest")
    if mode not in MODES:
        reader.fault("/mode", f"must be one of {', '.join(MODES)}")
    return reader.faults or (sorted(found.values(), key=lambda entity: entity.rank), str(mode))


def _start(tx: Transaction, found: Sequence[Entity], mode: str, *, provenance: str, by: str) -> str:
    values = configuration.all_values(tx)
    urgency = str(Urgency.INTERACTIVE if provenance == "manual" else Urgency.REPAIR)
    definition = {
        "name": NAME + (f" of {found[0].path}" if len(found) == 1 else ""),
        "priority": PRIORITY[provenance],
        "stages": _stages(found, mode, urgency=urgency, calls=values["reconcile.refetch_calls"]),
        "constraints": {
            "timebox_ms": int(TIMEBOX.total_seconds() * 1000),
            "shard_timeout_ms": int(SHARD_TIMEOUT.total_seconds() * 1000),
        },
    }
    plan = str(plan_store.add(tx, plans.drafted(definition, submitted_by=by, is_ours=True)))
    stages.open_next(tx, plan)
    log.info("reconciliation.started", plan=plan, entities=[entity.label for entity in found], mode=mode, by=by)
    return plan


def _stages(found: Sequence[Entity], mode: str, *, urgency: str, calls: int) -> list[dict[str, Any]]:
    shared = {"source": "zoho", "urgency": urgency, "provenance": "reconciliation"}
    made: list[dict[str, Any]] = []
    lists = []
    for entity in found:
        compare, whole = f"compare {entity.path}", f"list {entity.path}"
        made.append(
            {
                "id": compare,
                "kind": "reconcile.compare",
                "concurrency": 1,
                "config": {"entity": entity.label, "mode": mode, **shared},
            }
        )
        config = {"entity": entity.label, "run": str(uuid4()), "mode": "full", "since": None, "on_demand": True, **shared}
        made.append({"id": whole, "kind": "sync.pages", "concurrency": 3, "dependencies": [compare], "config": config})
        lists.append(whole)
    by_id = {"run": None, "calls": calls, "entities": [entity.label for entity in found], "reasons": list(REASONS), **shared}
    made.append({"id": "refetch", "kind": "sync.refetch", "concurrency": 1, "dependencies": lists, "config": by_id})
    made.append({"id": "close", "kind": "reconcile.close", "concurrency": 1, "dependencies": ["refetch"], "config": shared})
    return made
