"""What opens and what ends stages and plans: each in the transaction of whoever was last to do something there.

Locks are taken in the order lanes, failed shards, stages, plan, by everybody; only who ends a stage drops its other lanes
later than that, so whoever locks all lanes of a plan runs again when the two meet.
"""

from __future__ import annotations

from common import log, shards
from common.db import Transaction
from common.rules import shard as rules
from common.rules.waves import released
from common.stores import alerts, lanes, plans, runs, schedules, shard_failures

FEWEST_TO_HALT, SHARE_TO_HALT = 1000, 0.01


def open_next(tx: Transaction, plan: str) -> int:
    """Open every stage of a plan that waits for nothing any more; how many lanes that made. Ends the plan if none is left.

    A stage that turns out to have no shards is over at once, and opens those that waited for it.
    """
    opened = 0
    while True:
        locked = plans.lock(tx, plan)
        if locked is None or locked.status not in ("running", "paused", "halted"):
            return opened
        empty = 0
        for stage in plans.openable(tx, plan):
            made = _open(tx, plan, stage)
            opened += made
            empty += not made
        if not empty:
            break
    locked = plans.lock(tx, plan)
    if locked is not None and not locked.open:
        _end(tx, locked)
    return opened


def _open(tx: Transaction, plan: str, stage: plans.Openable) -> int:
    kind = shards.find(stage.kind)
    seen = rules.Stage(plan, stage.no, stage.id, stage.kind, stage.config, stage.shards)
    count = kind.open(tx, seen) if hasattr(kind, "open") else stage.shards
    if count == 0:
        plans.open_stage(tx, plan, stage.no, shards=0, released=0)
        end_stage(tx, plan, stage.no, seen, ok=True)
        return 0
    if count is None:
        ranges = [(0, 0)] * stage.concurrency
        first = 0
    else:
        first = released(count, stage.waves, 0)
        cut = rules.lanes(first, stage.concurrency)
        ranges = [(lo, hi) for lo, hi in stage.ranges] if stage.ranges else cut
    plans.open_stage(tx, plan, stage.no, shards=count, released=first)
    lanes.cut(tx, plan, stage.no, ranges)
    return len(ranges)


def settle(tx: Transaction, plan: str, no: int) -> int:
    """End a stage, or begin its next wave, if nothing of it is left to do; how many lanes that opened anywhere."""
    stage = plans.lock_stage(tx, plan, no)
    if stage is None or stage.goes_on or plans.is_worked_on(tx, plan, no):
        return 0
    failed = shard_failures.counts(tx, plan, no)
    if failed.retry:
        return 0
    if not failed.dead and stage.shards is not None and stage.released < stage.shards:
        upto = released(stage.shards, stage.waves, stage.released)
        ranges = rules.lanes(upto, stage.concurrency, stage.released)
        plans.release(tx, plan, no, upto)
        lanes.cut(tx, plan, no, ranges)
        return len(ranges)
    seen = rules.Stage(plan, no, stage.id, stage.kind, stage.config, stage.released)
    end_stage(tx, plan, no, seen, ok=not failed.dead)
    return open_next(tx, plan)


def end_stage(tx: Transaction, plan: str, no: int, stage: rules.Stage, *, ok: bool) -> None:
    """A stage is over: its lanes go, and its kind is told in the same transaction."""
    plans.end_stage(tx, plan, no, ok=ok)
    lanes.drop(tx, plan, no)
    kind = shards.find(stage.kind)
    if hasattr(kind, "ended"):
        kind.ended(tx, stage, ok=ok)
    log.info("stage.ended", plan=plan, stage=stage.id, ok=ok, shards=stage.shards)


def _end(tx: Transaction, plan: plans.Locked) -> None:
    ok = not plan.failed and not plan.waiting
    end(tx, plan.id, "succeeded" if ok else "failed", None if ok else f"{plan.failed} of its stages failed")


def end(tx: Transaction, plan: str, status: str, reason: str | None) -> None:
    """A plan is over: whoever waits for it is told in the same transaction."""
    plans.set_status(tx, plan, status, reason)
    schedules.finish_plan(tx, plan, ok=status == "succeeded", message=reason)
    runs.finish_plan(tx, plan, ok=status == "succeeded", message=reason)
    log.info("plan.ended", plan=plan, status=status, reason=reason)


def check_failures(tx: Transaction, plan: str, no: int) -> None:
    """Halt a plan in which too much fails: more than 1,000 shards of a stage and more than one in a hundred."""
    failed = shard_failures.counts(tx, plan, no)
    if sum(failed) <= FEWEST_TO_HALT:
        return
    stage = plans.lock_stage(tx, plan, no)
    if stage is not None and sum(failed) > SHARE_TO_HALT * (stage.shards or stage.released):
        halt(tx, plan, f"{sum(failed)} shards of stage {stage.id} failed")


def halt(tx: Transaction, plan: str, reason: str) -> None:
    """Stop a plan for somebody to look at: guardian.halt."""
    locked = plans.lock(tx, plan)
    if locked is None or locked.status != "running":
        return
    plans.set_status(tx, plan, "halted", reason)
    alerts.raise_alert(
        tx,
        alert_type="guardian.halt",
        severity="error",
        title=f"The plan {locked.name} is halted",
        message=f"{reason}. Look at its failures, then resume or cancel it.",
        metadata={"plan_id": plan, "reason": reason},
    )
    log.error("guardian.halt", plan=plan, reason=reason)
