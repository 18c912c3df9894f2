"""Sync: start one, by a schedule or by hand. It is a plan: short functions read its pages between them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from common import db, entities, log, lookup, settings
from common.db import Transaction
from common.errors import Invalid, Passive, Unavailable
from common.flows import fires, lease, plans, stages, work
from common.flows.lease import Held
from common.rules import sync as rules
from common.rules.plan import Reader
from common.rules.urgency import Urgency
from common.sources.zoho import named
from common.stores import configuration, refetches, runs, schedules
from common.stores import plans as plan_store

TIMEBOX = {
    "full": timedelta(hours=6),
    "incremental": timedelta(minutes=50),
    "stock": timedelta(minutes=14),
    "ids": timedelta(hours=1),
}
SHARD_TIMEOUT = timedelta(seconds=60)  # a page may wait for its slot, and the source for itself
MOST_IDS = 1000
MANUAL_FIELDS = frozenset({"entity_type", "entity_ids", "mode", "force", "priority"})
PRIORITY = {"full": 6, "incremental": 4, "stock": 3}
BUSY = "every part of it is being synced already"
NOT_CONNECTED = "no source is connected: set ZOHO_CLIENT_ID, ZOHO_CLIENT_SECRET and ZOHO_REFRESH_TOKEN"


def by_schedule(schedule: str, slot: datetime) -> dict[str, Any]:
    """Start the sync that a schedule asks for, once per slot: arguments {"mode": "incremental", "entities": [label]}.

    A PASSIVE deployment does not begin with it: the ACTIVE one rings for it again.
    """
    try:
        return _by_schedule(schedule, slot, lease.held())
    except Passive as passive:
        return {"success": False, "message": passive.detail, "plan_id": None}


def _by_schedule(schedule: str, slot: datetime, held: Held) -> dict[str, Any]:
    plan, rung = None, []
    with db.transaction("worker") as tx:
        lease.guard(tx, held)
        arguments = schedules.begin(tx, schedule, slot)
        if arguments is None:
            return {"success": True, "message": "This slot was begun before."}
        mode, labels = arguments.get("mode", "incremental"), arguments.get("entities", [])
        fault = _fault(mode, labels) if is_connected() else NOT_CONNECTED
        if fault is None:
            plan = _start(tx, mode, labels, provenance="scheduled", by=f"schedule {schedule}", priority=PRIORITY.get(mode, 5))
        if plan is None:
            rung = schedules.finish(tx, schedule, slot, ok=fault is None, message=fault or BUSY)
        else:
            schedules.attach(tx, schedule, slot, UUID(plan))
    fires.ring_for(rung)
    if plan is None:
        return {"success": fault is None, "message": fault or BUSY, "plan_id": None}
    work.call_for_more(most=work.FIRST_RINGS)
    return {"success": True, "run_id": plan, "plan_id": plan, "mode": mode}


def _fault(mode: Any, labels: Any) -> str | None:
    """What is wrong with the arguments of a schedule, which anybody may have written."""
    if mode not in rules.MODES:
        return f"its argument mode must be one of {', '.join(rules.MODES)}"
    known = {entity.label for entity in entities.every() if entity.pull is not None}
    if not isinstance(labels, list) or not all(isinstance(label, str) and label in known for label in labels):
        return f"its argument entities must be a list of {', '.join(sorted(known))}"
    return None


def by_hand(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Start what an operator asks for: 202 with the run to watch.

    Raises: Invalid, with a pointer to each fault; Unavailable, when no source is connected; Passive, while another deployment
    is ACTIVE.
    """
    reader = Reader()
    reader.unknown(asked, MANUAL_FIELDS, "")
    label = _label(asked.get("entity_type", "all"), reader)
    ids = _ids(asked.get("entity_ids"), label, reader)
    mode = asked.get("mode", "incremental")
    if mode not in rules.MODES:
        reader.fault("/mode", f"must be one of {', '.join(rules.MODES)}")
    force = asked.get("force", False)
    if not isinstance(force, bool):
        reader.fault("/force", "must be true or false")
    priority = reader.whole(asked.get("priority"), "/priority", 1, 10, 3)
    if reader.faults:
        message = "The sync cannot be started as asked."
        raise Invalid(message, errors=reader.faults)
    if not is_connected():
        message = f"Nothing can be synced: {NOT_CONNECTED}."
        raise Unavailable(message, retry_after_seconds=60)
    actor = str(log.field("operator"))
    held = lease.held()
    with db.transaction("worker") as tx:
        lease.guard(tx, held)
        labels = [label] if label else []
        if ids:
            plan: str | None = _reread(tx, str(label), ids, by=actor, priority=priority)
        else:
            plan = _start(tx, mode, labels, provenance="manual", by=actor, priority=priority, force=force)
        if plan is None:
            active = [each for each in runs.active(tx) if not labels or each.entity in labels]
            return 202, _answer(active[0].plan, "A sync of this is under way; force starts another.")
    work.call_for_more(most=work.FIRST_RINGS)
    return 202, _answer(str(plan), "The sync has begun.")


def _answer(plan: str, message: str) -> dict[str, Any]:
    with db.transaction("status", read_only=True) as tx:
        found = runs.of_plan(tx, plan)
    return {
        "success": True,
        "message": message,
        "run_id": plan,
        "plan_id": plan,
        "runs": [{"run_id": run.run_id, "entity_type": run.entity_type, "mode": run.mode, "status": run.status} for run in found],
    }


