"""What opens and what ends stages and plans: each in the transaction of whoever was last to do something there.

Locks are taken in the order lanes, failed shards, stages, plan, by everybody; only who ends a stage drops its other lanes
later than that, so whoever locks all lanes of a plan runs again when the two meet.
"""

from __future__ import annotations

from common import log, shards
from common.db import Transaction
from common.flows import cutting
from common.rules import shard as rules
from common.rules.waves import released
from common.stores import alerts, heal_actions, lanes, parts, plans, runs, schedules, shard_failures

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
            made = _open(tx, plan, stage, locked.undoes)
            opened += made
            empty += not made
        if not empty:
            break
    locked = plans.lock(tx, plan)
    if locked is not None and not locked.open:
        _end(tx, locked)
    return opened


def _open(tx: Transaction, plan: str, stage: plans.Openable, undoes: str | None) -> int:
    seen = rules.Stage(plan, stage.no, stage.id, stage.kind, stage.config, stage.shards)
    opens = shards.offered(stage.kind, "open")
    if undoes is not None and shards.offered(stage.kind, "IN_PARTS"):
        count: int | None = parts.copy(tx, seen, undoes)
    else:
        count = opens(tx, seen) if opens else stage.shards
    if count == 0:
        plans.open_stage(tx, plan, stage.no, shards=0, released=0)
        end_stage(tx, plan, stage.no, seen, ok=True)
        return 0
    if count is None:
        ranges = [(0, 0)] * stage.concurrency
        first = 0
    else:
        first = released(count, stage.waves, 0)
        if stage.scheduler and undoes is None:
            ranges = cutting.dealt(tx, plan, stage, count)
        elif stage.ranges and stage.ranges[-1][1] == count:  # it may have turned out to have others than it was cut for
            ranges = [(lo, hi) for lo, hi in stage.ranges]
        else:
            ranges = rules.lanes(first, stage.concurrency)
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
    if not failed.dead and not stage.is_overdue and stage.shards is not None and stage.released < stage.shards:
        upto = released(stage.shards, stage.waves, stage.released)
        ranges = rules.lanes(upto, stage.concurrency, stage.released)
        plans.release(tx, plan, no, upto)
        lanes.cut(tx, plan, no, ranges)
        return len(ranges)
    seen = rules.Stage(plan, no, stage.id, stage.kind, stage.config, stage.released)
    reason = None
    if failed.dead:
        reason = f"shards of {stage.id} in quarantine: {failed.dead:,}"
        _escalate(tx, plan, stage, reason, failed.dead)
    elif stage.is_overdue:
        reason = overdue_reason(stage)
    end_stage(tx, plan, no, seen, ok=reason is None, reason=reason)
    return open_next(tx, plan)


def overdue_reason(stage: plans.Open) -> str:
    """Why a stage failed that took too long."""
    return f"{stage.id} took longer than the {stage.timebox_seconds or 0:,.0f} s that it may take"


def _escalate(tx: Transaction, plan: str, stage: plans.Open, reason: str, count: int) -> None:
    """The last remedy: a person is told, once for the stage; of a part of something larger, by that."""
    heal_actions.add(tx, plan, "escalate", reason, stage=stage.no)
    if shards.offered(stage.kind, "IS_OURS"):
        return
    alerts.raise_alert(
        tx,
        alert_type="shards_quarantined",
        severity="error",
        title=f"{reason[0].upper()}{reason[1:]}",
        message=f"They failed whatever was tried; the others are done. Look at /api/hxo/report/{plan}, then retry the plan.",
        affected=count,
        metadata={"plan_id": plan, "stage": stage.id},
    )


def end_stage(tx: Transaction, plan: str, no: int, stage: rules.Stage, *, ok: bool, reason: str | None = None) -> None:
    """A stage is over: its lanes go, and its kind is told in the same transaction."""
    plans.end_stage(tx, plan, no, ok=ok, reason=reason)
    lanes.drop(tx, plan, no)
    ended = shards.offered(stage.kind, "ended")
    if ended is not None:
        ended(tx, stage, ok=ok)
    log.info("stage.ended", plan=plan, stage=stage.id, ok=ok, shards=stage.shards)


def _end(tx: Transaction, plan: plans.Locked) -> None:
    ok = not plan.failed and not plan.waiting
    why = f": {plan.reasons}" if plan.reasons else ""
    end(tx, plan.id, "succeeded" if ok else "failed", None if ok else f"{plan.failed} of its stages failed{why}")


def end(tx: Transaction, plan: str, status: str, reason: str | None) -> None:
    """A plan is over: whoever waits for it is told in the same transaction."""
    plans.set_status(tx, plan, status, reason)
    schedules.finish_plan(tx, plan, ok=status == "succeeded", message=reason)
    runs.finish_plan(tx, plan, ok=status == "succeeded", message=reason)
    if status != "succeeded":
        from common.flows import rollbacks  # noqa: PLC0415 - it submits plans, which are made of stages

        rollbacks.plan_ended(tx, plan, status, reason)
    log.info("plan.ended", plan=plan, status=status, reason=reason)


def check_failures(tx: Transaction, plan: str, no: int) -> None:
    """Halt a plan in which too much fails: more than 1,000 shards of a stage and more than one in a hundred."""
    found = shard_failures.counts(tx, plan, no)
    failed = found.retry + found.dead - found.slow
    if failed <= FEWEST_TO_HALT:
        return
    stage = plans.lock_stage(tx, plan, no)
    if stage is not None and failed > SHARE_TO_HALT * (stage.shards or stage.released):
        halt(tx, plan, f"{failed} shards of stage {stage.id} failed")


def halt(tx: Transaction, plan: str, reason: str) -> None:
    """Stop a plan for somebody to look at: guardian.halt."""
    locked = plans.lock(tx, plan)
    if locked is None or locked.status != "running":
        return
    plans.set_status(tx, plan, "halted", reason)
    heal_actions.add(tx, plan, "halt", reason)
    alerts.raise_alert(
        tx,
        alert_type="guardian.halt",
        severity="error",
        title=f"The plan {locked.name} is halted",
        message=f"{reason}. Look at its failures, then resume or cancel it.",
        metadata={"plan_id": plan, "reason": reason},
    )
    log.error("guardian.halt", plan=plan, reason=reason)
