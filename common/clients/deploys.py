"""What deploys do at a provider: ask once, whatever becomes of us; look again; never believe what was not read back.

No provider takes an idempotency key. So the intent is written down first, with a mark to find its deploy by; who finds an
intent without a deploy looks for one before asking again, and asks again only after the provider has had time to list it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, NoReturn

from common import db, encoding, log, targets
from common.db import Transaction
from common.errors import Broken, Conflict, Invalid, SourceRefused, Unknown, Waiting
from common.outgoing import probe, switching
from common.rules import merkle
from common.rules.deploys import OVER, Ability, Deploy, Serving, State, Target, Wanted, is_commit
from common.rules.shard import Context, Failure, Ran
from common.stores import deployments, notices, plans
from common.stores import targets as rows
from common.stores.deployments import Deployment, Part

VISIBLE = timedelta(seconds=60)  # in which a provider lists what it was asked for
SKEW = timedelta(seconds=30)  # between its clock and ours


class Refused(Exception):
    """A shard of a deploy cannot go well, however often it is tried."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(code, message, is_final=True)


def refuse(code: str, message: str) -> NoReturn:
    """Raises: Refused."""
    raise Refused(code, message)


class Place(NamedTuple):
    """One target of a deployment, with its provider."""

    deployment: Deployment
    part: Part
    target: Target
    provider: Any  # a module of common/targets
    now: datetime
    poll_seconds: float

    @property
    def wanted(self) -> Wanted:
        """What is to run there."""
        return Wanted(self.deployment.commit, self.deployment.artifact)

    def can(self, ability: Ability) -> bool:
        """Whether the provider offers something."""
        return ability in self.provider.CAN

    def wait(self, what: str) -> NoReturn:
        """Raises: Waiting, to be called again for this."""
        message = f"{self.target.name}: {what}"
        raise Waiting(message, retry_after_seconds=math.ceil(self.poll_seconds))


def place(context: Context, name: str) -> Place:
    """A target of the deployment that a stage belongs to.

    Raises: Broken, when the stage's config names none that there is.
    """
    identifier = str(context.stage.config["deployment"])
    with db.transaction("worker", read_only=True) as tx:
        deployment = deployments.get(tx, identifier)
        part = deployments.part(tx, identifier, name)
        row = rows.get(tx, name)
        now, poll = deployments.now(tx).now, deployments.poll_seconds(tx)
    if deployment is None or part is None or row is None:
        message = f"There is no target {name} of a deployment {identifier}."
        raise Broken(message)
    target = Target(row.name, row.provider, row.config)
    return Place(deployment, part, target, targets.find(row.provider), now, poll)


def note(at: Place, **known: Any) -> None:
    """Write down what has become known of a target."""
    with db.transaction("worker") as tx:
        deployments.note(tx, at.deployment.id, at.target.name, **known)


# Asking ----------------------------------------------------------------------------------------------------------


def asked(context: Context, at: Place, wanted: Wanted, ask: Callable[[], Deploy | None]) -> Deploy:
    """The deploy of `wanted` that an intent made at a provider; `ask` begins it, if it has not been asked.

    Raises: Waiting, while the provider has not said which it is; Refused, when it does not do it.
    """
    part = at.part
    if part.provider_id is not None:
        return at.provider.get(at.target, part.provider_id)  # type: ignore[no-any-return]
    if part.intended_at is not None:
        found = at.provider.found(at.target, wanted, part.key, at.deployment.created_at - SKEW)
        if found:
            return _adopted(at, found)
        if at.now - part.intended_at < VISIBLE:
            at.wait("the provider has not listed the deploy yet")
    context.beat(None)  # raises Lost: whoever was stopped for long must not ask beside another
    with db.transaction("worker") as tx:
        if part.intended_at is None:
            is_ours = deployments.intend(tx, at.deployment.id, at.target.name) is not None
        else:
            is_ours = deployments.intend_again(tx, at.deployment.id, at.target.name, part.intended_at)
    if not is_ours:
        at.wait("another worker is asking the provider")
    try:
        deploy = ask()
    except Conflict as error:
        at.wait(f"something else is going on there: {error.detail}")
    except (SourceRefused, Unknown) as error:
        refuse("refused", error.detail)
    if deploy is None:
        at.wait("the provider took it, and has not said which deploy it is")
    return _adopted(at, [deploy])


