"""Plans: submitted, watched, paused, stopped, tried again."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from datetime import timedelta
from secrets import token_hex
from typing import Any

from common import db, encoding, log, settings, shards
from common.errors import Conflict, Invalid, Refused, Unavailable, Unknown
from common.flows import seal, stages, work
from common.flows.status import id_of
from common.rules import plan as rules
from common.rules import shard as shard_rules
from common.rules.http import Request
from common.rules.progress import Stage, Whole, whole
from common.stores import alerts, lanes, plans, runs, shard_failures

KEY = re.compile(r"[\x21-\x7e]{1,255}")
SHOWN = 50
FAILURES_SHOWN = 100
STUCK_SECONDS = 60
# From which state which verb leads where.
VERBS: Mapping[str, Mapping[str, str]] = {
    "running": {"pause": "paused", "cancel": "cancelled", "abort": "aborted"},
    "paused": {"resume": "running", "cancel": "cancelled", "abort": "aborted"},
    "halted": {"resume": "running", "cancel": "cancelled", "abort": "aborted", "retry": "running"},
    "failed": {"retry": "running"},
}


def submit(request: Request, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Create a plan and begin it: 202 with its id; what the same Idempotency-Key began before is answered again.

    Raises: Invalid, with a pointer to each fault; Refused for a key that cannot be one; Unavailable while HXO_ENABLED is false.
    """
    check_enabled()
    key = _key(request)
    hashed = hashlib.sha256(encoding.canonical(given)).hexdigest()
    draft = drafted(given, submitted_by=str(log.field("operator")), key=key, request_hash=hashed)
    with db.transaction("worker") as tx:
        plan = plans.add(tx, draft)
        opened = stages.open_next(tx, plan) if plan else 0
        former = plans.by_key(tx, key) if plan is None and key else None
    if former is not None:
        if former.request_hash != hashed:
            message = "This Idempotency-Key stands for another plan."
            raise Invalid(message, errors=[{"pointer": "", "message": "differs from what the key was first sent with"}])
        plan = former.id
    if opened:
        work.call_for_more(most=min(opened, work.FIRST_RINGS))
    return 202, _submitted(str(plan))


def _submitted(plan: str) -> dict[str, Any]:
    shown = _shown(plan)
    return {
        "plan_id": plan,
        "name": shown.plan.name,
        "status": "submitted",
        "merkle_seed": shown.plan.seed,
        "total_shards": shown.total,
    }


def check(given: dict[str, Any]) -> dict[str, Any]:
    """What a plan would be, without beginning it."""
    check_enabled()
    draft = drafted(given, submitted_by="", key=None, request_hash=None)
    counts = [stage["shards"] for stage in draft.stages]
    return {
        "plan_id": None,
        "name": draft.name,
        "status": "valid",
        "stages": [{key: stage[key] for key in ("id", "kind", "shards", "concurrency")} for stage in draft.stages],
        "total_shards": None if None in counts else sum(counts),
    }


def check_enabled() -> None:
    """Raises: Unavailable, while HXO_ENABLED is false."""
    if not settings.load().hxo_enabled:
        message = "Plans are disabled here: HXO_ENABLED is false."
        raise Unavailable(message, retry_after_seconds=300, reason="disabled")


def _key(request: Request) -> str | None:
    key = request.header("idempotency-key")
    if key is None or key == "":
        return None
    if not KEY.fullmatch(key.strip('"')):
        message = "An Idempotency-Key has 1 to 255 visible ASCII characters."
        raise Refused(message)
    return f"plan:{key}"


