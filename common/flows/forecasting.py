"""Forecasting: once a minute, write down how far running plans are, and tell of those that will not make their deadline."""

from __future__ import annotations

from datetime import timedelta

from common import db, settings
from common.flows import pacing, plan_status
from common.rules.autotune import Signal
from common.stores import progress_samples

PLANS = 20


def watch() -> int:
    """How many running plans will not be over in time, as it looks now; advisory."""
    if not settings.load().hxo_predictive_mode:
        return 0
    with db.transaction("worker") as tx:
        progress_samples.record(tx)
    with db.transaction("worker") as tx:
        alive = [each for each in plan_status.unfinished(tx, limit=PLANS).values() if each.plan.plan_status == "running"]
        late = [each for each in alive if _is_late(tx, each)]
        for each in late:
            signal = Signal("queue_depth", float(each.whole.pending or 0), "increase_concurrency")
            pacing.tell(tx, each.plan.plan, each.stages[0].id, signal, mark=f"{each.plan.deadline_at:%s}")
    return len(late)


def _is_late(tx: db.Transaction, shown: plan_status.Shown) -> bool:
    ending = plan_status.ending(tx, shown)
    return ending.eta_seconds is not None and shown.plan.now + timedelta(seconds=ending.eta_seconds) > shown.plan.deadline_at
