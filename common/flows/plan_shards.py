"""Where each shard of a plan is, and what was done about those that failed."""

from __future__ import annotations

from typing import Any

from common import db
from common.db import Transaction
from common.errors import Invalid, Unknown
from common.flows import plan_status
from common.flows.status import id_of, limit_of
from common.rules import bitmap
from common.rules.bitmap import Slice
from common.rules.http import Request
from common.stores import heal_actions, telemetry
from common.stores.plans import Progress

LARGEST_ID = 1 << 62


def shards(identifier: str) -> dict[str, Any]:
    """Every shard of a plan by state, as runs for each stage: computed from lanes and failures, however many there are.

    Raises: Unknown.
    """
    plan = str(id_of(identifier))
    found = plan_status.shown(plan)
    with db.transaction("status", read_only=True) as tx:
        lanes = telemetry.lanes(tx, plan)
        stages = [_stage(tx, row, [lane for lane in lanes if lane.stage == row.no]) for row in found.stages]
    return {
        "plan_id": plan,
        "status": found.plan.plan_status,
        "states": dict(zip(bitmap.LETTERS, bitmap.STATES, strict=True)),
        "total_shards": found.total,
        "stages": stages,
    }


def _stage(tx: Transaction, row: Progress, lanes: list[telemetry.Lane]) -> dict[str, Any]:
    total = row.shards if row.shards is not None else row.released
    marked = row.retry + row.dead + row.healed
    scale = bitmap.scale_for(total, marked)
    slices = _slices(row, total, lanes, telemetry.gaps(tx, row.plan, row.no) if row.status == "failed" else [])
    marks: list[tuple[int, int]] = []
    if marked:
        marks = [(cell, bitmap.RUNNING) for cell in telemetry.in_pieces(tx, row.plan, row.no, scale)]
        marks += [(each.cell, each.state) for each in telemetry.marks(tx, row.plan, row.no, scale)]
    running = sum(each.hi - each.lo for each in slices if each.state == bitmap.RUNNING)
    pending = sum(each.hi - each.lo for each in slices if each.state == bitmap.PENDING)
    drawn = bitmap.bitmap(total, slices, marks, scale)
    return {
        "id": row.id,
        "kind": row.kind,
        "status": row.status,
        "shards": row.shards,
        "done": total - running - pending - marked,
        "healed": row.healed,
        "pending": pending,
        "running": running + row.split,
        "failed": row.retry - row.split,
        "quarantined": row.dead,
        "shards_per_cell": drawn.scale,
        "runs": drawn.runs,
    }


def _slices(row: Progress, total: int, lanes: list[telemetry.Lane], gaps: list[telemetry.Gap]) -> list[Slice]:
    """What of a stage is not done."""
    if row.status == "waiting":
        return [Slice(0, total, bitmap.PENDING)]
    found = [Slice(lane.done, lane.busy, bitmap.RUNNING if lane.is_held else bitmap.PENDING) for lane in lanes]
    found += [Slice(lane.busy, lane.hi, bitmap.PENDING) for lane in lanes]
    found += [Slice(gap.lo, gap.hi, bitmap.PENDING) for gap in gaps]
    return [*found, Slice(row.released, total, bitmap.PENDING)]


def healing_history(request: Request, identifier: str) -> dict[str, Any]:
    """What was done about the shards of a plan that failed, in order: `?after=` an id, `?limit=`.

    Raises: Unknown; Invalid.
    """
    plan = str(id_of(identifier))
    after = request.arguments.get("after", "0")
    if not after.isascii() or not after.isdigit() or int(after[:20]) > LARGEST_ID:
        message = "'after' must be the id of an action, as the page before ended with."
        raise Invalid(message, errors=[{"pointer": "after", "message": message}])
    limit = limit_of(request)
    with db.transaction("status", read_only=True) as tx:
        counts, found = heal_actions.counts(tx, plan), heal_actions.of_plan(tx, plan, after=int(after), limit=limit)
        if not counts and not plan_status.exists(tx, plan):
            message = f"There is no plan {plan}."
            raise Unknown(message)
    return {
        "plan_id": plan,
        "counts": counts,
        "actions": [each._asdict() for each in found],
        "next_after": found[-1].id if len(found) == limit else None,
    }