def _adopted(at: Place, found: list[Deploy]) -> Deploy:
    """The first of the deploys that an intent made is ours; others were made by asking twice, and are cancelled."""
    first, *others = found
    for other in others:
        if at.can(Ability.CANCEL) and other.state not in OVER:
            log.warning("deploy.doubled", target=at.target.name, kept=first.id, cancelled=other.id)
            at.provider.cancel(at.target, other.id)
    note(at, provider_id=first.id, state=first.state.value)
    return first


def finished(at: Place, deploy: Deploy) -> Deploy:
    """A deploy that its provider calls live.

    Raises: Waiting, while it is on its way, or in a state that nobody knows: that is never taken for live; Refused, when it
    has come to nothing.
    """
    if deploy.state.value != at.part.state:
        note(at, state=deploy.state.value)
    if deploy.state is State.UNKNOWN:
        log.warning("deploy.unknown_state", target=at.target.name, said=deploy.said)
        at.wait(f"the provider says {deploy.said!r}, which nobody here knows")
    if deploy.state is State.SUPERSEDED:
        refuse("superseded", f"Another deploy of {at.target.name} took the place of {deploy.id}.")
    if deploy.state not in OVER:
        at.wait(f"the deploy is {deploy.state.value}")
    if deploy.state is not State.LIVE:
        said = f": {deploy.message}" if deploy.message else ""
        refuse(deploy.state.value, f"The deploy {deploy.id} of {at.target.name} is {deploy.state.value} ({deploy.said}){said}")
    return deploy


# Reading back ----------------------------------------------------------------------------------------------------


def served(at: Place) -> Serving:
    """What is live: the deploy by the provider's word, the commit by the running service's own, where it can be asked.

    A service that can be asked and does not answer leaves the commit unknown, whatever its provider says.
    """
    serving: Serving = at.provider.serving(at.target)
    if at.target.config.get("version_path"):
        serving = serving._replace(commit=probe.version(at.target))
    note(at, serving=serving._asdict())
    return serving


def serves(serving: Serving, wanted: Wanted) -> bool:
    """Whether what is live is what was wanted. Nothing known is not it."""
    if wanted.artifact is not None:
        return serving.artifact == wanted.artifact
    return is_commit(serving.commit, wanted.commit)


# Voting ----------------------------------------------------------------------------------------------------------


class Ballot(NamedTuple):
    """What is voted on, and until when."""

    subject: str
    deadline: datetime


def ballot(context: Context) -> Ballot:
    """The vote on a wave. Its time began when its stage opened.

    Raises: Broken, when there is no such deployment.
    """
    identifier, wave = str(context.stage.config["deployment"]), context.stage.config["wave"]
    with db.transaction("worker", read_only=True) as tx:
        deployment = deployments.get(tx, identifier)
        opened = [stage.opened_at for stage in plans.progress(tx, context.stage.plan) if stage.id == f"vote-{wave}"]
    if deployment is None or not opened or opened[0] is None:
        message = f"There is no vote on wave {wave} of a deployment {identifier}."
        raise Broken(message)
    return Ballot(f"deploy:{identifier}:{wave}", opened[0] + timedelta(seconds=deployment.strategy["vote_seconds"]))


# Blue and green ----------------------------------------------------------------------------------------------------


def told_apart(at: Place, former: str) -> None:
    """Raises: Refused, when both sides would say the same: then nobody could tell that the traffic was switched."""
    if is_commit(probe.version(_other(at, former)), at.deployment.commit):
        refuse("same_version", f"{former} serves {at.deployment.commit} already: there is nothing to switch to {at.target.name}.")


