"""Plans of the file, SQL and URL kinds, run to their end."""

from __future__ import annotations

from typing import Any

from common import db
from common.flows import plan_status, plans, work
from common.rules.http import Request
from common.stores import parts


def submitted(kind: str, *, more: dict[str, Any] | None = None, **config: Any) -> str:
    """Submit a plan of one stage; its id. `more` are fields of the stage."""
    stage = {"id": "one", "kind": kind, "config": config, **(more or {})}
    return plans.submit(Request("POST", "/"), {"name": kind, "stages": [stage]})[1]["plan_id"]


def ran(plan: str) -> str:
    """The plan, once it went well."""
    work.work()
    told = plan_status.report(plan)
    assert told["status"] == "succeeded", told
    return plan


def outputs(plan: str) -> list[dict[str, Any]]:
    """What its shards said, in order."""
    with db.transaction("status", read_only=True) as tx:
        return [each.output for each in parts.outputs(tx, plan, (-1, -1), 1000)]


def results(plan: str) -> list[parts.Told]:
    """What its stages came to."""
    with db.transaction("status", read_only=True) as tx:
        return parts.results(tx, plan)


def taken_back(plan: str) -> str:
    """The plan that took it back, once that went well."""
    return ran(plans.rollback(plan)[1]["plan_id"])
