"""Plans: submitted, begun again, taken back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from secrets import token_hex
from typing import Any

from common import db, encoding, log, settings, shards
from common.errors import Conflict, InProgress, Invalid, Refused, Unavailable, Unknown
from common.flows import cutting, plan_status, stages, work
from common.flows.status import id_of
from common.rules import plan as rules
from common.rules.http import Request
from common.stores import locks, notices, plans

KEY = re.compile(r"[\x21-\x7e]{1,255}")


def submit(request: Request, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Create a plan and begin it: 202 with its id; what the same Idempotency-Key began before is answered again.

    A PASSIVE deployment may do this as well: it writes rows, and the ACTIVE one works on them.
    Raises: Invalid, with a pointer to each fault; Refused for a key that cannot be one; InProgress, while the same key is being
    submitted; Unavailable while HXO_ENABLED is false.
    """
    check_enabled()
    key = idempotency_key(request, "plan")
    hashed = hashlib.sha256(encoding.canonical(given)).hexdigest()
    draft = drafted(given, submitted_by=str(log.field("operator")), key=key, request_hash=hashed)
    draft = replace(draft, causation_id=_causation_id(request))
    with db.transaction("worker") as tx:
        hold_key(tx, key)
        plan = plans.add(tx, draft)
        if plan:
            audit(tx, "plan.submit", plan, causation_id=draft.causation_id)
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
    shown = plan_status.shown(plan)
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


def idempotency_key(request: Request, what: str) -> str | None:
    """The caller's key for `what` it asks for, if it sent one. Raises: Refused, for one that cannot be a key."""
    key = request.header("idempotency-key")
    if key is None or key == "":
        return None
    if not KEY.fullmatch(key.strip('"')):
        message = "An Idempotency-Key has 1 to 255 visible ASCII characters."
        raise Refused(message)
    return f"{what}:{key}"


def hold_key(tx: db.Transaction, key: str | None) -> None:
    """Let nobody else begin something under this key until the transaction ends. Raises: InProgress, while somebody does."""
    if key is not None and not locks.taken(tx, key):
        message = "What this Idempotency-Key stands for is being begun: ask again in a second, and you are told of it."
        raise InProgress(message)


def _causation_id(request: Request) -> str | None:
    """The notice that made its receiver ask for this. Raises: Unknown, for what is no id."""
    given = request.header("causation-id")
    return str(id_of(given)) if given else None


def audit(tx: db.Transaction, action: str, plan: str, *, causation_id: str | None = None) -> None:
    """Tell hxo.audit what somebody does to a plan."""
    told = {"action": action, "actor": str(log.field("operator")), "plan_id": plan}
    notices.add(tx, "hxo.audit", told, source="operator", kind="audit", correlation_id=plan, causation_id=causation_id)


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
        stages=_counted(asked, is_ours=is_ours, is_undoing=undoes is not None),
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


def timebox(constraints: Mapping[str, Any]) -> timedelta:
    """How long a plan with these constraints may take."""
    return timedelta(milliseconds=constraints.get("timebox_ms", rules.TIMEBOX_MS))


def _milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


def _counted(asked: rules.Asked, *, is_ours: bool, is_undoing: bool) -> list[dict[str, Any]]:
    """The stages with the shards that their kinds say they have."""
    reader = rules.Reader()
    found = []
    total = 0
    for no, step in enumerate(asked.steps):
        count: int | None = None
        config = step.config
        try:
            kind = shards.find(step.kind)
            config = cutting.config(step, kind, f"/stages/{no}", reader)
            has_parts = getattr(kind, "IN_PARTS", False)
            # What is taken back are the parts of the plan that did it, whatever there would be to do now.
            count = None if is_undoing and has_parts else kind.plan(config)
            cutting.check_scheduler(step, count, has_parts, f"/stages/{no}", reader)
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
                "config": config,
                "scheduler": step.scheduler,
                "needs": list(step.needs),
                "concurrency": min(step.concurrency, asked.max_concurrency),
                "slo_seconds": step.slo_ms / 1000,
                "timebox_seconds": step.timebox_ms / 1000 if step.timebox_ms else None,
                "shards": count,
                "waves": step.waves,
                "ranges": step.ranges,
            }
        )
    if reader.faults:
        message = "The plan cannot be carried out as it stands."
        raise Invalid(message, errors=reader.faults)
    return found


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
    final = [stage["kind"] for stage in found.definition["stages"] if not _is_undoable(stage)]
    if final:
        message = f"What {', '.join(sorted(set(final)))} did cannot be taken back."
        raise Conflict(message)
    return _begun(drafted(_reversed(found.definition), submitted_by=str(log.field("operator")), undoes=plan))


def _is_undoable(stage: dict[str, Any]) -> bool:
    kind = shards.find(stage["kind"])
    return hasattr(kind, "undo") and (not hasattr(kind, "undoable") or bool(kind.undoable(stage.get("config") or {})))


def _reversed(definition: dict[str, Any]) -> dict[str, Any]:
    stages_ = definition["stages"]
    waiting = {
        stage["id"]: [other["id"] for other in stages_ if stage["id"] in (other.get("dependencies") or [])] for stage in stages_
    }
    # Whoever takes back goes through the parts as they were numbered when they were done.
    cut = ("waves", "ranges", "scheduler")
    kept = {
        stage["id"]: {key: value for key, value in stage.items() if key not in cut}
        if getattr(shards.find(stage["kind"]), "IN_PARTS", False)
        else stage
        for stage in stages_
    }
    return definition | {"stages": [kept[stage["id"]] | {"dependencies": waiting[stage["id"]]} for stage in reversed(stages_)]}


def _begun(draft: plans.Draft) -> tuple[int, dict[str, Any]]:
    with db.transaction("worker") as tx:
        if draft.undoes is not None:
            plans.lock(tx, draft.undoes)  # two operators may want the same
            if plans.is_taken_back(tx, draft.undoes):
                message = "Another plan takes this one back already, or has done so."
                raise Conflict(message)
        plan = str(plans.add(tx, draft))
        audit(tx, "plan.rollback" if draft.undoes else "plan.replay", plan)
        opened = stages.open_next(tx, plan)
    work.call_for_more(most=min(opened, work.FIRST_RINGS))
    return 202, _submitted(plan)