def handed_over(context: Context, at: Place, former: str) -> None:
    """The traffic of `former` goes to a target: asked for, and read back where people come in; then `former` is drained.

    Raises: Waiting, until it is so; Refused, when whoever directs the traffic says no.
    """
    other = _other(at, former)
    try:
        if not is_commit(switching.public(at.target), at.deployment.commit):
            context.beat(None)
            is_asked = switching.switch(to=at.target, former=other, deployment=at.deployment.id)
            at.wait("the traffic is being switched" if is_asked else f"somebody must switch the traffic from {former} to it")
        context.beat(None)
        switching.drain(other)
    except SourceRefused as error:
        refuse("refused", error.detail)


def handed_back(context: Context, at: Place, former: str) -> None:
    """The traffic goes to `former` again, which may have been drained meanwhile.

    Raises: as `handed_over`.
    """
    other = _other(at, former)
    try:
        context.beat(None)
        switching.drain(other, resume=True)
        was = probe.version(other)
        if was is None or not is_commit(switching.public(at.target), was):
            is_asked = switching.switch(to=other, former=at.target, deployment=at.deployment.id)
            at.wait("the traffic is being switched back" if is_asked else f"somebody must switch the traffic back to {former}")
    except SourceRefused as error:
        refuse("refused", error.detail)


def _other(at: Place, name: str) -> Target:
    with db.transaction("worker", read_only=True) as tx:
        row = rows.get(tx, name)
    if row is None:
        message = f"The target {name}, which {at.target.name} stands in for, is gone."
        raise Broken(message)
    return Target(row.name, row.provider, row.config)


# As shards -------------------------------------------------------------------------------------------------------


class Done(NamedTuple):
    """What became of one shard of a deploy: what its leaf says, and what is written with it."""

    outcome: dict[str, Any]
    effect: Callable[[Transaction], Any] | None = None


def ran(shards: range, context: Context, one: Callable[[int], Done]) -> Ran:
    """Every shard of a chunk by itself; Refused is its failure, anything else the engine's business."""
    leaves: list[bytes] = []
    failures: dict[int, Failure] = {}
    effects: list[Callable[[Transaction], Any]] = []
    for shard in shards:
        try:
            done = one(shard)
        except Refused as refused:
            failures[shard] = refused.failure
            leaves.append(b"")
            continue
        leaves.append(merkle.leaf(context.hash, encoding.canonical(done.outcome)))
        effects += [done.effect] if done.effect else []

    def write(tx: Transaction) -> None:
        for effect in effects:
            effect(tx)

    return Ran(leaves, failures, write if effects else None)


def counted(config: Mapping[str, Any], *, more: int = 0) -> int:
    """How many shards a stage has that goes over its targets.

    Raises: Invalid, with pointers, as `check` does, and for targets that are no list of names.
    """
    names = config.get("targets")
    faults = _faults(config)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) + more == 0:
        faults.append({"pointer": "/targets", "message": "must be a list of names of targets"})
    if faults or not isinstance(names, list):
        raise _invalid(faults)
    return len(names) + more


def check(config: Mapping[str, Any]) -> None:
    """Raises: Invalid, unless a stage says which deployment it belongs to."""
    if faults := _faults(config):
        raise _invalid(faults)


def _faults(config: Mapping[str, Any]) -> list[dict[str, str]]:
    if isinstance(config.get("deployment"), str):
        return []
    return [{"pointer": "/deployment", "message": "must be the id of a deployment"}]


def _invalid(faults: list[dict[str, str]]) -> Invalid:
    return Invalid("A stage of a deploy is told what it belongs to.", errors=faults)


def told(tx: Transaction, deployment: Deployment, stage: str, status: str, **more: Any) -> None:
    """Tell the bus of a step, once."""
    notices.add(
        tx,
        "deploy.events",
        {"deployment_id": deployment.id, "stage": stage, "status": status, **more},
        source="deploy",
        dedupe_key=f"deploy:{deployment.id}:{stage}:{status}:{more.get('target', '')}:{more.get('gate', '')}",
        correlation_id=deployment.id,
    )