def drafted(
    given: dict[str, Any], *, submitted_by: str, key: str | None = None, request_hash: str | None = None, undoes: str | None = None,
    is_ours: bool = False,
) -> plans.Draft:  # fmt: skip
    """A plan as it will be stored; one of ours may have kinds that are no use by themselves.

    Raises: Invalid, with a pointer to each fault.
    """
    current = settings.load()
    limits = rules.Limits(
        shards=current.hxo_max_shards,
        concurrency=current.hxo_max_concurrency,
        shard_timeout_ms=_milliseconds(current.hxo_shard_timeout_ms),
        slo_ms=_milliseconds(current.hxo_default_slo_ms),
    )
    asked = rules.read(given, limits)
    if isinstance(asked, list):
        message = "The plan cannot be carried out as it stands."
        raise Invalid(message, errors=asked)
    return plans.Draft(
        name=asked.name,
        priority=asked.priority,
        definition=given,
        stages=_counted(asked, is_ours=is_ours),
        max_concurrency=asked.max_concurrency,
        shard_timeout=timedelta(milliseconds=asked.shard_timeout_ms),
        retry_budget=asked.retry_budget,
        timebox=timedelta(milliseconds=asked.timebox_ms),
        hash="sha3_256" if current.hxo_quantum_hashing else "sha256",
        seed=token_hex(32),
        submitted_by=submitted_by,
        idempotency_key=key,
        request_hash=request_hash,
        undoes=undoes,
    )


def _milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


def _counted(asked: rules.Asked, *, is_ours: bool) -> list[dict[str, Any]]:
    """The stages with the shards that their kinds say they have."""
    reader = rules.Reader()
    found = []
    total = 0
    for no, step in enumerate(asked.steps):
        count: int | None = None
        try:
            kind = shards.find(step.kind)
            count = kind.plan(step.config)
            if getattr(kind, "IS_OURS", False) and not is_ours:
                reader.fault(
                    f"/stages/{no}/kind", "is a part of something larger, such as a sync, and cannot be submitted by itself"
                )
        except Unknown as error:
            reader.fault(f"/stages/{no}/kind", error.detail)
        except Invalid as error:
            for fault in error.fields.get("errors", [{"pointer": "", "message": error.detail}]):
                reader.fault(f"/stages/{no}/config{fault['pointer']}", fault["message"])
        total += count or 0
        if total > asked.max_shards:
            reader.fault(f"/stages/{no}", f"with this stage the plan has {total:,} shards; it may have {asked.max_shards:,}")
            break
        if step.ranges and step.ranges[-1][1] != count:
            reader.fault(
                f"/stages/{no}/ranges",
                f"must cover the stage's {count:,} shards" if count else "this kind counts its shards itself",
            )
        if step.waves and (count is None or step.ranges):
            reader.fault(f"/stages/{no}/waves", "only a stage whose shards are known, and not cut by hand, can have waves")
        found.append(
            {
                "no": no,
                "id": step.id,
                "kind": step.kind,
                "config": step.config,
                "needs": list(step.needs),
                "concurrency": min(step.concurrency, asked.max_concurrency),
                "slo_seconds": step.slo_ms / 1000,
                "shards": count,
                "waves": step.waves,
                "ranges": step.ranges,
            }
        )
    if reader.faults:
        message = "The plan cannot be carried out as it stands."
        raise Invalid(message, errors=reader.faults)
    return found


# Watching ----------------------------------------------------------------------------------------------------------


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


def _shown(plan: str) -> Shown:
    with db.transaction("status", read_only=True) as tx:
        rows = plans.progress(tx, plan)
    if not rows:
        message = f"There is no plan {plan}."
        raise Unknown(message)
    return Shown(rows)


def _plan_status(shown: Shown) -> dict[str, Any]:
    plan, done = shown.plan, shown.whole
    opened = [row.opened_at for row in shown.stages if row.opened_at]
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
            for row, each in zip(shown.stages, done.stages, strict=True)
        ],
    }


def status(identifier: str) -> dict[str, Any]:
    """One plan: how far it is, what failed, when it will be over."""
    return _plan_status(_shown(str(id_of(identifier))))


def report(identifier: str) -> dict[str, Any]:
    """One plan with its failures; final when it is over."""
    plan = str(id_of(identifier))
    found = _plan_status(_shown(plan))
    with db.transaction("status", read_only=True) as tx:
        failures = shard_failures.listed(tx, plan, FAILURES_SHOWN)
    kind = "final" if found["finished_at"] else "interim"
    return found | {"report_type": kind, "failures": [failure._asdict() for failure in failures]}


