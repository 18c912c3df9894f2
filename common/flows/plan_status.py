"""How far plans are: read from their lanes, never counted along the way."""

from __future__ import annotations

from typing import Any

from common import db, settings
from common.errors import Unknown
from common.flows.status import id_of
from common.rules.progress import Stage, Whole, whole
from common.stores import plans, shard_failures

SHOWN = 50
FAILURES_SHOWN = 100


class Shown:
    """A plan with its stages."""

    def __init__(self, rows: list[plans.Progress]) -> None:
        self.plan = rows[0]
        self.stages = rows
        self.whole: Whole = whole(
            [
                Stage(
                    total=row.shards
                    if row.status == "waiting" or not row.is_open_ended
                    else (row.shards if row.finished_at else None),
                    released=row.released,
                    left=row.left if row.status == "open" else (0 if row.finished_at else None),
                    running=row.running,
                    retry=row.retry,
                    dead=row.dead,
                    opened_at=row.opened_at,
                    finished_at=row.finished_at,
                )
                for row in rows
            ],
            rows[0].now,
        )

    @property
    def total(self) -> int | None:
        """How many shards it has, when that is known."""
        return self.whole.total


def shown(plan: str) -> Shown:
    """A plan with its stages.

    Raises: Unknown.
    """
    with db.transaction("status", read_only=True) as tx:
        rows = plans.progress(tx, plan)
    if not rows:
        message = f"There is no plan {plan}."
        raise Unknown(message)
    return Shown(rows)


def _told(found: Shown) -> dict[str, Any]:
    plan, done = found.plan, found.whole
    opened = [row.opened_at for row in found.stages if row.opened_at]
    is_ending = plan.plan_status == "running" and settings.load().hxo_predictive_mode
    return {
        "plan_id": plan.plan,
        "plan_name": plan.name,
        "status": plan.plan_status,
        "reason": plan.reason,
        "priority": plan.priority,
        "submitted_by": plan.submitted_by,
        "submitted_at": plan.submitted_at,
        "started_at": min(opened, default=None),
        "finished_at": plan.plan_finished_at,
        "deadline_at": plan.deadline_at,
        "total_shards": done.total,
        "pending_shards": done.pending,
        "claimed_shards": done.running,
        "running_shards": done.running,
        "done_shards": done.done,
        "failed_shards": done.failed,
        "progress": done.share,
        "shards_per_second": done.rate,
        "eta_seconds": done.eta_seconds if is_ending else None,
        "merkle_root": plan.plan_root,
        "merkle_seed": plan.seed,
        "hash": plan.hash,
        "truth_certified": False,
        "undoes": plan.undoes,
        "stages": [
            {
                "id": row.id,
                "kind": row.kind,
                "status": row.status,
                "dependencies": row.needs,
                "total_shards": row.shards,
                "done_shards": each.done,
                "running_shards": row.running,
                "failed_shards": row.retry + row.dead,
                "healed_shards": row.healed,
                "lanes": row.lanes,
                "lanes_held": row.held,
                "chunk": row.chunk,
                "opened_at": row.opened_at,
                "finished_at": row.finished_at,
                "is_over_slo": row.opened_at is not None and (row.finished_at or row.now) - row.opened_at > row.slo,
                "merkle_root": row.root,
            }
            for row, each in zip(found.stages, done.stages, strict=True)
        ],
    }


def status(identifier: str) -> dict[str, Any]:
    """One plan: how far it is, what failed, when it will be over."""
    return _told(shown(str(id_of(identifier))))


def report(identifier: str) -> dict[str, Any]:
    """One plan with its failures; final when it is over."""
    plan = str(id_of(identifier))
    found = _told(shown(plan))
    with db.transaction("status", read_only=True) as tx:
        failures = shard_failures.listed(tx, plan, FAILURES_SHOWN)
    kind = "final" if found["finished_at"] else "interim"
    return found | {"report_type": kind, "failures": [failure._asdict() for failure in failures]}


def unfinished(tx: db.Transaction, *, limit: int) -> dict[str, Shown]:
    """Plans that are not over, by their id, the newest first."""
    return _by_plan(plans.progress(tx, unfinished=True, limit=limit))


def _by_plan(rows: list[plans.Progress]) -> dict[str, Shown]:
    stages: dict[str, list[plans.Progress]] = {}
    for row in rows:
        stages.setdefault(row.plan, []).append(row)
    return {plan: Shown(found) for plan, found in stages.items()}


def overview() -> dict[str, Any]:
    """All plans that are not over, and the newest of those that are."""
    with db.transaction("status", read_only=True) as tx:
        newest, alive = _by_plan(plans.progress(tx, limit=SHOWN)), unfinished(tx, limit=SHOWN)
    every = list((newest | alive).values())
    active = [each for each in every if each.plan.plan_finished_at is None]
    return {
        "enabled": settings.load().hxo_enabled,
        "active_plans": len(active),
        "total_shards_pending": sum(each.whole.pending or 0 for each in active),
        "total_shards_running": sum(each.whole.running for each in active),
        "total_shards_complete": sum(each.whole.done for each in active),
        "plans": [
            {key: value for key, value in _told(each).items() if key not in {"stages", "merkle_seed", "hash", "truth_certified"}}
            for each in every
        ],
    }