def is_connected() -> bool:
    """Whether there is a source to read from."""
    return bool(settings.load().zoho_refresh_token)


def _label(given: Any, reader: Reader) -> str | None:
    """The label of an entity, by any of its names; None for all of them."""
    if given == "all":
        return None
    entity = named(given, {}, entities.every()) if isinstance(given, str) else None
    if entity is None:
        known = ", ".join(sorted(each.label for each in entities.every()))
        reader.fault("/entity_type", f"must be all or one of {known}")
        return None
    if entity.pull is None:
        reader.fault("/entity_type", "comes by webhook only: it cannot be read from its source")
    return entity.label


def _ids(given: Any, label: str | None, reader: Reader) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_IDS:
        reader.fault("/entity_ids", f"must be a list of 1 to {MOST_IDS:,} ids")
        return []
    if label is None:
        reader.fault("/entity_ids", "ids need the entity they are of")
    for position, each in enumerate(given):
        if not isinstance(each, str) or not each.isascii() or not each.isalnum() or len(each) > 64:  # noqa: PLR2004
            reader.fault(f"/entity_ids/{position}", "must be text of 1 to 64 letters and digits")
            return []
    return sorted(set(given))


def _start(
    tx: Transaction, mode: str, labels: list[str], *, provenance: str, by: str, priority: int, force: bool = False
) -> str | None:
    """Begin a sync; its plan. None when all of it is under way."""
    runs.queue_up(tx)
    values = configuration.all_values(tx)
    cursors = {label: cursor.cursor for label, cursor in runs.cursors(tx).items() if cursor.cursor}
    found = rules.parts(
        entities.every(),
        mode,
        labels=labels,
        cursors=cursors,
        last_pages=runs.last_pages(tx),
        lookback=timedelta(seconds=values["sync.lookback_seconds"]),
        whole_list_pages=values["sync.whole_list_pages"],
    )
    if not force:
        busy = {each.entity: each.mode for each in runs.active(tx)}
        # A full list brings what an incremental one would; the other way round it does not.
        found = [part for part in found if part.entity.label not in busy or (mode == "full" and busy[part.entity.label] != "full")]
        if not found:
            return None
    if mode == "stock":
        _ask_for_moved(tx, timedelta(seconds=values["sync.lookback_seconds"]))
    return _submit(tx, found, mode, provenance=provenance, by=by, priority=priority, calls=values["sync.refetch_calls"])


def _ask_for_moved(tx: Transaction, lookback: timedelta) -> None:
    """Products whose stock documents have moved since it was last looked at: their stamp does not tell.

    Since that began, not since it ended: what came meanwhile, or was committed a little later, had not been looked at.
    """
    begun = runs.last_begun(tx, "product", ("stock", "full"))
    if begun is None:
        return
    for entity in entities.every():
        refetches.ask_for_moved(tx, settings.load().zoho_organization_id, entity, begun - lookback)


def _reread(tx: Transaction, label: str, ids: list[str], *, by: str, priority: int) -> str:
    """Read these records again; the plan."""
    refetches.ask(tx, settings.load().zoho_organization_id, [(label, each) for each in ids], "asked")
    return _submit(tx, [], "ids", provenance="manual", by=by, priority=priority, calls=len(ids) + 1, labels=[label])


def _submit(
    tx: Transaction,
    found: list[rules.Part],
    mode: str,
    *,
    provenance: str,
    by: str,
    priority: int,
    calls: int,
    labels: list[str] | None = None,
) -> str:
    """A plan, and its runs, in one transaction."""
    every = [part.entity.label for part in found] or (labels or [])
    umbrella = str(uuid4())
    ids = {label: umbrella if len(every) == 1 else str(uuid4()) for label in every}
    urgency = Urgency.INTERACTIVE if provenance == "manual" and mode != "full" else rules.URGENCY[mode]
    definition: dict[str, Any] = {
        "name": f"{mode} sync" + (f" of {every[0]}" if len(every) == 1 else ""),
        "priority": priority,
        "stages": rules.stages(found, mode, runs=ids, run=umbrella, provenance=provenance, urgency=urgency, calls=calls),
        "constraints": {
            "timebox_ms": int(TIMEBOX[mode].total_seconds() * 1000),
            "shard_timeout_ms": int(SHARD_TIMEOUT.total_seconds() * 1000),
        },
    }
    if not found:
        definition["stages"][0]["config"]["entities"] = labels
    plan = str(plan_store.add(tx, plans.drafted(definition, submitted_by=by, is_ours=True), plan=umbrella))
    entries: list[tuple[str, str | None]] = [(ids[label], label) for label in every]
    if len(every) != 1:
        entries.insert(0, (umbrella, None))
    snapshot = {"mode": mode, "entities": every, "since": {part.entity.label: part.since for part in found}}
    runs.add(tx, plan, run_type=provenance, mode=mode, runs=entries, snapshot=snapshot, worker=by)
    stages.open_next(tx, plan)
    log.info("sync.started", plan=plan, mode=mode, entities=every, by=by)
    return plan


def check_source() -> list[dict[str, Any]]:
    """What of the source works: its token, its lists, its filters; about twenty calls.

    Raises: Passive: only the ACTIVE deployment calls the source.
    """
    lease.held()
    client = lookup.find("clients", "zoho")
    return [each._asdict() for each in client.check(entities.every())]
