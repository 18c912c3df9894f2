"""Deployments: what was asked to run where, how far that is, and what stood there before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from common import encoding
from common.db import Transaction
from common.stores import locks


@dataclass(frozen=True)
class Draft:
    """A deployment to be stored."""

    kind: str
    status: str
    commit: str | None
    artifact: str | None
    definition: dict[str, Any]
    definition_hash: str
    strategy: dict[str, Any]
    gates: list[dict[str, Any]]
    background_work: dict[str, Any]
    requested_by: str
    approvals_needed: int = 0
    rolls_back: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    reason: str | None = None


class Deployment(NamedTuple):
    """One deployment."""

    id: str
    kind: str
    status: str
    commit: str | None
    artifact: str | None
    definition_hash: str
    strategy: dict[str, Any]
    gates: list[dict[str, Any]]
    plan: str | None
    background: str | None
    rolls_back: str | None
    rolled_back_by: str | None
    schema_version: int
    requested_by: str
    approvals_needed: int
    approved_by: list[str]
    held_for: str | None
    reason: str | None
    created_at: datetime
    live_at: datetime | None
    ended_at: datetime | None


class Part(NamedTuple):
    """One target of a deployment."""

    target: str
    no: int
    wave: int
    state: str
    key: str
    intended_at: datetime | None
    provider_id: str | None
    previous: dict[str, Any] | None
    config_hash: str | None
    serving: dict[str, Any] | None
    verified_at: datetime | None
    promoted_at: datetime | None
    released_at: datetime | None
    gates: dict[str, Any]
    reason: str | None
    updated_at: datetime
    provider: str
    is_frozen: bool


class LastLive(NamedTuple):
    """What the last live deployment at a target wanted there; a rollback wanted what was there before."""

    deployment: str
    id: str | None  # of the provider's deploy, as far as it was wanted by that
    commit: str | None
    artifact: str | None
    gates: list[dict[str, Any]]
    since: datetime  # what its log said before is not of it

    def wanted(self) -> dict[str, Any]:
        """As it is shown."""
        return {"deployment_id": self.deployment, "id": self.id, "commit": self.commit, "artifact": self.artifact}


class Busy(NamedTuple):
    """A target that a deployment is at."""

    target: str
    deployment: str
    status: str


class Keyed(NamedTuple):
    """The deployment that an idempotency key stands for."""

    id: str
    plan: str | None
    request_hash: str | None


class Now(NamedTuple):
    """The database's clock."""

    now: datetime
    seconds: float | None


class Freeze(NamedTuple):
    """A window in which nothing is deployed."""

    reason: str | None
    until: datetime


def queue_up(tx: Transaction) -> None:
    """Be the only one that looks which targets are free, until this transaction ends."""
    locks.wait(tx, "deploys")


def add(tx: Transaction, draft: Draft) -> str | None:
    """The id of a new deployment; None when its idempotency key is taken."""
    identifier: str | None = tx.value(
        "deployments.add",
        kind=draft.kind,
        status=draft.status,
        commit=draft.commit,
        artifact=draft.artifact,
        definition=encoding.dumps(draft.definition),
        definition_hash=draft.definition_hash,
        strategy=encoding.dumps(draft.strategy),
        gates=encoding.dumps(draft.gates),
        background_work=encoding.dumps(draft.background_work),
        rolls_back=draft.rolls_back,
        requested_by=draft.requested_by,
        approvals_needed=draft.approvals_needed,
        idempotency_key=draft.idempotency_key,
        request_hash=draft.request_hash,
        reason=draft.reason,
    )
    return identifier


def add_targets(tx: Transaction, deployment: str, targets: Sequence[Mapping[str, Any]]) -> None:
    """Its targets: {target, no, wave, key, previous} each.

    Raises: Conflict, when another deployment is at one of them.
    """
    tx.run("deployments.add_targets", deployment=deployment, targets=encoding.dumps(list(targets)))


def busy(tx: Transaction, targets: Sequence[str]) -> list[Busy]:
    """Those of these targets that a deployment is at."""
    return tx.all(Busy, "deployments.busy", targets=encoding.dumps(list(targets)))


def by_key(tx: Transaction, key: str) -> Keyed | None:
    """The deployment that an idempotency key stands for."""
    return tx.one(Keyed, "deployments.by_key", key=key)


def plan_is(tx: Transaction, identifier: str, plan: str, background: str | None) -> None:
    """Write down which plans carry it out."""
    tx.run("deployments.plan_is", id=identifier, plan=plan, background=background)


def get(tx: Transaction, identifier: str) -> Deployment | None:
    """One deployment."""
    return tx.one(Deployment, "deployments.get", id=identifier)


