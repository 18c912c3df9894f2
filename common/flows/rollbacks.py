"""Rollbacks: what targets served before is put back, by itself when a deploy fails, or when an operator asks for it.

A rollback is a deployment of its own, linked with the one that it takes back in both directions, and carried out by a plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from common import db, encoding, log
from common.db import Transaction
from common.errors import Conflict, Invalid, Unknown
from common.flows import plans as flow
from common.flows import stages, work
from common.flows.status import id_of
from common.rules import strategies
from common.rules.deploys import key_of
from common.stores import alerts, deployments, notices, plans, schema_versions, shard_failures
from common.stores.deployments import Deployment, Draft, Part

MOST = 20
PUT_BACK = ("live", "failed", "cancelled", "not_rolled_back")


# By itself -------------------------------------------------------------------------------------------------------


def plan_ended(tx: Transaction, plan: str, status: str, reason: str | None) -> int:
    """The plan of a deployment is over, perhaps before its time: puts back what it has touched; how many lanes that opened.

    Called in the transaction that ends the plan, so there is no deploy that failed and is not taken back.
    """
    found = deployments.of_plan(tx, plan)
    if found is None or status == "succeeded":
        return 0
    if found.kind == "rollback":
        _not_back(tx, found, reason)
        return 0
    why = _cause(tx, plan) or reason or status
    _stop_background(tx, found)
    parts = deployments.parts(tx, found.id)
    touched = [part for part in parts if part.intended_at is not None]
    if not touched:
        deployments.set_status(tx, found.id, "cancelled" if status in ("cancelled", "aborted") else "failed", why)
        deployments.release(tx, found.id)
        _tell_failure(tx, found, why)
        return 0
    _tell_failure(tx, found, why)
    return _begin(tx, found, touched, by="tidemark", why=why)[1]


def _cause(tx: Transaction, plan: str) -> str | None:
    """What failed first, in words."""
    dead = [failure for failure in shard_failures.listed(tx, plan, 10) if failure.status == "dead"]
    return f"{dead[0].stage}: {dead[0].message}" if dead else None


def check_verb(tx: Transaction, plan: str, verb: str) -> None:
    """What may be done to a plan that is a deploy or a rollback, besides what may be done to any plan.

    Raises: Conflict. A rollback that is tried again has its targets to itself again.
    """
    found = deployments.of_plan(tx, plan)
    if found is None or verb not in ("resume", "retry"):
        return
    if found.status == "waiting":
        message = f"It waits to be approved: POST /api/hxo/deployments/{found.id}/approve."
        raise Conflict(message)
    if verb == "retry" and found.kind == "deploy" and found.status != "running":
        message = f"The deployment {found.id} is {found.status}: ask for a new one."
        raise Conflict(message)
    if verb == "retry" and found.ended_at is not None:
        deployments.acquire(tx, found.id)
        deployments.set_status(tx, found.id, "running")
        deployments.set_status(tx, str(found.rolls_back), "rolling_back", found.reason)


def _stop_background(tx: Transaction, found: Deployment) -> None:
    locked = plans.lock(tx, found.background) if found.background else None
    if locked is not None and locked.status == "paused":  # it never began, and never will
        plans.set_status(tx, locked.id, "cancelled", "its deploy ended before it began")


def _not_back(tx: Transaction, found: Deployment, reason: str | None) -> None:
    """The worst that can happen: nobody knows what is served. Somebody must look, now."""
    undone = str(found.rolls_back)
    why = _cause(tx, str(found.plan)) or reason or "its plan failed"
    deployments.set_status(tx, found.id, "failed", why)
    deployments.set_status(tx, undone, "not_rolled_back", why)
    deployments.release(tx, found.id)
    alerts.raise_alert(
        tx,
        alert_type="deploy.not_rolled_back",
        severity="critical",
        title="A deploy failed, and could not be taken back",
        message=f"The rollback {found.id} of the deployment {undone} did not end well: {why}. "
        f"Look at its targets at their providers, then retry its plan {found.plan}, or roll back again.",
        metadata={"deployment_id": undone, "rollback_id": found.id, "plan_id": found.plan},
    )
    _tell_failure(tx, found, why)


def _tell_failure(tx: Transaction, found: Deployment, why: str) -> None:
    notices.add(
        tx,
        "deploy.outcome.failure",
        {"deployment_id": found.id, "plan_id": found.plan, "reason": why, "kind": found.kind},
        source="deploy",
        correlation_id=found.id,
    )
    log.error("deployment.failed", deployment=found.id, plan=found.plan, reason=why)


def _begin(tx: Transaction, found: Deployment, parts: Sequence[Part], *, by: str, why: str) -> tuple[str, int]:
    """The rollback's id, and how many lanes it opened. The targets pass from the one deployment to the other."""
    definition = {"deployment_id": found.id, "targets": [part.target for part in parts]}
    hashed = hashlib.sha256(encoding.canonical(definition)).hexdigest()
    draft = Draft(
        kind="rollback", status="running", commit=None, artifact=None, definition=definition, definition_hash=hashed,
        strategy=found.strategy, gates=[], background_work={}, requested_by=by, rolls_back=found.id, reason=why,
    )  # fmt: skip
    identifier = str(deployments.add(tx, draft))
    deployments.release(tx, found.id)
    deployments.add_targets(
        tx,
        identifier,
        [
            {"target": part.target, "no": no, "wave": 1, "key": key_of(identifier, part.target), "previous": part.previous}
            for no, part in enumerate(parts)
        ],
    )
    seconds = int(found.strategy["rollback_seconds"])
    wanted = strategies.rollback(identifier, f"roll back {found.commit or found.artifact}", definition["targets"], seconds)
    plan = str(plans.add(tx, flow.drafted(wanted, submitted_by=by, is_ours=True)))
    deployments.plan_is(tx, identifier, plan, None)
    deployments.rolled_back_by(tx, found.id, identifier)
    deployments.set_status(tx, found.id, "rolling_back", why)
    notices.add(
        tx,
        "deploy.events",
        {"deployment_id": identifier, "stage": "rollback", "status": "begun", "rolls_back": found.id, "reason": why},
        source="deploy",
        kind="heal",
        correlation_id=found.id,
    )
    log.warning("deployment.rolling_back", deployment=found.id, rollback=identifier, plan=plan, reason=why)
    return identifier, stages.open_next(tx, plan)


