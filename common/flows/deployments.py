"""Deployments: asked for, approved, watched. The work itself is a plan, so it goes on however often whoever does it dies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from common import db, encoding, log, targets
from common.db import Transaction
from common.errors import Conflict, InProgress, Invalid, PreconditionFailed, Unknown
from common.flows import deployment_status, lease, stages, work
from common.flows import plans as flow
from common.flows.status import id_of
from common.rules import strategies
from common.rules.deploys import Ability, Target, key_of
from common.rules.http import Request
from common.rules.strategies import Asked
from common.stores import configuration, deployments, notices, plans
from common.stores import targets as rows
from common.stores.deployments import Deployment, Draft


def start(request: Request, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Begin a deploy: 202 with its ids; what the same Idempotency-Key began before is answered again.

    Raises: Invalid, with a pointer to each fault; Conflict, while another deployment is at one of its targets, or nothing may
    be deployed now; InProgress, while the same key is being begun; Refused for a key that cannot be one; Unavailable while
    HXO_ENABLED is false.
    """
    flow.check_enabled()
    key = flow.idempotency_key(request, "deployment")
    hashed = hashlib.sha256(encoding.canonical(given)).hexdigest()
    asked = _asked(given)
    by = str(log.field("operator"))

    def write(tx: Transaction) -> tuple[str, int] | deployments.Keyed:
        flow.hold_key(tx, key)
        former = deployments.by_key(tx, key) if key else None
        if former is not None:
            return former
        _check_window(tx)
        deployments.queue_up(tx)
        found = _known(tx, asked)
        return _added(tx, asked, given, found, by=by, key=key, hashed=hashed)

    said = db.replayed(write, "worker")
    if isinstance(said, deployments.Keyed):
        if said.request_hash != hashed:
            message = "This Idempotency-Key stands for another deployment."
            raise Invalid(message, errors=[{"pointer": "", "message": "differs from what the key was first sent with"}])
        identifier, opened = said.id, 0
    else:
        identifier, opened = said
    if opened:
        work.call_for_more(most=min(opened, work.FIRST_RINGS))
    return 202, deployment_status.begun(identifier)


def _asked(given: dict[str, Any]) -> Asked:
    asked = strategies.read(given)
    if isinstance(asked, list):
        message = "The deployment cannot be carried out as it stands."
        raise Invalid(message, errors=asked)
    return asked


def _check_window(tx: Transaction) -> None:
    window = deployments.freeze(tx)
    if window is not None:
        message = f"Nothing is deployed until {window.until:%Y-%m-%d %H:%M} UTC: {window.reason or 'a freeze window'}."
        raise Conflict(message)


def _known(tx: Transaction, asked: Asked) -> dict[str, Target]:
    """The targets, and those whose traffic they take over; each a row from here on.

    Raises: Invalid, for those that there are not, and gates that nothing could ever tell of.
    """
    faults = []
    found = {}
    for no, name in enumerate(asked.targets):
        row = rows.ensure(tx, name)
        if row is None:
            faults.append({"pointer": f"/targets/{no}", "message": f"there is no target {name}"})
        else:
            found[name] = Target(row.name, row.provider, row.config)
    for name, other in asked.strategy.replaces.items():
        row = rows.ensure(tx, other)
        former = Target(row.name, row.provider, row.config) if row else None
        message = strategies.not_switchable(found[name], former) if former and name in found else f"there is no target {other}"
        if message:
            faults.append({"pointer": f"/strategy/replaces/{name}", "message": message})
    for pointer, ability, names in (
        ("/gates/metrics", Ability.METRICS, [gate.name for gate in asked.gates if gate.name not in ("health", "logs")]),
        ("/gates/logs", Ability.LOGS, [gate.name for gate in asked.gates if gate.name == "logs"]),
    ):
        if names and found and not any(ability in targets.find(target.provider).CAN for target in found.values()):
            faults.append({"pointer": pointer, "message": "no provider of these targets tells of that"})
    if faults:
        message = "The deployment cannot be carried out as it stands."
        raise Invalid(message, errors=faults)
    return found


