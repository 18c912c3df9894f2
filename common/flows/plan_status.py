"""How far plans are: read from their lanes, never counted along the way."""

from __future__ import annotations

from typing import Any, NamedTuple

from common import db, settings
from common.errors import Unknown
from common.flows.status import id_of
from common.rules import progress_forecast
from common.rules.links import ORIGINAL, Status
from common.rules.progress import Stage, Whole, whole
from common.stores import certificates, links, plans, progress_samples, shard_failures

SHOWN = 50
MOST_ALIVE = 200
UNLISTED = {"stages", "merkle_seed", "hash", "truth_certified", "eta_low_seconds", "eta_high_seconds"}  # where plans are many
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
                    left=row.left if row.status == "open" or row.finished_at else None,
                    running=row.running,
                    retry=row.retry,
                    dead=row.dead,
                    opened_at=row.opened_at,
                    finished_at=row.finished_at,
                    split=row.split,
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


class Ending(NamedTuple):
    """When a plan will be over, as far as that can be told; the interval holds nine times in ten."""

    eta_seconds: float | None = None
    eta_low_seconds: float | None = None
    eta_high_seconds: float | None = None


def ending(tx: db.Transaction, found: Shown) -> Ending:
    """The forecast of a plan: of its last hour, once there is enough of it; before that, of its average rate."""
    average = _average(found)
    if average.eta_seconds is None:
        return average
    samples = progress_samples.of_plan(tx, found.plan.plan)
    if len(samples) < progress_forecast.FEWEST:
        return average
    forecast = progress_forecast.forecast(samples, (found.whole.pending or 0) + found.whole.running)
    return Ending() if forecast is None else Ending(*forecast)


def _average(found: Shown) -> Ending:
    is_ending = found.plan.plan_status == "running" and settings.load().hxo_predictive_mode
    return Ending(found.whole.eta_seconds) if is_ending else Ending()


def exists(tx: db.Transaction, plan: str) -> bool:
    """Whether there is such a plan."""
    return plans.definition(tx, plan) is not None


def _told(found: Shown, ends: Ending) -> dict[str, Any]:
    plan, done = found.plan, found.whole
    opened = [row.opened_at for row in found.stages if row.opened_at]
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
        **ends._asdict(),
        "merkle_root": plan.plan_root,
        "merkle_seed": plan.seed,
        "hash": plan.hash,
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
                "failed_shards": row.retry - row.split + row.dead,
                "healed_shards": row.healed,
                "lanes": row.lanes,
                "lanes_held": row.held,
                "pieces": row.pieces,
                "chunk": row.chunk,
                "opened_at": row.opened_at,
                "finished_at": row.finished_at,
                "deadline_at": row.stage_deadline_at,
                "reason": row.stage_reason,
                "is_over_slo": row.opened_at is not None and (row.finished_at or row.now) - row.opened_at > row.slo,
                "merkle_root": row.root,
            }
            for row, each in zip(found.stages, done.stages, strict=True)
        ],
    }


def status(identifier: str) -> dict[str, Any]:
    """One plan: how far it is, what failed, when it will be over."""
    plan = str(id_of(identifier))
    return _forecast(shown(plan)) | _certified(plan)


def report(identifier: str) -> dict[str, Any]:
    """One plan with its failures; final when it is over."""
    plan = str(id_of(identifier))
    found = _forecast(shown(plan)) | _certified(plan, is_whole=True)
    with db.transaction("status", read_only=True) as tx:
        failures = shard_failures.listed(tx, plan, FAILURES_SHOWN)
    kind = "final" if found["finished_at"] else "interim"
    return found | {"report_type": kind, "failures": [failure._asdict() for failure in failures]}


def _forecast(found: Shown) -> dict[str, Any]:
    with db.transaction("status", read_only=True) as tx:
        return _told(found, ending(tx, found))


def _certified(plan: str, *, is_whole: bool = False) -> dict[str, Any]:
    """Whether a signed certificate says what the plan's root is now; with it, if the whole is wanted."""
    with db.transaction("status", read_only=True) as tx:
        found = certificates.newest(tx, plan)
    told: dict[str, Any] = {"truth_certified": found is not None and found.counts}
    if is_whole:
        told["certificate"] = found.told()["certificate"] if found else None
    return told


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
        engine_health = links.shown(tx)
    every = list((newest | alive).values())
    active = [each for each in every if each.plan.plan_finished_at is None]
    return {
        "enabled": settings.load().hxo_enabled,
        "version": settings.load().running_release,
        "active_plans": len(active),
        "total_shards_pending": sum(each.whole.pending or 0 for each in active),
        "total_shards_running": sum(each.whole.running for each in active),
        "total_shards_complete": sum(each.whole.done for each in active),
        "engine_health": {name: engine_health.get(name, Status.UNKNOWN) for name in ORIGINAL},
        "plans": [{key: value for key, value in _told(each, _average(each)).items() if key not in UNLISTED} for each in every],
    }
