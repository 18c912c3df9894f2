"""How far deployments are: each with its targets, as they were last read back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from common import db
from common.errors import Invalid, Unknown
from common.flows import rollbacks
from common.flows.status import id_of
from common.rules import strategies
from common.rules.http import Request
from common.stores import deployments
from common.stores.deployments import Deployment, Part

MOST = 50


def show(identifier: str) -> dict[str, Any]:
    """One deployment, with the state of each target.

    Raises: Unknown.
    """
    wanted = str(id_of(identifier))
    with db.transaction("status", read_only=True) as tx:
        found = deployments.get(tx, wanted)
        parts = deployments.parts(tx, wanted)
        point = rollbacks.eligibility(tx, found, parts) if found else None
    if found is None or point is None:
        message = f"There is no deployment {wanted}."
        raise Unknown(message)
    return told(found) | {"targets": [_part(found, part) for part in parts], "rollback": point}


def listed(request: Request) -> dict[str, Any]:
    """The newest deployments, without their targets."""
    limit = MOST if request.arguments.get("limit") is None else _limit(request.arguments["limit"])
    with db.transaction("status", read_only=True) as tx:
        found = deployments.newest(tx, limit=limit)
    return {"deployments": [told(each) for each in found], "count": len(found)}


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST:
        message = f"limit must be a whole number from 1 to {MOST}."
        raise Invalid(message, errors=[{"pointer": "/limit", "message": f"must be 1 to {MOST}"}])
    return int(text)


def told(found: Deployment) -> dict[str, Any]:
    """A deployment as it is answered."""
    return {
        "deployment_id": found.id,
        "kind": found.kind,
        "status": found.status,
        "commit": found.commit,
        "artifact": found.artifact,
        "plan_id": found.plan,
        "background_plan_id": found.background,
        "strategy": found.strategy,
        "gates": [asdict(strategies.gate(gate)) for gate in found.gates],
        "definition_hash": found.definition_hash,
        "requested_by": found.requested_by,
        "approvals_needed": found.approvals_needed,
        "approved_by": found.approved_by,
        "held_for": found.held_for,
        "reason": found.reason,
        "schema_version": found.schema_version,
        "rolls_back": found.rolls_back,
        "rolled_back_by": found.rolled_back_by,
        "created_at": found.created_at,
        "live_at": found.live_at,
        "ended_at": found.ended_at,
    }


def _part(found: Deployment, part: Part) -> dict[str, Any]:
    return {
        "name": part.target,
        "provider": part.provider,
        "wave": part.wave,
        "state": part.state,
        "wanted": found.commit or found.artifact,
        "serving": part.serving,
        "previous": part.previous,
        "provider_deploy_id": part.provider_id,
        "verified_at": part.verified_at,
        "promoted_at": part.promoted_at,
        "frozen": part.is_frozen,
        "gates": {key: _gate(gate) for key, gate in part.gates.items() if "readings" in gate},
        "reason": part.reason,
    }


def _gate(gate: dict[str, Any]) -> dict[str, Any]:
    return {"readings": len(gate["readings"]), **{key: gate.get(key) for key in ("outcome", "reason", "waived_by")}}


def begun(identifier: str) -> dict[str, Any]:
    """What whoever asked for it is told at once."""
    with db.transaction("status", read_only=True) as tx:
        found = deployments.get(tx, identifier)
    if found is None:
        message = f"There is no deployment {identifier}."
        raise Unknown(message)
    keys = ("deployment_id", "plan_id", "status", "definition_hash")
    return {key: value for key, value in told(found).items() if key in keys}