def overview() -> dict[str, Any]:
    """All plans that are not over, and the newest of those that are."""
    with db.transaction("status", read_only=True) as tx:
        rows = plans.progress(tx, limit=SHOWN)
        unfinished = plans.progress(tx, unfinished=True, limit=SHOWN)
    by_plan: dict[str, list[plans.Progress]] = {}
    for row in rows:
        by_plan.setdefault(row.plan, []).append(row)
    alive: dict[str, list[plans.Progress]] = {}
    for row in unfinished:
        alive.setdefault(row.plan, []).append(row)
    shown = [Shown(stages_) for stages_ in (by_plan | alive).values()]
    active = [each for each in shown if each.plan.plan_finished_at is None]
    return {
        "enabled": settings.load().hxo_enabled,
        "active_plans": len(active),
        "total_shards_pending": sum(each.whole.pending or 0 for each in active),
        "total_shards_running": sum(each.whole.running for each in active),
        "total_shards_complete": sum(each.whole.done for each in active),
        "plans": [
            {
                key: value
                for key, value in _plan_status(each).items()
                if key not in {"stages", "merkle_seed", "hash", "truth_certified"}
            }
            for each in shown
        ],
    }


# Verbs -------------------------------------------------------------------------------------------------------------


def act(verb: str, identifier: str) -> dict[str, Any]:
    """Pause, resume, cancel, abort or retry a plan.

    Raises: Unknown; Conflict, with what may be done to it, when it stands where that verb leads nowhere.
    """
    check_enabled()
    plan = str(id_of(identifier))
    actor = log.field("operator")

    def write(tx: db.Transaction) -> str:
        locked = _locked(tx, plan)
        if locked is None:
            message = f"There is no plan {plan}."
            raise Unknown(message)
        allowed = VERBS.get(locked.status, {})
        if verb not in allowed:
            may = ", ".join(sorted(allowed)) or "nothing"
            message = f"The plan is {locked.status}; what can be done to it: {may}."
            raise Conflict(message, allowed=sorted(allowed))
        target = allowed[verb]
        if target in ("cancelled", "aborted"):
            stop(tx, plan, target, f"by {actor}")
        else:
            _go_on(tx, locked, verb, target)
        return target

    target = db.replayed(write, "worker")
    if target == "running":
        work.call_for_more(most=work.FIRST_RINGS)
    elif target != "paused":
        seal.seal(plan)
    log.info("plan.acted", plan=plan, verb=verb, status=target)
    return {"plan_id": plan, "status": target}


def _locked(tx: db.Transaction, plan: str) -> plans.Locked | None:
    """A plan with all that workers lock of it, in their order."""
    lanes.lock(tx, plan)
    shard_failures.lock(tx, plan)
    plans.lock_open(tx, plan)
    return plans.lock(tx, plan)


def _go_on(tx: db.Transaction, locked: plans.Locked, verb: str, target: str) -> None:
    timebox = None
    if verb == "retry":
        constraints = locked.definition.get("constraints") or {}
        timebox = timedelta(milliseconds=constraints.get("timebox_ms", rules.TIMEBOX_MS))
        shard_failures.revive(tx, locked.id)
        lanes.cut_again(tx, locked.id)
        plans.reopen(tx, locked.id)
        runs.reopen(tx, locked.id)
    plans.set_status(tx, locked.id, target, None, timebox)
    if target == "running":
        stages.open_next(tx, locked.id)


def stop(tx: db.Transaction, plan: str, status_: str, reason: str) -> None:
    """End a plan before its time: whoever holds a part of it may write nothing more. The caller has locked all of it."""
    lanes.revoke(tx, plan)
    shard_failures.revoke(tx, plan)
    for row in plans.progress(tx, plan):
        if row.status == "open":
            stage = shard_rules.Stage(plan, row.no, row.id, row.kind, row.config, row.shards)
            plans.lock_stage(tx, plan, row.no)
            plans.end_stage(tx, plan, row.no, ok=False)
            lanes.drop(tx, plan, row.no)
            kind = shards.find(row.kind)
            if hasattr(kind, "ended"):
                kind.ended(tx, stage, ok=False)
    stages.end(tx, plan, status_, reason)


