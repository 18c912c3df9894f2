"""deploy.rollback: put a target back to what it served before, and make sure that it stays there.

In this order, so that nothing undoes it: deploys that nobody here asked for are switched off, what is still on its way is
stopped, what served before is restored, and only what is read back counts. Each step is found done when this is tried again.
"""

from __future__ import annotations

from typing import Any

from common import db
from common.clients import deploys
from common.clients.deploys import Done, Place
from common.db import Transaction
from common.errors import Unknown
from common.rules.deploys import OVER, Ability, Deploy, Point, Serving, Wanted, is_commit
from common.rules.shard import Context, Ran
from common.stores import deployments
from common.stores import targets as rows
from common.stores.deployments import Part

KIND = "deploy.rollback"
IS_OURS = True
BY_ITSELF = "tidemark"  # who asks for a rollback that nobody asked for


def plan(config: dict[str, Any]) -> int:
    """One shard for each target."""
    return deploys.counted(config)


def run(shards: range, context: Context) -> Ran:
    """Do what is left to do at the provider, and look."""
    return deploys.ran(shards, context, lambda shard: _target(context, shard))


def _target(context: Context, no: int) -> Done:
    at = deploys.place(context, context.stage.config["targets"][no])
    former = at.deployment.strategy["replaces"].get(at.target.name)
    point = Point(**at.part.previous) if at.part.previous else None
    if former is None and point is None:
        deploys.refuse("nothing_before", f"Nothing was live at {at.target.name} before: there is nothing to put back.")
    _freeze(context, at)
    ours = _stop(at)
    if former is not None:  # what people use stands beside it, and has not been touched
        deploys.handed_back(context, at, former)
    serving = deploys.served(at)
    if former is None and point is not None and not _is_back(serving, point):
        _check_ours(at, serving, ours)
        restored = deploys.asked(context, at, Wanted(point.commit, point.artifact), lambda: _restored(at, point))
        deploys.finished(at, restored)
        at.wait("it was restored, and is not served yet")

    def write(tx: Transaction) -> None:
        deployments.mark(tx, at.deployment.id, at.target.name, "verified")
        deployments.note(tx, at.deployment.id, at.target.name, state="live")
        deploys.told(tx, at.deployment, "rollback", "verified", target=at.target.name, serving=serving.id)

    return Done({"target": at.target.name, "serving": serving._asdict(), "point": point and point._asdict()}, write)


def _freeze(context: Context, at: Place) -> None:
    """Else the next push would bring back what was just taken away."""
    if not at.can(Ability.FREEZE) or (at.part.is_frozen and at.provider.is_frozen(at.target)):
        return
    context.beat(None)
    at.provider.freeze(at.target)
    with db.transaction("worker") as tx:
        reason = f"rolled back by the deployment {at.deployment.id}"
        rows.set_frozen(tx, at.target.name, is_frozen=True, reason=reason)
        deploys.told(tx, at.deployment, "freeze", "frozen", target=at.target.name)


def _stop(at: Place) -> Deploy | None:
    """Stop the deploy that is taken back, if it is still on its way; which one it is, None when none was made.

    Raises: Waiting, until the provider says that it is over.
    """
    with db.transaction("worker", read_only=True) as tx:
        undone = deployments.part(tx, str(at.deployment.rolls_back), at.target.name)
        asked = deployments.get(tx, str(at.deployment.rolls_back))
    if undone is None or asked is None or undone.intended_at is None:
        return None
    deploy = _begun(at, undone, asked)
    if deploy is not None and deploy.state not in OVER:
        if at.can(Ability.CANCEL):
            at.provider.cancel(at.target, deploy.id)
        at.wait(f"the deploy {deploy.id} is being stopped")
    return deploy


def _check_ours(at: Place, serving: Serving, ours: Deploy | None) -> None:
    """What somebody else has put there meanwhile is not ours to take away by ourselves; a person who asks for it may.

    Raises: Refused.
    """
    if at.deployment.requested_by != BY_ITSELF or at.part.intended_at is not None or ours is None:
        return
    if serving.id in (None, ours.id) or serving.commit is None or is_commit(serving.commit, ours.commit):
        return
    what = serving.commit or serving.artifact
    deploys.refuse("replaced", f"{at.target.name} serves {what} by now, which somebody else deployed: it is left as it is.")


def _begun(at: Place, undone: Part, asked: deployments.Deployment) -> Deploy | None:
    """The deploy that is taken back, though whoever began it may have died before they wrote down which it was."""
    if undone.provider_id is not None:
        try:
            return at.provider.get(at.target, undone.provider_id)  # type: ignore[no-any-return]
        except Unknown:
            return None
    wanted = Wanted(asked.commit, asked.artifact)
    found = at.provider.found(at.target, wanted, undone.key, asked.created_at - deploys.SKEW)
    if not found and undone.intended_at is not None and at.now - undone.intended_at < deploys.VISIBLE:
        at.wait("the deploy that is to be stopped may not be listed yet")
    return found[0] if found else None


def _restored(at: Place, point: Point) -> Deploy | None:
    if not at.can(Ability.RESTORE):
        return at.provider.trigger(at.target, Wanted(point.commit, point.artifact), at.part.key)  # type: ignore[no-any-return]
    return at.provider.restore(at.target, point, at.part.key)  # type: ignore[no-any-return]


def _is_back(serving: Serving, point: Point) -> bool:
    """Whether what is served is what was: the same deploy, or another one of the same commit or artifact."""
    if point.artifact is not None and serving.artifact is not None:
        return serving.artifact == point.artifact
    if point.commit is not None:
        return is_commit(serving.commit, point.commit)
    return serving.id == point.id