def _added(
    tx: Transaction, asked: Asked, given: dict[str, Any], found: dict[str, Target], *, by: str, key: str | None, hashed: str
) -> tuple[str, int]:
    """The new deployment's id, and how many lanes it opened; none while it waits to be approved."""
    _check_free(tx, [*asked.targets, *asked.strategy.replaces.values()])
    approvals = asked.approvals if asked.approvals is not None else _approvals(tx)
    strategy, gates = strategies.kept(asked)
    draft = Draft(
        kind="deploy",
        status="waiting" if approvals else "running",
        commit=asked.wanted.commit,
        artifact=asked.wanted.artifact,
        definition=given,
        definition_hash=hashed,
        strategy=strategy,
        gates=gates,
        background_work=asked.background,
        requested_by=by,
        approvals_needed=approvals,
        idempotency_key=key,
        request_hash=hashed,
    )
    identifier = deployments.add(tx, draft)
    if identifier is None:
        message = "This Idempotency-Key was taken a moment ago: ask again, and you are told of it."
        raise InProgress(message)
    waves = {name: no for no, wave in enumerate(asked.strategy.waves, 1) for name in wave}
    parts = [
        {"target": name, "no": no, "wave": waves[name], "key": key_of(identifier, name)} for no, name in enumerate(asked.targets)
    ]
    deployments.add_targets(tx, identifier, parts)
    name = f"deploy {asked.wanted.commit or asked.wanted.artifact}"
    migrating = [target.name for target in found.values() if target.config.get("migrate_command")]
    plan, opened = _planned(tx, strategies.plan(identifier, name, asked, migrating), by, is_paused=bool(approvals))
    beside, more = _planned(tx, strategies.background(identifier, name, asked), by, is_paused=bool(approvals))
    deployments.plan_is(tx, identifier, plan, beside)
    _tell(tx, identifier, "initiated", by)
    log.info("deployment.added", deployment=identifier, plan=plan, targets=list(asked.targets), approvals=approvals)
    return identifier, opened + more


def _check_free(tx: Transaction, names: Sequence[str]) -> None:
    """The deploy lock. Raises: Conflict, while another deployment is at one of these targets."""
    busy = deployments.busy(tx, names)
    if busy:
        said = ", ".join(f"{each.target} ({each.status}: {each.deployment})" for each in busy)
        message = f"Another deployment is at: {said}. Wait for it, or abort its plan."
        raise Conflict(message)


def _approvals(tx: Transaction) -> int:
    return int(configuration.all_values(tx).get("deploy.approvals") or 0)


def _planned(tx: Transaction, definition: dict[str, Any], by: str, *, is_paused: bool) -> tuple[str, int]:
    plan = str(plans.add(tx, flow.drafted(definition, submitted_by=by, is_ours=True)))
    if is_paused:
        plans.set_status(tx, plan, "paused", "it waits to be approved")
        return plan, 0
    return plan, stages.open_next(tx, plan)


def _tell(tx: Transaction, identifier: str, status: str, by: str) -> None:
    notices.add(
        tx,
        "deploy.events",
        {"deployment_id": identifier, "stage": "deploy", "status": status, "by": by},
        source="deploy",
        kind="intent",
        correlation_id=identifier,
    )


# Decided by people ---------------------------------------------------------------------------------------------------