# By people -------------------------------------------------------------------------------------------------------


def rollback(given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Take a deployment back: 202 with the rollback's ids.

    Raises: Invalid; Unknown; Conflict, with the reason, when it cannot be.
    """
    flow.check_enabled()
    if not isinstance(given.get("deployment_id"), str) or given.keys() - {"deployment_id"}:
        message = "Name the deployment that is to be taken back."
        raise Invalid(
            message, errors=[{"pointer": "/deployment_id", "message": "must be the id of a deployment, and all there is"}]
        )
    wanted = str(id_of(given["deployment_id"]))
    by = str(log.field("operator"))

    def write(tx: Transaction) -> tuple[str, int]:
        deployments.queue_up(tx)
        found = deployments.get(tx, wanted)
        if found is not None and found.plan is not None:
            plans.lock(tx, found.plan)
        found = deployments.lock(tx, wanted)
        if found is None:
            message = f"There is no deployment {wanted}."
            raise Unknown(message)
        parts = deployments.parts(tx, wanted)
        point = eligibility(tx, found, parts)
        if not point["eligible"]:
            raise Conflict(str(point["reason"]))
        busy = deployments.busy(tx, [part.target for part in parts])
        if busy:
            message = f"Another deployment is at {busy[0].target}: {busy[0].deployment}."
            raise Conflict(message)
        touched = [part for part in parts if part.intended_at is not None]
        return _begin(tx, found, touched, by=by, why=f"asked for by {by}")

    identifier, opened = db.replayed(write, "worker")
    work.call_for_more(most=min(opened, work.FIRST_RINGS))
    with db.transaction("status", read_only=True) as tx:
        begun = deployments.get(tx, identifier)
    return 202, {"deployment_id": identifier, "plan_id": begun and begun.plan, "rolls_back": wanted, "status": "running"}


def points() -> dict[str, Any]:
    """What can be taken back, and what cannot and why: the newest first."""
    with db.transaction("status", read_only=True) as tx:
        found = []
        for each in deployments.newest(tx, limit=MOST):
            if each.kind == "deploy":
                parts = deployments.parts(tx, each.id)
                found.append({"deployment_id": each.id, "status": each.status, **eligibility(tx, each, parts)})
    return {"rollback_points": found, "count": len(found)}


def eligibility(tx: Transaction, found: Deployment, parts: Sequence[Part]) -> dict[str, Any]:
    """Whether a deployment can be taken back, why not, and to what its targets would go."""
    reason = _obstacle(tx, found, parts)
    return {
        "eligible": reason is None,
        "reason": reason,
        "schema_version": found.schema_version,
        "targets": [
            {"name": part.target, "point": part.previous, "config_hash": part.config_hash}
            for part in parts
            if part.intended_at is not None
        ],
    }


def _obstacle(tx: Transaction, found: Deployment, parts: Sequence[Part]) -> str | None:
    return next(_obstacles(tx, found, parts), None)


def _obstacles(tx: Transaction, found: Deployment, parts: Sequence[Part]) -> Iterator[str]:
    if found.kind == "rollback":
        yield "It is a rollback itself: deploy the version that you want."
    if found.status not in PUT_BACK:
        then = "there is nothing left to take back." if found.ended_at else "abort its plan, and it is taken back."
        yield f"It is {found.status}: {then}"
    if deployments.is_superseded(tx, found.id):
        yield "A later deployment of one of its targets is live: what was before this one is not what was before that one."
    touched = [part for part in parts if part.intended_at is not None]
    if not touched:
        yield "It has touched no target."
    stand_ins = found.strategy.get("replaces") or {}  # what they stand in for was never touched
    unknown = [part.target for part in touched if part.previous is None and part.target not in stand_ins]
    if unknown:
        yield f"Nothing was live before at {', '.join(unknown)}."
    contracted = schema_versions.contracted_since(tx, found.schema_version)
    if contracted:
        yield f"The schema was contracted since, by {', '.join(contracted)}: the version before needs what that took away."
