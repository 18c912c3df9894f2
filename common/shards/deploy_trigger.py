"""deploy.trigger: begin the deploy of each target of a wave, once, however often this is tried."""

from __future__ import annotations

from typing import Any

from common import db
from common.clients import deploys
from common.clients.deploys import Done
from common.db import Transaction
from common.rules.shard import Context, Ran
from common.stores import deployments

KIND = "deploy.trigger"
IS_OURS = True


def plan(config: dict[str, Any]) -> int:
    """One shard for each target of the wave."""
    return deploys.counted(config)


def run(shards: range, context: Context) -> Ran:
    """Ask the provider, or find what was asked before."""
    return deploys.ran(shards, context, lambda shard: _target(context, shard))


def _target(context: Context, no: int) -> Done:
    at = deploys.place(context, context.stage.config["targets"][no])
    if at.part.intended_at is None:
        with db.transaction("worker", read_only=True) as tx:
            window = deployments.freeze(tx)
        if window is not None:
            code = "frozen"
            deploys.refuse(
                code, f"Nothing is deployed until {window.until:%Y-%m-%d %H:%M} UTC: {window.reason or 'a freeze window'}."
            )
    deploy = deploys.asked(context, at, at.wanted, lambda: at.provider.trigger(at.target, at.wanted, at.part.key))

    def write(tx: Transaction) -> None:
        deploys.told(tx, at.deployment, "trigger", "begun", target=at.target.name, provider_id=deploy.id)

    return Done({"target": at.target.name, "deploy": deploy.id, "key": at.part.key}, write)