def lock(tx: Transaction, identifier: str) -> Deployment | None:
    """One deployment, locked until the transaction ends."""
    return tx.one(Deployment, "deployments.lock", id=identifier)


def of_plan(tx: Transaction, plan: str) -> Deployment | None:
    """The deployment that a plan carries out, locked."""
    return tx.one(Deployment, "deployments.of_plan", plan=plan)


def newest(tx: Transaction, *, limit: int, before: datetime | None = None) -> list[Deployment]:
    """Deployments, the newest first."""
    return tx.all(Deployment, "deployments.newest", limit=limit, before=before)


def set_status(tx: Transaction, identifier: str, status: str, reason: str | None = None) -> None:
    """It stands elsewhere now."""
    tx.run("deployments.set_status", id=identifier, status=status, reason=reason)


def hold(tx: Transaction, identifier: str, held_for: str) -> bool:
    """Somebody must decide before it goes on; False when that is known already."""
    return tx.run("deployments.hold", id=identifier, held_for=held_for) == 1


def approve(tx: Transaction, identifier: str, by: str) -> bool:
    """One more who approves; False when they have, and nothing is held for them."""
    return tx.run("deployments.approve", id=identifier, by=by) == 1


def rolled_back_by(tx: Transaction, identifier: str, by: str) -> None:
    """Write down which deployment takes it back."""
    tx.run("deployments.rolled_back_by", id=identifier, by=by)


def parts(tx: Transaction, deployment: str) -> list[Part]:
    """The targets of a deployment, in order."""
    return tx.all(Part, "deployments.targets", deployment=deployment)


def part(tx: Transaction, deployment: str, target: str) -> Part | None:
    """One target of a deployment."""
    return tx.one(Part, "deployments.target", deployment=deployment, target=target)


def last_live(tx: Transaction, target: str) -> LastLive | None:
    """The last deployment that is live at a target."""
    return tx.one(LastLive, "deployments.last_live", target=target)


def intend(tx: Transaction, deployment: str, target: str) -> datetime | None:
    """The provider is about to be asked, from now on; None when that was written down before."""
    at: datetime | None = tx.value("deployments.intend", deployment=deployment, target=target)
    return at


def intend_again(tx: Transaction, deployment: str, target: str, before: datetime) -> bool:
    """The provider is asked once more, having been asked at `before`; False when somebody else was faster."""
    return tx.value("deployments.intend_again", deployment=deployment, target=target, before=before) is not None


def note(
    tx: Transaction,
    deployment: str,
    target: str,
    *,
    state: str | None = None,
    provider_id: str | None = None,
    previous: Mapping[str, Any] | None = None,
    config_hash: str | None = None,
    serving: Mapping[str, Any] | None = None,
    gates: Mapping[str, Any] | None = None,
    reason: str | None = None,
) -> None:
    """What has become known of a target; what is None stays as it is, and gates are added to those that stand there."""
    tx.run(
        "deployments.note",
        deployment=deployment,
        target=target,
        state=state,
        provider_id=provider_id,
        previous=_document(previous),
        config_hash=config_hash,
        serving=_document(serving),
        gates=_document(gates),
        reason=reason,
    )


def _document(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else encoding.dumps(value)


def mark(tx: Transaction, deployment: str, target: str, what: str) -> None:
    """A target is `verified`, `promoted`, or `released` for others."""
    tx.run("deployments.mark", deployment=deployment, target=target, what=what)


def release(tx: Transaction, deployment: str) -> None:
    """Nothing more is done to its targets."""
    tx.run("deployments.release", deployment=deployment)


def acquire(tx: Transaction, deployment: str) -> None:
    """Have its targets to itself once more.

    Raises: Conflict, when another deployment is at one of them.
    """
    tx.run("deployments.acquire", deployment=deployment)


def is_superseded(tx: Transaction, identifier: str) -> bool:
    """Whether one of its targets has been deployed to since, with success."""
    return bool(tx.value("deployments.is_superseded", id=identifier))


def now(tx: Transaction, since: datetime | None = None) -> Now:
    """The database's clock, and the seconds since a time."""
    found = tx.one(Now, "deployments.now", since=since)
    assert found is not None  # noqa: S101 - a query without a condition
    return found


def poll_seconds(tx: Transaction) -> float:
    """How often a provider is asked how far it is."""
    return float(tx.value("deployments.poll_seconds"))


def freeze(tx: Transaction) -> Freeze | None:
    """The window in which nothing is deployed, if there is one now."""
    return tx.one(Freeze, "deployments.freeze")
