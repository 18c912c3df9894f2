"""The summary: how plans and dependencies stand, told once a minute as long as there are plans that are not over."""

from __future__ import annotations

from typing import Any

from common import db
from common.db import Transaction
from common.flows import plan_status
from common.rules.links import ORIGINAL, Status
from common.stores import links, notices

MOST = 200  # plans


def tell() -> bool:
    """Tell hxo.status.summary, unless it was told in this minute or every plan is over."""
    with db.transaction("worker") as tx:
        return _tell(tx)


def _tell(tx: Transaction) -> bool:
    found = list(plan_status.unfinished(tx, limit=MOST).values())
    if not found:
        return False
    engine_links = links.shown(tx)
    counts: dict[str, Any] = {
        "active_plans": len(found),
        "halted_plans": sum(each.plan.plan_status == "halted" for each in found),
        "pending_shards": sum(each.whole.pending or 0 for each in found),
        "running_shards": sum(each.whole.running for each in found),
        "done_shards": sum(each.whole.done for each in found),
        "failed_shards": sum(each.whole.failed for each in found),
    }
    is_bad = counts["halted_plans"] or any(engine_links.get(name) in (Status.DEGRADED, Status.DOWN) for name in ORIGINAL)
    payload = {
        "status": Status.DEGRADED if is_bad else Status.HEALTHY,
        "counts": counts,
        "engine_links": {name: engine_links.get(name, Status.UNKNOWN) for name in ORIGINAL},
    }
    minute = found[0].plan.now.strftime("%Y-%m-%dT%H:%M")
    return notices.add(tx, "hxo.status.summary", payload, source="engine", kind="metric", dedupe_key=f"summary:{minute}")
