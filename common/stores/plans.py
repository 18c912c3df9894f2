"""Plans and their stages: a long job, its ordered steps, and what stands in the tree of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from common import encoding
from common.db import Transaction
from common.rules import autotune, merkle
from common.stores import notices


@dataclass(frozen=True)
class Draft:
    """A plan to be submitted; `stages` as sql/queries/plans.sql `add_stages` reads them."""

    name: str
    priority: int
    definition: dict[str, Any]
    stages: list[dict[str, Any]]
    max_concurrency: int
    shard_timeout: timedelta
    retry_budget: int
    timebox: timedelta
    hash: str
    seed: str
    submitted_by: str
    idempotency_key: str | None = None
    request_hash: str | None = None
    undoes: str | None = None
    causation_id: str | None = None  # the notice that led to it


class Keyed(NamedTuple):
    """The plan that an idempotency key stands for."""

    id: str
    request_hash: str | None


class Openable(NamedTuple):
    """A stage that may open now."""

    no: int
    id: str
    kind: str
    config: dict[str, Any]
    shards: int | None
    concurrency: int
    waves: list[int] | None
    ranges: list[list[int]] | None
    scheduler: str | None


class Open(NamedTuple):
    """A stage that is open, locked."""

    no: int
    id: str
    kind: str
    config: dict[str, Any]
    shards: int | None
    concurrency: int
    waves: list[int] | None
    released: int
    goes_on: bool  # open-ended, and nobody has said yet that there is no more
    is_overdue: bool  # its time limit is over
    timebox_seconds: float | None


class Locked(NamedTuple):
    """A plan, locked, with how many of its stages are where."""

    id: str
    name: str
    status: str
    definition: dict[str, Any]
    undoes: str | None
    open: int
    failed: int
    waiting: int
    reasons: str | None  # of the stages that failed


class Work(NamedTuple):
    """What a worker needs to know of a stage."""

    id: str
    kind: str
    config: dict[str, Any]
    shards: int | None
    is_open_ended: bool
    chunk: int
    hash: str
    shard_timeout: timedelta
    is_undoing: bool
    took: list[Any]  # seconds a shard of the last chunks, newest first
    seconds_left: float | None  # of its time limit


class Chunk(NamedTuple):
    """A completed chunk; its leaves only where one of them has changed since."""

    lo: int
    hi: int
    peaks: bytes
    digests: bytes | None


class Sealed(NamedTuple):
    """A stage whose tree is to be closed."""

    no: int
    shards: int
    hash: str
    seed: str
    finished_at: datetime  # of the plan


class Progress(NamedTuple):
    """One stage of a plan, and the plan."""

    plan: str
    name: str
    plan_status: str
    priority: int
    reason: str | None
    submitted_by: str
    submitted_at: datetime
    deadline_at: datetime
    plan_finished_at: datetime | None
    hash: str
    seed: str
    plan_root: str | None
    retries: int
    retry_budget: int
    undoes: str | None
    no: int
    id: str
    kind: str
    status: str
    shards: int | None
    is_open_ended: bool
    released: int
    opened_at: datetime | None
    finished_at: datetime | None
    chunk: int
    slo: timedelta
    config: dict[str, Any]
    root: str | None
    lanes: int
    held: int
    running: int
    left: int  # that nobody reported, of those that are cut into lanes
    retry: int
    dead: int
    healed: int
    split: int  # of `retry`: those that are done in pieces, and did not fail
    pieces: int
    stage_reason: str | None
    stage_deadline_at: datetime | None
    needs: list[str]
    now: datetime


class Id(NamedTuple):
    """A plan."""

    id: str


class Stranded(NamedTuple):
    """An open stage that nobody has ended although nothing of it is left to do."""

    plan: str
    no: int


class Slow(NamedTuple):
    """An open stage that has taken longer than it should."""

    plan: str
    name: str
    stage: str
    seconds: float
    slo_seconds: float


class Healed(NamedTuple):
    """A shard that went well later."""

    shard: int
    digest: bytes


class Definition(NamedTuple):
    """What was submitted."""

    name: str
    priority: int
    definition: dict[str, Any]
    status: str
    undoes: str | None


def add(tx: Transaction, draft: Draft, plan: str | None = None) -> str | None:
    """The id of a new plan, `plan` if it is given; None when its idempotency key is taken."""
    plan = tx.value(
        "plans.add",
        id=plan,
        name=draft.name,
        priority=draft.priority,
        definition=encoding.dumps(draft.definition),
        max_concurrency=draft.max_concurrency,
        shard_timeout=draft.shard_timeout,
        retry_budget=draft.retry_budget,
        hash=draft.hash,
        seed=draft.seed,
        undoes=draft.undoes,
        idempotency_key=draft.idempotency_key,
        request_hash=draft.request_hash,
        submitted_by=draft.submitted_by,
        timebox=draft.timebox,
    )
    if plan is not None:
        tx.run("plans.add_stages", plan=plan, stages=encoding.dumps(draft.stages))
        told = {"plan_id": plan, "plan_name": draft.name, "stages": len(draft.stages), "submitted_by": draft.submitted_by}
        notices.add(tx, "hxo.plan", told, source="engine", correlation_id=plan, causation_id=draft.causation_id)
    return plan


def by_key(tx: Transaction, key: str) -> Keyed | None:
    """The plan that was submitted under an idempotency key."""
    return tx.one(Keyed, "plans.by_key", key=key)


def lock(tx: Transaction, plan: str) -> Locked | None:
    """A plan, locked until the transaction ends."""
    return tx.one(Locked, "plans.lock", plan=plan)


def lock_stage(tx: Transaction, plan: str, no: int) -> Open | None:
    """A stage, locked; None when it is not open."""
    return tx.one(Open, "plans.lock_stage", plan=plan, no=no)


def lock_open(tx: Transaction, plan: str) -> None:
    """Lock the open stages of a plan: after its lanes, before the plan itself."""
    tx.run("plans.lock_open", plan=plan)


def goes_on(tx: Transaction, plan: str, no: int, shard: int) -> bool:
    """Open-ended: there is more beyond `shard`, which had been taken for the last; False when it had not."""
    return tx.run("plans.goes_on", plan=plan, no=no, shard=shard) == 1


def openable(tx: Transaction, plan: str) -> list[Openable]:
    """The stages that wait for nothing any more."""
    return tx.all(Openable, "plans.openable", plan=plan)


def open_stage(tx: Transaction, plan: str, no: int, *, shards: int | None, released: int) -> None:
    """A stage is open, its first `released` shards cut into lanes; without a number of shards it is open-ended."""
    tx.run("plans.open", plan=plan, no=no, shards=shards, released=released, is_open_ended=shards is None)


def release(tx: Transaction, plan: str, no: int, released: int) -> None:
    """The next wave may begin."""
    tx.run("plans.release", plan=plan, no=no, released=released)


def is_worked_on(tx: Transaction, plan: str, no: int) -> bool:
    """Whether shards of a stage are yet to be done."""
    return bool(tx.value("plans.is_worked_on", plan=plan, no=no))


def end_stage(tx: Transaction, plan: str, no: int, *, ok: bool, reason: str | None = None) -> None:
    """A stage is over; `reason`: why it failed."""
    tx.run("plans.end_stage", plan=plan, no=no, ok=ok, reason=reason)


def learn(tx: Transaction, plan: str, no: int, chunk: int, took: Sequence[float] = ()) -> None:
    """Remember how many shards make a chunk of about a second, and how many seconds each took of the newest, newest first."""
    tx.run("plans.learn", plan=plan, no=no, chunk=chunk, took=encoding.rows(list(took)), kept=autotune.KEPT)


def add_pieces(tx: Transaction, plan: str, no: int, count: int, most: int) -> int | None:
    """Count `count` pieces more; how many there were before. None: the plan would have more than `most` shards, or it may have."""
    before: int | None = tx.value("plans.add_pieces", plan=plan, no=no, count=count, most=most)
    return before


def work(tx: Transaction, plan: str, no: int) -> Work | None:
    """What a worker needs to know of a stage."""
    return tx.one(Work, "plans.work", plan=plan, no=no)


def set_status(tx: Transaction, plan: str, status: str, reason: str | None = None, timebox: timedelta | None = None) -> None:
    """A plan stands elsewhere now; `timebox` begins anew from here."""
    tx.run("plans.set_status", plan=plan, status=status, reason=reason, timebox=timebox)


def reopen(tx: Transaction, plan: str) -> int:
    """Open the stages that failed again; how many."""
    return tx.run("plans.reopen", plan=plan)


def overdue(tx: Transaction, limit: int) -> list[str]:
    """Plans whose timebox is over."""
    return [plan.id for plan in tx.all(Id, "plans.overdue", limit=limit)]


def is_overdue(tx: Transaction, plan: str) -> bool:
    """Whether the timebox of a plan is over, and the plan is not."""
    return bool(tx.value("plans.is_overdue", plan=plan))


def overdue_stages(tx: Transaction, limit: int) -> list[Stranded]:
    """Open stages whose time limit is over."""
    return tx.all(Stranded, "plans.overdue_stages", limit=limit)


def stranded(tx: Transaction, limit: int) -> list[Stranded]:
    """Open stages that nobody has ended although nothing of them is left to do."""
    return tx.all(Stranded, "plans.stranded", limit=limit)


def slow(tx: Transaction, limit: int) -> list[Slow]:
    """Open stages that have taken longer than they should, the longest first."""
    return tx.all(Slow, "plans.slow", limit=limit)


def record(tx: Transaction, plan: str, stage: int, *, lo: int, hi: int, digests: bytes, peaks: bytes) -> None:
    """Write down what became of the chunk [lo, hi)."""
    parity = merkle.parity(digests)  # names the leaf, should one ever be altered
    tx.run("plans.record", plan=plan, stage=stage, lo=lo, hi=hi, digests=digests, peaks=peaks, parity=parity)


def unsealed(tx: Transaction, limit: int) -> list[str]:
    """Plans that are over and have no root yet."""
    return [plan.id for plan in tx.all(Id, "plans.unsealed", limit=limit)]


def sealed_stages(tx: Transaction, plan: str) -> list[Sealed]:
    """The stages of a plan that is over."""
    return tx.all(Sealed, "plans.sealed_stages", plan=plan)


def chunks(tx: Transaction, plan: str, stage: int, lo: int, limit: int) -> list[Chunk]:
    """The chunks of a stage in shard order, from `lo` on."""
    return tx.all(Chunk, "plans.chunks", plan=plan, stage=stage, lo=lo, limit=limit)


def healed(tx: Transaction, plan: str, stage: int, lo: int, hi: int) -> dict[int, bytes]:
    """The digests of shards in [lo, hi) that went well later."""
    return dict(tx.all(Healed, "plans.healed", plan=plan, stage=stage, lo=lo, hi=hi))


def seal_stage(tx: Transaction, plan: str, no: int, root: bytes) -> None:
    """Write down the root over a stage."""
    tx.run("plans.seal_stage", plan=plan, no=no, root=root)


def seal(tx: Transaction, plan: str, root: bytes, finished_at: datetime) -> bool:
    """Write down the root over a plan that ended then; False when it has ended anew since."""
    return tx.run("plans.seal", plan=plan, root=root, finished_at=finished_at) == 1


def progress(tx: Transaction, plan: str | None = None, *, unfinished: bool = False, limit: int = 50) -> list[Progress]:
    """How far every stage of a plan, or of the newest plans, has come."""
    return tx.all(Progress, "plans.progress", plan=plan, unfinished=unfinished, limit=limit)


def definition(tx: Transaction, plan: str) -> Definition | None:
    """What was submitted."""
    return tx.one(Definition, "plans.definition", plan=plan)


def is_taken_back(tx: Transaction, plan: str) -> bool:
    """Whether another plan takes back what this one did, or has done so."""
    return bool(tx.value("plans.is_taken_back", plan=plan))


def is_superseded(tx: Transaction, plan: str) -> bool:
    """Whether a later plan of the same name has succeeded."""
    return bool(tx.value("plans.is_superseded", plan=plan))


# For heal ----------------------------------------------------------------------------------------------------------


class Stuck(NamedTuple):
    """A running plan that nobody works on."""

    plan: str
    name: str
    kind: str  # of an open stage of it
    seconds: float


def adrift(tx: Transaction, limit: int) -> list[str]:
    """Running plans none of whose stages is open."""
    return [row.id for row in tx.all(Id, "plans.adrift", limit=limit)]


def laneless(tx: Transaction, limit: int) -> list[Stranded]:
    """Open-ended stages that go on, without a lane."""
    return tx.all(Stranded, "plans.laneless", limit=limit)


def stuck(tx: Transaction, *, age: timedelta, limit: int) -> list[Stuck]:
    """Running plans in which something has been ready for so long, but nobody comes."""
    return tx.all(Stuck, "plans.stuck", age=age, limit=limit)


def are_watched(tx: Transaction) -> bool:
    """Whether there is anything to look after: a plan that is not over, or an alert of one."""
    return bool(tx.value("plans.are_watched"))
