"""Time limits of stages: one that takes longer fails, whoever sees it first."""

from __future__ import annotations

import functools

from common import db, log
from common.db import Transaction
from common.flows import stages
from common.rules import shard as rules
from common.stores import lanes, plans, shard_failures


def expire(plan: str, no: int) -> bool:
    """Fail a stage if its time limit is over; whether it was this that did."""
    return db.replayed(functools.partial(_expire, plan, no), "worker")


def _expire(plan: str, no: int, tx: Transaction) -> bool:
    lanes.lock(tx, plan)
    shard_failures.lock(tx, plan)
    stage = plans.lock_stage(tx, plan, no)
    if stage is None or not stage.is_overdue:
        return False
    lanes.revoke(tx, plan, no)
    shard_failures.revoke(tx, plan, no)
    reason = stages.overdue_reason(stage)
    stages.end_stage(
        tx, plan, no, rules.Stage(plan, no, stage.id, stage.kind, stage.config, stage.released), ok=False, reason=reason
    )
    log.error("stage.overdue", plan=plan, stage=stage.id, seconds=stage.timebox_seconds)
    stages.open_next(tx, plan)
    return True