def stop_overdue(limit: int = 20) -> int:
    """End the plans whose timebox is over, and the stages whose last worker died before it could; how many."""
    with db.transaction("worker") as tx:
        overdue = plans.overdue(tx, limit)
        stranded = plans.stranded(tx, limit)
    for plan in overdue:
        db.replayed(functools.partial(_stop_if_overdue, plan), "worker")
    for plan, no in stranded:
        with db.transaction("worker") as tx:
            stages.settle(tx, plan, no)
    return len(overdue) + len(stranded)


def _stop_if_overdue(plan: str, tx: db.Transaction) -> None:
    # It may have ended since it was looked up, or have been given more time.
    if _locked(tx, plan) is not None and plans.is_overdue(tx, plan):
        stop(tx, plan, "failed", "its timebox is over")


def watch(limit: int = 20) -> int:
    """Raise an alert while stages take longer than they should, and close it when none does; how many do."""
    with db.transaction("worker") as tx:
        slow = plans.slow(tx, limit)
        if not slow:
            alerts.resolve(tx, alert_type="stage_over_slo")
            return 0
        first = slow[0]
        alerts.raise_alert(
            tx,
            alert_type="stage_over_slo",
            severity="warning",
            title=f"The stage {first.stage} of {first.name} takes longer than it should",
            message=f"It has taken {first.seconds:.0f} s of {first.slo_seconds:.0f} s. Look at /api/hxo/status/{first.plan}.",
            affected=len(slow),
            metadata={"stages": [each._asdict() for each in slow]},
        )
    return len(slow)


def replay(identifier: str) -> tuple[int, dict[str, Any]]:
    """Begin a plan anew under a new id, as it was submitted."""
    check_enabled()
    plan = str(id_of(identifier))
    with db.transaction("status", read_only=True) as tx:
        found = plans.definition(tx, plan)
    if found is None:
        message = f"There is no plan {plan}."
        raise Unknown(message)
    if found.undoes is not None:
        message = "This plan took back what another did, and does nothing by itself: replay the other, or roll it back again."
        raise Conflict(message)
    return _begun(drafted(found.definition, submitted_by=str(log.field("operator"))))


def rollback(identifier: str) -> tuple[int, dict[str, Any]]:
    """Take back what a plan did: a plan of its own, the stages in reverse.

    Raises: Conflict, when it is not over, has been superseded by a later one or is taken back already, or does what cannot be.
    """
    check_enabled()
    plan = str(id_of(identifier))
    with db.transaction("status", read_only=True) as tx:
        found = plans.definition(tx, plan)
        superseded = plans.is_superseded(tx, plan)
    if found is None:
        message = f"There is no plan {plan}."
        raise Unknown(message)
    if found.status not in ("succeeded", "failed", "cancelled", "aborted"):
        message = f"The plan is {found.status}: stop it before it is rolled back."
        raise Conflict(message)
    if found.undoes is not None:
        message = "This plan took back what another did: replay the other to have that done again."
        raise Conflict(message)
    if superseded:
        message = "A later plan of this name has succeeded: rolling this one back would undo half of that."
        raise Conflict(message)
    final = [stage["kind"] for stage in found.definition["stages"] if not hasattr(shards.find(stage["kind"]), "undo")]
    if final:
        message = f"What {', '.join(sorted(set(final)))} did cannot be taken back."
        raise Conflict(message)
    return _begun(drafted(_reversed(found.definition), submitted_by=str(log.field("operator")), undoes=plan))


def _reversed(definition: dict[str, Any]) -> dict[str, Any]:
    stages_ = definition["stages"]
    waiting = {
        stage["id"]: [other["id"] for other in stages_ if stage["id"] in (other.get("dependencies") or [])] for stage in stages_
    }
    return definition | {"stages": [stage | {"dependencies": waiting[stage["id"]]} for stage in reversed(stages_)]}


def _begun(draft: plans.Draft) -> tuple[int, dict[str, Any]]:
    with db.transaction("worker") as tx:
        if draft.undoes is not None:
            plans.lock(tx, draft.undoes)  # two operators may want the same
            if plans.is_taken_back(tx, draft.undoes):
                message = "Another plan takes this one back already, or has done so."
                raise Conflict(message)
        plan = str(plans.add(tx, draft))
        opened = stages.open_next(tx, plan)
    work.call_for_more(most=min(opened, work.FIRST_RINGS))
    return 202, _submitted(plan)
