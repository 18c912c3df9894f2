"""What is done to plans that run: pausing, stopping, trying again; and what a sweep does to those that nobody looks at."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from common import db, log
from common.errors import Conflict, Unknown
from common.flows import rollbacks, seal, stages, time_limits, work
from common.flows.plans import audit, check_enabled
from common.flows.plans import timebox as plan_timebox
from common.flows.status import id_of
from common.rules import shard as shard_rules
from common.stores import alerts, lanes, plans, runs, shard_failures

# From which state which verb leads where.
VERBS: Mapping[str, Mapping[str, str]] = {
    "running": {"pause": "paused", "cancel": "cancelled", "abort": "aborted"},
    "paused": {"resume": "running", "cancel": "cancelled", "abort": "aborted"},
    "halted": {"resume": "running", "cancel": "cancelled", "abort": "aborted", "retry": "running"},
    "failed": {"retry": "running"},
}


def act(verb: str, identifier: str) -> dict[str, Any]:
    """Pause, resume, cancel, abort or retry a plan.

    Raises: Unknown; Conflict, with what may be done to it, when it stands where that verb leads nowhere.
    """
    check_enabled()
    plan = str(id_of(identifier))
    actor = log.field("operator")

    def write(tx: db.Transaction) -> str:
        locked = _locked(tx, plan)
        if locked is None:
            message = f"There is no plan {plan}."
            raise Unknown(message)
        allowed = VERBS.get(locked.status, {})
        if verb not in allowed:
            may = ", ".join(sorted(allowed)) or "nothing"
            message = f"The plan is {locked.status}; what can be done to it: {may}."
            raise Conflict(message, allowed=sorted(allowed))
        rollbacks.check_verb(tx, plan, verb)
        target = allowed[verb]
        audit(tx, f"plan.{verb}", plan)
        if target in ("cancelled", "aborted"):
            stop(tx, plan, target, f"by {actor}")
        else:
            _go_on(tx, locked, verb, target)
        return target

    target = db.replayed(write, "worker")
    if target == "running":
        work.call_for_more(most=work.FIRST_RINGS)
    elif target != "paused":
        seal.seal(plan)
    log.info("plan.acted", plan=plan, verb=verb, status=target)
    return {"plan_id": plan, "status": target}


def _locked(tx: db.Transaction, plan: str) -> plans.Locked | None:
    """A plan with all that workers lock of it, in their order."""
    lanes.lock(tx, plan)
    shard_failures.lock(tx, plan)
    plans.lock_open(tx, plan)
    return plans.lock(tx, plan)


def _go_on(tx: db.Transaction, locked: plans.Locked, verb: str, target: str) -> None:
    timebox = None
    if verb == "retry":
        constraints = locked.definition.get("constraints") or {}
        timebox = plan_timebox(constraints)
        shard_failures.revive(tx, locked.id)
        lanes.cut_again(tx, locked.id)
        plans.reopen(tx, locked.id)
        runs.reopen(tx, locked.id)
    plans.set_status(tx, locked.id, target, None, timebox)
    if target == "running":
        stages.open_next(tx, locked.id)


def stop(tx: db.Transaction, plan: str, status_: str, reason: str) -> None:
    """End a plan before its time: whoever holds a part of it may write nothing more. The caller has locked all of it."""
    lanes.revoke(tx, plan)
    shard_failures.revoke(tx, plan)
    for row in plans.progress(tx, plan):
        if row.status == "open":
            stage = shard_rules.Stage(plan, row.no, row.id, row.kind, row.config, row.shards)
            plans.lock_stage(tx, plan, row.no)
            stages.end_stage(tx, plan, row.no, stage, ok=False)
    stages.end(tx, plan, status_, reason)


def stop_overdue(limit: int = 20) -> int:
    """End the plans and stages whose time is over, and the stages whose last worker died before it could; how many."""
    with db.transaction("worker") as tx:
        overdue = plans.overdue(tx, limit)
        late = plans.overdue_stages(tx, limit)
        stranded = plans.stranded(tx, limit)
    for plan in overdue:
        db.replayed(functools.partial(_stop_if_overdue, plan), "worker")
    stopped = sum(time_limits.expire(plan, no) for plan, no in late)
    for plan, no in stranded:
        with db.transaction("worker") as tx:
            stages.settle(tx, plan, no)
    return len(overdue) + stopped + len(stranded)


def _stop_if_overdue(plan: str, tx: db.Transaction) -> None:
    # It may have ended since it was looked up, or have been given more time.
    if _locked(tx, plan) is not None and plans.is_overdue(tx, plan):
        stop(tx, plan, "failed", "its timebox is over")


def watch(limit: int = 20) -> int:
    """Raise an alert while stages take longer than they should, and close it when none does; how many do."""
    with db.transaction("worker") as tx:
        slow = plans.slow(tx, limit)
        if not slow:
            alerts.resolve(tx, alert_type="stage_over_slo")
            return 0
        first = slow[0]
        alerts.raise_alert(
            tx,
            alert_type="stage_over_slo",
            severity="warning",
            title=f"The stage {first.stage} of {first.name} takes longer than it should",
            message=f"It has taken {first.seconds:.0f} s of {first.slo_seconds:.0f} s. Look at /api/hxo/status/{first.plan}.",
            affected=len(slow),
            metadata={"stages": [each._asdict() for each in slow]},
        )
    return len(slow)
