"""Parts: what each shard of a stage works on, what undoing it needs to know, and what came of it; and of whole stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from common import db, encoding, settings
from common.db import Transaction
from common.errors import AppError, Broken, Conflict, Invalid, Unavailable
from common.rules import merkle
from common.rules.partitions import Part
from common.rules.schedulers import Unit
from common.rules.shard import Context, Failure, Ran, Stage

BEAT_SECONDS = 5.0


class Found(NamedTuple):
    """A part of a stage."""

    shard: int
    part: dict[str, Any]
    kept: Any  # what undoing it needs to know
    output: dict[str, Any] | None


class Below(NamedTuple):
    """Of the shards before one: those that are not done, and those that failed for good."""

    undone: int
    dead: int


class Result(NamedTuple):
    """What a stage came to."""

    plan: str
    stage: int
    name: str
    digest: str
    document: dict[str, Any]
    made_at: datetime
    is_fresh: bool  # of the last 24 hours


class Told(NamedTuple):
    """What a stage of a plan came to."""

    stage: int
    kind: str
    name: str
    digest: str
    document: dict[str, Any]
    made_at: datetime


class Output(NamedTuple):
    """What a shard says."""

    stage: int
    id: str
    shard: int
    output: dict[str, Any]


def put(tx: Transaction, stage: Stage, parts: Sequence[Part]) -> int:
    """The parts of a stage that opens; how many."""
    tx.run("parts.forget", plan=stage.plan, stage=stage.no)
    tx.run("parts.put", plan=stage.plan, stage=stage.no, parts=encoding.rows([list(each) for each in parts]))
    return len(parts)


def copy(tx: Transaction, stage: Stage, undoes: str) -> int:
    """The parts of the stage of this id in the plan that is taken back, with what came of them; how many."""
    return tx.run("parts.copy", plan=stage.plan, stage=stage.no, undoes=undoes, id=stage.id)


def of(tx: Transaction, stage: Stage, shards: range) -> list[Found]:
    """The parts of some shards, in order."""
    return tx.all(Found, "parts.of", plan=stage.plan, stage=stage.no, lo=shards.start, hi=shards.stop)


def every(tx: Transaction, stage: Stage) -> list[Found]:
    """All parts of a stage, in order."""
    count = tx.value("parts.count", plan=stage.plan, stage=stage.no)
    return of(tx, stage, range(count))


def units(tx: Transaction, plan: str, stage: int) -> list[Unit]:
    """What schedulers know of the parts of a stage."""
    return tx.all(Unit, "parts.units", plan=plan, stage=stage)


def renumber(tx: Transaction, plan: str, stage: int, numbers: Sequence[int]) -> None:
    """The parts in another order: the first of `numbers` becomes shard 0."""
    tx.run("parts.renumber", plan=plan, stage=stage, numbers=encoding.rows(list(numbers)))


def intend(tx: Transaction, stage: Stage, shard: int, kept: Any) -> Any:
    """What undoing a part will need to know, as whoever began with it first saw it."""
    return tx.value("parts.intend", plan=stage.plan, stage=stage.no, shard=shard, kept=encoding.rows(kept))


def keep(tx: Transaction, stage: Stage, outputs: Mapping[int, dict[str, Any]]) -> None:
    """What came of parts."""
    rows = [{"shard": shard, "output": output} for shard, output in sorted(outputs.items())]
    tx.run("parts.keep", plan=stage.plan, stage=stage.no, outputs=encoding.rows(rows))


def lock(tx: Transaction, stage: Stage, shard: int) -> Found:
    """A part that is done at most once, locked.

    Raises: Broken, when there is none.
    """
    found = tx.one(Found, "parts.lock", plan=stage.plan, stage=stage.no, shard=shard)
    if found is None:
        message = f"Shard {shard} of stage {stage.id} has nothing to work on."
        raise Broken(message)
    return found


def below(tx: Transaction, stage: Stage, shard: int) -> Below:
    """How the shards before one are."""
    return tx.one(Below, "parts.below", plan=stage.plan, stage=stage.no, shard=shard) or Below(0, 0)


def origin(stage: Stage, part: dict[str, Any]) -> tuple[str, int]:
    """The plan and the stage whose part this is: those that are taken back, where that is what is done."""
    plan, no = part.get("of", (stage.plan, stage.no))
    return plan, no


def beating(context: Context) -> Callable[[], None]:
    """What keeps the lease of a part that takes long: called as often as one likes, it writes every few seconds.

    Raises: Lost, when the chunk is somebody else's by now.
    """
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last > BEAT_SECONDS:
            context.beat(context.checkpoint)
            last = time.monotonic()

    return beat


def opened(tx: Transaction, stage: Stage, found: Callable[[], Sequence[Part]]) -> int:
    """Find the parts of a stage that opens, and keep them; how many.

    What cannot be found any more is no error of whoever opens the stage: it is a shard that fails and says why.
    Raises: Unavailable, when it may be found a moment later.
    """
    try:
        parts = found()
        if len(parts) > (most := settings.load().hxo_max_shards):
            message = f"It falls into {len(parts):,} parts, and a plan may have {most:,} shards: make the parts larger."
            raise Conflict(message)
    except Unavailable:
        raise  # whoever opens the stage comes again
    except AppError as error:
        faults = "; ".join(f"{fault['pointer']} {fault['message']}" for fault in error.fields.get("errors", []))
        parts = [Part({"refused": f"{error.detail} {faults}".strip()}, 1, "")]
    return put(tx, stage, parts)


def worked(
    context: Context, shards: range, do: Callable[[Found], dict[str, Any]], effect: Callable[[Transaction], Any] | None = None
) -> Ran:
    """`do` each part of some shards; what it says of one is its output, and the leaf of its shard.

    `effect` is written with the outputs, in the transaction that completes the chunk. A part that is refused fails alone.
    Raises: Unavailable, when something that all of them need is; Lost, when the chunk is somebody else's by now; Broken,
    when a shard has no part.
    """
    stage = context.stage
    with db.transaction("worker") as tx:
        found = of(tx, stage, shards)
    if len(found) != len(shards):
        message = f"{len(shards) - len(found)} shards of stage {stage.id} have nothing to work on."
        raise Broken(message)
    outputs: dict[int, dict[str, Any]] = {}
    failures: dict[int, Failure] = {}
    for part in found:
        context.beat(context.checkpoint)
        try:
            if "refused" in part.part:
                raise Conflict(str(part.part["refused"]))
            outputs[part.shard] = do(part)
        except Unavailable:
            raise
        except AppError as error:
            code = str(error.fields.get("sqlstate") or error.slug)
            failures[part.shard] = Failure(code, error.detail, isinstance(error, Invalid | Conflict))

    def write(tx: Transaction) -> None:
        keep(tx, stage, outputs)
        if effect is not None:
            effect(tx)

    leaves = [merkle.leaf(context.hash, encoding.canonical(outputs[shard])) if shard in outputs else b"" for shard in shards]
    return Ran(leaves, failures, effect=write)


def taken_back(
    context: Context, shards: range, undo: Callable[[Found], Any], effect: Callable[[Transaction, list[Found]], Any]
) -> Ran:
    """`undo` each part of some shards that was done; `effect` is written with what was taken back."""
    stage = context.stage
    with db.transaction("worker") as tx:
        found = of(tx, stage, shards)
    for part in found:
        context.beat(context.checkpoint)
        undo(part)

    def write(tx: Transaction) -> None:
        effect(tx, found)

    said = [encoding.canonical({"status": "taken back", "kind": stage.kind, "shard": shard}) for shard in shards]
    return Ran([merkle.leaf(context.hash, each) for each in said], effect=write)


def conclude(tx: Transaction, stage: Stage, *, name: str, digest: str, document: dict[str, Any]) -> None:
    """What a whole stage came to."""
    tx.run(
        "parts.conclude",
        plan=stage.plan,
        stage=stage.no,
        kind=stage.kind,
        name=name,
        digest=digest,
        document=encoding.dumps(document),
    )


def unconclude(tx: Transaction, plan: str, stage: int) -> None:
    """A stage is taken back."""
    tx.run("parts.unconclude", plan=plan, stage=stage)


def by_digest(tx: Transaction, kind: str, digest: str) -> Result | None:
    """The newest result of a kind with this digest."""
    return tx.one(Result, "parts.by_digest", kind=kind, digest=digest)


def by_name(tx: Transaction, kind: str, name: str, limit: int = 1) -> list[Result]:
    """The newest results of a kind with this name."""
    return tx.all(Result, "parts.by_name", kind=kind, name=name, limit=limit)


def results(tx: Transaction, plan: str) -> list[Told]:
    """What the stages of a plan came to."""
    return tx.all(Told, "parts.results", plan=plan)


def outputs(tx: Transaction, plan: str, after: tuple[int, int], limit: int) -> list[Output]:
    """What the shards of a plan say, in order, beyond a stage and a shard."""
    return tx.all(Output, "parts.outputs", plan=plan, stage=after[0], shard=after[1], limit=limit)
