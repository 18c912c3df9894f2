"""Readiness: whether work may be sent to this release, and the short diagnosis.

Ready is what was read back: the database answers, its schema is at least what this code needs, this release is not being
drained, and the shards deploy.bootstrap and deploy.runtime of its last deploy have succeeded. "Its last deploy" is the newest
deployment that brings this release (its commit or artifact is RELEASE), so a deploy of anything else, or of the next release,
leaves a release that serves as ready as it was. A process that does not know which release it is (RELEASE is empty) takes
every deploy for its own. A deploy that waits for approval, was cancelled or was taken back does not count: what stood before
it does again. Before the first one the database and its schema suffice. What a deploy does in the background never counts.
Nor does the lease: a PASSIVE deployment receives as well as an ACTIVE one, and the message says which it is.
"""

from __future__ import annotations

from typing import Any

from common import db, settings
from common.db import Transaction
from common.errors import Unavailable
from common.flows import lease, migrate
from common.stores import drains, health, holding, leases, parity, schema_versions, tickets
from common.stores.parity import Required

SAID = {"waiting": "has not begun", "open": "is not finished", "failed": "failed"}


def ready() -> tuple[int, dict[str, Any]]:
    """200 {status: "ready", message}; or 503 {status: "not_ready", error}, with everything that stands in the way."""
    try:
        with db.transaction("status", read_only=True) as tx:
            version = schema_versions.newest(tx)
            if version is None or version < migrate.wanted_version():  # older: what else would be read may not be there
                return _not_ready(f"The schema is at {version}, this code needs {migrate.wanted_version()}.")
            reasons, said = _standing(tx)
    except Unavailable as error:
        return _not_ready(error.detail)
    if reasons:
        return _not_ready(" ".join(reasons))
    return 200, {"status": "ready", "message": f"The database answers and has schema {version}{said}."}


def _standing(tx: Transaction) -> tuple[list[str], str]:
    """Why this release is not ready, and what to say when nothing of that is so."""
    current = settings.load()
    required = parity.required(tx, current.release)
    reasons = [_said(stage) for stage in required if stage.status != "succeeded"]
    if drains.is_draining(tx, current.deployment, current.running_release):
        reasons.append(f"The release {current.running_release} is being drained.")
    names = " and ".join(stage.kind.rpartition(".")[2] for stage in required)
    said = f"; {names} of the deploy {required[0].deployment} succeeded" if required else ""
    state = lease.shown(leases.find(tx, holding.ACTIVE))["lock_state"]
    return reasons, said + (f"; this deployment is {state}" if state else "")


def _said(stage: Required) -> str:
    return f"{stage.kind.rpartition('.')[2]} {SAID[stage.status]} in the deploy {stage.deployment}."


def _not_ready(error: str) -> tuple[int, dict[str, Any]]:
    return 503, {"status": "not_ready", "error": error}


def diagnostics() -> dict[str, Any]:
    """What /health/diag tells: `status` is degraded while a ticket is not resolved; `last_ticket` is null without one."""
    with db.transaction("status", read_only=True) as tx:
        summary, counts, last = health.summary(tx), tickets.counts(tx), tickets.last(tx)
    return {
        "status": "degraded" if counts.unresolved else "ok",
        "queue_depth": summary.depth,
        "last_ticket": last and last._asdict(),
        "ticket_count": counts.unresolved,
    }
