"""deploy.bootstrap: what must be so before anything is touched. The first shard is about ourselves, each other about one target.

A target is found complete when its provider answers, what it serves now is known (that is what it can be put back to), and
the variables that it needs are set there.
"""

from __future__ import annotations

from typing import Any

from common import settings
from common.clients import deploys
from common.clients.deploys import Done
from common.db import Transaction
from common.errors import SourceRefused
from common.rules.deploys import Ability, fingerprint
from common.rules.shard import Context, Ran
from common.stores import deployments

KIND = "deploy.bootstrap"
IS_OURS = True


def plan(config: dict[str, Any]) -> int:
    """One shard for us, and one for each target."""
    return deploys.counted(config, more=1)


def run(shards: range, context: Context) -> Ran:
    """Look, and write down what is live."""
    return deploys.ran(shards, context, lambda shard: _target(context, shard - 1) if shard else _ourselves())


def _ourselves() -> Done:
    """Whoever runs this has read its settings and reached its database; what deploys need besides is a key to sign with."""
    current = settings.load()
    return Done({"subject": "tidemark", "deployment": current.deployment, "zero_trust": current.hxo_zero_trust})


def _target(context: Context, no: int) -> Done:
    at = deploys.place(context, context.stage.config["targets"][no])
    former = at.deployment.strategy["replaces"].get(at.target.name)
    if former is not None:
        deploys.told_apart(at, former)
    try:
        serving = at.provider.serving(at.target)
        environment = at.provider.environment(at.target) if at.can(Ability.ENVIRONMENT) else None
    except SourceRefused as error:
        deploys.refuse("refused", f"{at.target.name} cannot be deployed to: {error.detail}")
    missing = sorted(set(at.target.config.get("required_env") or ()) - set(environment or ()))
    if environment is not None and missing:
        deploys.refuse(
            "incomplete", f"{at.target.name} lacks the variables {', '.join(missing)}: set them at {at.target.provider}."
        )
    hashed = None if environment is None else fingerprint(environment, settings.load().secret_key)

    def write(tx: Transaction) -> None:
        # What was live before the first look stays what can be put back, however often this runs.
        known = deployments.part(tx, at.deployment.id, at.target.name)
        previous = serving._asdict() if serving.id and known and known.previous is None else None
        deployments.note(tx, at.deployment.id, at.target.name, previous=previous, serving=serving._asdict(), config_hash=hashed)
        deploys.told(tx, at.deployment, "bootstrap", "complete", target=at.target.name)

    return Done({"subject": at.target.name, "serving": serving.id, "commit": serving.commit, "config_hash": hashed}, write)
