"""Rehydrate: see what of unfinished plans stands still, and let it go on.

What a dead worker held needs nobody to give it back: its lease runs out, and whoever comes takes it over from what was
reported. What is missing after a crash is somebody who comes, and whoever was to end a stage or open the next.
"""

from __future__ import annotations

import functools
from typing import Any

from common import db, log
from common.errors import Conflict, Unknown
from common.flows import seal, stages, time_limits, work
from common.flows.plans import check_enabled
from common.flows.status import id_of
from common.stores import heal_actions, lanes, plans, telemetry
from common.stores.telemetry import Incomplete

SHOWN = 200


def incomplete() -> dict[str, Any]:
    """Plans that are not over, the oldest first, with what of each stands still."""
    with db.transaction("status", read_only=True) as tx:
        found = telemetry.incomplete(tx, limit=SHOWN)
    return {"count": len(found), "plans": [_shown(each) for each in found]}


def _shown(found: Incomplete) -> dict[str, Any]:
    said = found._asdict()
    return {"plan_id": said.pop("plan"), "plan_name": said.pop("name"), **said}


def one(identifier: str) -> tuple[int, dict[str, Any]]:
    """Let a plan go on: 202 with what was done.

    Raises: Unknown; Conflict, when it is over.
    """
    check_enabled()
    plan = str(id_of(identifier))
    with db.transaction("worker") as tx:
        found = telemetry.incomplete(tx, plan=plan, limit=1)
        known = plans.definition(tx, plan)
    if known is None:
        message = f"There is no plan {plan}."
        raise Unknown(message)
    if not found:
        message = f"The plan is {known.status}: there is nothing of it to go on with. Retry or replay it."
        raise Conflict(message)
    return 202, _rehydrated(found)


def every() -> tuple[int, dict[str, Any]]:
    """Let every plan go on that is not over: 202 with what was done."""
    check_enabled()
    with db.transaction("worker") as tx:
        found = telemetry.incomplete(tx, limit=SHOWN)
    return 202, _rehydrated(found)


def _rehydrated(found: list[Incomplete]) -> dict[str, Any]:
    told = [{"plan_id": each.plan, **_go_on(each)} for each in found]
    return {"count": len(told), "plans": told, "rang": work.call_for_more(most=work.FIRST_RINGS)}


def _go_on(found: Incomplete) -> dict[str, Any]:
    settled = 0
    with db.transaction("worker") as tx:
        open_ = [row.no for row in plans.progress(tx, found.plan) if row.status == "open"]
    for no in open_:
        settled += db.replayed(functools.partial(_settle, found.plan, no), "worker") or time_limits.expire(found.plan, no)
    db.replayed(functools.partial(_open_next, found.plan), "worker")
    seal.seal(found.plan)
    lapsed = found.lanes_lapsed + found.failures_lapsed
    with db.transaction("worker") as tx:
        reason = f"{log.field('operator')} asked for it: {lapsed} lapsed leases, {settled} stages settled"
        heal_actions.add(tx, found.plan, "rehydrate", reason)
    return {"leases_lapsed": lapsed, "stages_settled": settled, "was_adrift": found.is_adrift}


def _settle(plan: str, no: int, tx: db.Transaction) -> bool:
    """End a stage of which nothing is left to do, and give one that goes on a lane to go on with."""
    stages.settle(tx, plan, no)
    stage = plans.lock_stage(tx, plan, no)
    if stage is not None and stage.goes_on:
        lanes.add_one(tx, plan, no)
    return stage is None


def _open_next(plan: str, tx: db.Transaction) -> int:
    return stages.open_next(tx, plan)
