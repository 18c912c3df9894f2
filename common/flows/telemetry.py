"""/api/hxo/metrics: how the engine is doing, where its shards are, and what of them stands still."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from common import db, log, settings
from common.errors import Invalid
from common.flows import plan_status, work
from common.flows.plans import check_enabled
from common.rules import autotune, forecast
from common.stores import concurrency, configuration, lanes, signals, telemetry

STUCK = timedelta(minutes=1)  # ready for so long, and nobody came
SHOWN = 100
MOST = 10_000  # failed shards that are hurried at once
BUILDS = ("deploy.pack", "assets.", "docs.")  # kinds that make something


def metrics() -> dict[str, Any]:
    """Counts over the plans that are not over, what shards take, how many lanes a kind may have, and when the queue is full."""
    with db.transaction("status", read_only=True) as tx:
        alive = list(plan_status.unfinished(tx, limit=plan_status.MOST_ALIVE).values())
        kinds, adaptive, free = telemetry.kinds(tx), concurrency.every(tx), lanes.free(tx)
        queue = _queue(tx)
    times = [float(each) for kind in kinds for each in kind.took]
    rows = [(row, part) for each in alive for row, part in zip(each.stages, each.whole.stages, strict=True)]
    return {
        "active_plans": len(alive),
        "shards": _counted(rows),
        "build_shards": _counted([each for each in rows if each[0].kind.startswith(BUILDS)]),
        "avg_shard_latency_ms": _milliseconds(sum(times) / len(times)) if times else None,
        "p95_shard_latency_ms": _milliseconds(autotune.p95(times)) if times else None,
        "lanes": {"held": sum(kind.held for kind in kinds), "free": free.now},
        "alir": {
            "enabled": settings.load().hxo_alir_enabled,
            "kinds": [
                {
                    "kind": each.kind,
                    "lanes": each.most,
                    "latency_ms": _milliseconds(each.latency_seconds),
                    "usual_latency_ms": _milliseconds(each.usual_seconds),
                }
                for each in adaptive
            ],
        },
        "queue": queue,
    }


def _counted(rows: Sequence[Any]) -> dict[str, int]:
    """Shards by state; those of stages of which nobody knows how many there are count as far as they were begun."""
    return {
        "done": sum(part.done - row.healed for row, part in rows),
        "healed": sum(row.healed for row, _ in rows),
        "pending": sum(max(0, (part.pending or 0) - row.running - row.retry) for row, part in rows),
        "running": sum(row.running for row, _ in rows),
        "failed": sum(row.retry for row, _ in rows),
        "quarantined": sum(row.dead for row, _ in rows),
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _queue(tx: db.Transaction) -> dict[str, Any]:
    """The sync's queue: how long it is, and in how many minutes it reaches its limit as it grows now; advisory.

    The interval is of Poisson arrivals and completions: what half an hour of them scatters by, nine times in ten.
    """
    limit = configuration.all_values(tx)["queue_backlog_threshold"]
    waiting = signals.queue(tx, most=limit + 1).waiting
    told: dict[str, Any] = {"waiting": waiting, "threshold": limit}
    if not settings.load().hxo_predictive_mode:
        return told | {"minutes_to_threshold": None, "minutes_low": None, "minutes_high": None}
    flow = signals.flow(tx, "queue")
    off = 1.645 * math.sqrt((flow.arrivals + flow.completions) / 30)
    fast, slow = flow._replace(arrivals=flow.arrivals + off), flow._replace(arrivals=flow.arrivals - off)
    return told | {
        "minutes_to_threshold": _rounded(forecast.minutes_left(waiting, limit, flow)),
        "minutes_low": _rounded(forecast.minutes_left(waiting, limit, fast)),
        "minutes_high": _rounded(forecast.minutes_left(waiting, limit, slow)),
    }


def _rounded(minutes: float | None) -> float | None:
    return None if minutes is None else round(minutes, 1)


def distribution() -> dict[str, Any]:
    """Of each shard kind that is worked on: how its shards are spread over lanes, and what they take."""
    with db.transaction("status", read_only=True) as tx:
        kinds = telemetry.kinds(tx)
        alive = plan_status.unfinished(tx, limit=plan_status.MOST_ALIVE).values()
    rows = [(row, part) for each in alive for row, part in zip(each.stages, each.whole.stages, strict=True)]
    return {
        "kinds": [
            {
                "kind": kind.kind,
                "stages": kind.stages,
                "lanes": kind.lanes,
                "lanes_held": kind.held,
                "shortest_lane": kind.shortest,
                "longest_lane": kind.longest,
                "shards": _counted([each for each in rows if each[0].kind == kind.kind]),
                "p50_shard_latency_ms": _milliseconds(autotune.quantile(times, 0.5)) if times else None,
                "p95_shard_latency_ms": _milliseconds(autotune.p95(times)) if times else None,
            }
            for kind in kinds
            for times in [[float(each) for each in kind.took]]
        ]
    }


def stuck() -> dict[str, Any]:
    """Shards that stand still: their worker died, or nobody has come for a minute."""
    with db.transaction("status", read_only=True) as tx:
        found = telemetry.stuck(tx, age=STUCK, limit=SHOWN)
    return {
        "count": sum(each.hi - each.lo for each in found),
        "stuck": [
            {
                "plan_id": each.plan,
                "plan_name": each.name,
                "stage": each.stage,
                "kind": each.kind,
                "shards": [each.lo, each.hi],
                "reason": each.why,
                "lapses": each.lapses,
                "seconds": round(each.seconds, 1),
            }
            for each in found
        ],
    }


def retry_stuck(given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Have failed shards tried again at once, and ring for whatever stands still: of `plan_id`, or of all plans.

    Raises: Invalid.
    """
    check_enabled()
    plan = _plan(given)
    with db.transaction("worker") as tx:
        hurried = telemetry.hurry(tx, plan, reason=f"{log.field('operator')} asked for it", limit=MOST)
    with db.transaction("status", read_only=True) as tx:
        found = [each for each in telemetry.stuck(tx, age=STUCK, limit=SHOWN) if plan in (None, each.plan)]
    return 202, {"retried": hurried, "stuck": sum(each.hi - each.lo for each in found), "rang": work.call_for_more()}


def _plan(given: dict[str, Any]) -> str | None:
    plan = given.get("plan_id")
    try:
        return None if plan is None else str(UUID(plan))
    except (ValueError, TypeError, AttributeError):
        message = "plan_id must be the id of a plan, or be left out."
        raise Invalid(message, errors=[{"pointer": "/plan_id", "message": message}]) from None
