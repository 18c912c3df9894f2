"""deploy.diagnostics: what is good to know after a deploy, and never waited for: warmth, numbers, drift, the code's own state.

Each shard is one look at everything of its sort; the plan that it belongs to outlives the deploy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common import db, settings
from common.clients import audits, deploys, keeping
from common.clients.deploys import Done
from common.db import Transaction
from common.errors import AppError, Waiting
from common.outgoing import probe
from common.rules.deploys import Ability
from common.rules.shard import Context, Ran
from common.stores import deployments

KIND = "deploy.diagnostics"
IS_OURS = True
LOOKS = ("warmth", "metrics", "audit")
PATIENCE = 60  # seconds between two looks whether the deploy is over: nobody waits for this


def plan(config: dict[str, Any]) -> int:
    """One shard for each look."""
    deploys.counted(config)
    return len(LOOKS)


def run(shards: range, context: Context) -> Ran:
    """Look, once the deploy is over."""
    return deploys.ran(shards, context, lambda shard: _look(context, LOOKS[shard]))


def _look(context: Context, name: str) -> Done:
    identifier = str(context.stage.config["deployment"])
    with db.transaction("worker", read_only=True) as tx:
        deployment = deployments.get(tx, identifier)
    if deployment is not None and deployment.ended_at is None:
        message = f"The deployment {identifier} is {deployment.status}."
        raise Waiting(message, retry_after_seconds=PATIENCE)
    found = DO[name](context)

    def write(tx: Transaction) -> None:
        if deployment is not None:
            deploys.told(tx, deployment, f"diagnostics: {name}", "done", found=found)

    return Done({"look": name}, write)  # what it found is another thing each time, and is told


def _warmth(context: Context) -> dict[str, Any]:
    """How long each service takes to say that it is well, the first time and then again."""
    found = {}
    for target in context.stage.config["targets"]:
        at = deploys.place(context, target)
        if at.target.config.get("url"):
            found[target] = [round(probe.health(at.target).took_ms) for _ in range(3)]
    return found


def _metrics(context: Context) -> dict[str, Any]:
    """What each provider measured since the target went live."""
    found: dict[str, Any] = {}
    for target in context.stage.config["targets"]:
        at = deploys.place(context, target)
        if at.can(Ability.METRICS):
            try:
                found[target] = dict(at.provider.measured(at.target, at.part.verified_at or at.deployment.created_at, at.now))
            except AppError as error:
                found[target] = {"error": error.detail}
    return found


def _audit(context: Context) -> dict[str, Any]:
    """What ARIE finds in the code that runs."""
    if not settings.load().hxo_auto_audit_after_deploy:
        return {"skipped": "HXO_AUTO_AUDIT_AFTER_DEPLOY is false"}
    with keeping.kept(context):
        return audits.run(str(context.stage.config["deployment"]))


DO: Mapping[str, Callable[[Context], dict[str, Any]]] = {"warmth": _warmth, "metrics": _metrics, "audit": _audit}
