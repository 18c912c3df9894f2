"""deploy.finalize: every target is where it should be. Says so, lets others at them, and rings the site that waits for it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from common import db, log, settings
from common.clients import deploys
from common.clients.deploys import Done
from common.db import Transaction
from common.errors import AppError, Broken
from common.outgoing import egress
from common.outgoing.calls import Call
from common.rules.shard import Context, Ran
from common.stores import deployments, notices
from common.stores.deployments import Deployment, Part

KIND = "deploy.finalize"
IS_OURS = True
SITE = "netlify"
GOOD = range(200, 300)


def plan(config: dict[str, Any]) -> int:
    """One."""
    deploys.check(config)
    return 1


def run(shards: range, context: Context) -> Ran:
    """Say how it ended."""
    return deploys.ran(shards, context, lambda _: _end(context))


def _end(context: Context) -> Done:
    identifier = str(context.stage.config["deployment"])
    with db.transaction("worker", read_only=True) as tx:
        deployment = deployments.get(tx, identifier)
        parts = deployments.parts(tx, identifier)
    if deployment is None:
        message = f"There is no deployment {identifier}."
        raise Broken(message)
    rung = deployment.kind == "deploy" and _ring_site(context, parts)
    serving = {part.target: part.serving for part in parts}

    def write(tx: Transaction) -> None:
        if deployment.kind == "deploy":
            _live(tx, deployment, parts)
        else:
            _back(tx, deployment)

    return Done({"deployment": identifier, "serving": serving, "site_rung": rung}, write)


def _live(tx: Transaction, deployment: Deployment, parts: list[Part]) -> None:
    deployments.set_status(tx, deployment.id, "live")
    deployments.release(tx, deployment.id)
    notices.add(
        tx,
        "deploy.outcome.success",
        {
            "deployment_id": deployment.id,
            "plan_id": deployment.plan,
            "targets": [part.target for part in parts],
            "commit": deployment.commit,
            "artifact": deployment.artifact,
        },
        source="deploy",
        dedupe_key=f"deploy:{deployment.id}:success",
        correlation_id=deployment.id,
    )


def _back(tx: Transaction, deployment: Deployment) -> None:
    undone = str(deployment.rolls_back)
    deployments.set_status(tx, deployment.id, "live", f"took back the deployment {undone}")
    deployments.release(tx, deployment.id)
    former = deployments.lock(tx, undone)
    deployments.set_status(tx, undone, "rolled_back", former.reason if former else None)
    deploys.told(tx, deployment, "rollback", "complete", rolls_back=undone)


def _ring_site(context: Context, parts: list[Part]) -> bool:
    """Ask the site to be built, now that its backend is live; a build too many does no harm, and none does not undo a deploy."""
    hook = settings.load().netlify_deploy_hook
    if not hook or not settings.load().genesis_enabled or any(part.provider == SITE for part in parts):
        return False
    parts_ = urlsplit(hook)
    context.beat(None)
    try:
        origin, target = f"{parts_.scheme}://{parts_.netloc}", urlunsplit(("", "", parts_.path or "/", parts_.query, ""))
        answer = egress.sent(Call("POST", origin, target, {"Content-Length": "0", "User-Agent": "Tidemark"}))
    except AppError as error:
        log.error("deploy.site_not_rung", reason=error.detail)
        return False
    is_rung = answer.status in GOOD
    if not is_rung:
        log.error("deploy.site_not_rung", status=answer.status)
    return is_rung