def approve(identifier: str, given: dict[str, Any]) -> dict[str, Any]:
    """Let a deployment go on that waits for this: to begin, or past a gate that could not tell.

    `confirm` must be the deployment's `definition_hash`: what is approved is what was looked at.
    Raises: Unknown; PreconditionFailed, when it is another; Conflict, when nothing waits for it, or its asker approves it.
    """
    flow.check_enabled()
    by = str(log.field("operator"))
    wanted = str(id_of(identifier))

    def write(tx: Transaction) -> int:
        found = _locked(tx, wanted)
        if given.get("confirm") != found.definition_hash:
            message = "What is confirmed is not what stands there: look again, and send its definition_hash as `confirm`."
            raise PreconditionFailed(message)
        if found.held_for:
            _waive(tx, found, by)
        elif found.status != "waiting":
            message = f"The deployment is {found.status}: nothing waits to be approved."
            raise Conflict(message)
        elif by == found.requested_by:
            message = "Somebody else must approve it than who asked for it."
            raise Conflict(message)
        if not deployments.approve(tx, found.id, by):
            message = f"{by} has approved it before: {found.approvals_needed} must."
            raise Conflict(message)
        _tell(tx, found.id, "approved", by)
        missing = found.approvals_needed - len(set(found.approved_by) | {by})
        return _let_go(tx, found) if found.status == "waiting" and missing <= 0 else 0

    opened = db.replayed(write, "worker")
    if opened:
        work.call_for_more(most=min(opened, work.FIRST_RINGS))
    return deployment_status.show(wanted)


def _locked(tx: Transaction, identifier: str) -> Deployment:
    """Raises: Unknown."""
    found = deployments.get(tx, identifier)
    if found is not None and found.plan is not None:
        plans.lock(tx, found.plan)  # in the order of whoever ends the plan
    locked = deployments.lock(tx, identifier)
    if locked is None:
        message = f"There is no deployment {identifier}."
        raise Unknown(message)
    return locked


def _waive(tx: Transaction, found: Deployment, by: str) -> None:
    for part in deployments.parts(tx, found.id):
        held = {key: gate | {"waived_by": by} for key, gate in part.gates.items() if gate.get("outcome") == "inconclusive"}
        if held:
            deployments.note(tx, found.id, part.target, gates=held)


def _let_go(tx: Transaction, found: Deployment) -> int:
    _check_window(tx)
    deployments.set_status(tx, found.id, "running")
    opened = 0
    for plan in (found.plan, found.background):
        locked = plans.lock(tx, plan) if plan else None
        if locked is None or locked.status != "paused":
            message = "Its plan was stopped meanwhile: ask for a new deployment."
            raise Conflict(message)
        definition = locked.definition.get("constraints") or {}
        plans.set_status(tx, locked.id, "running", timebox=flow.timebox(definition))
        opened += stages.open_next(tx, locked.id)
    return opened


def freeze(identifier: str) -> dict[str, Any]:
    """Switch off deploys that nobody here asked for, at the targets of a deployment."""
    return _frozen(identifier, is_frozen=True)


def unfreeze(identifier: str) -> dict[str, Any]:
    """Let the targets of a deployment be deployed to by others again, such as by a push."""
    return _frozen(identifier, is_frozen=False)


def _frozen(identifier: str, *, is_frozen: bool) -> dict[str, Any]:
    """Raises: Unknown; Passive; Unavailable and SourceRefused, as the providers say: what was done until then stays done."""
    lease.held()
    by = str(log.field("operator"))
    with db.transaction("status", read_only=True) as tx:
        wanted = str(id_of(identifier))
        if deployments.get(tx, wanted) is None:
            message = f"There is no deployment {wanted}."
            raise Unknown(message)
        found = [(part, rows.get(tx, part.target)) for part in deployments.parts(tx, wanted)]
    changed = []
    for part, row in found:
        provider = targets.find(part.provider)
        if row is None or Ability.FREEZE not in provider.CAN:
            continue
        target = Target(row.name, row.provider, row.config)
        (provider.freeze if is_frozen else provider.unfreeze)(target)
        with db.transaction("worker") as tx:
            rows.set_frozen(tx, target.name, is_frozen=is_frozen, reason=f"by {by}")
            _tell(tx, wanted, "frozen" if is_frozen else "unfrozen", by)
        changed.append(target.name)
    return {"deployment_id": wanted, "frozen": is_frozen, "targets": changed}
