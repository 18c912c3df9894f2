"""Change data in batches: one statement, run over and over on a part of the rows, each batch a transaction of its own.

A dry run comes first: every batch is run and taken back, and what it touched counted. What the dry run came to has a digest,
and only with that, and within a day, are the batches run for good. Each is done exactly once, whoever dies: its rows and the
note that it is done are written together.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from common import db
from common.db import Transaction
from common.errors import AppError, Broken, Invalid, Unavailable
from common.rules import blueprint, cas, partitions, statements
from common.rules.blueprint import Schema
from common.rules.partitions import Part
from common.rules.shard import Context, Ran, Stage
from common.stores import batches, parts
from common.stores.parts import Found

KIND = "deploy.migrate"
IN_PARTS = True
MOST_ROWS = 10**12
WRONG_SQL = "42"  # SQLSTATE: syntax, names, rights; another attempt would fail in the same way


class Input(Schema):
    """The statement, its batches, and whether it is meant."""

    statement: str | None = Field(
        default=None, min_length=1, description="with :lo and :hi, or :offset and :limit; absent: nothing to do"
    )
    undo: str | None = Field(default=None, min_length=1, description="what takes a batch back, with the same parameters")
    count: str | None = Field(default=None, min_length=1, description="a select of how many rows, or how high the key goes")
    total_rows: int | None = Field(default=None, ge=0, le=MOST_ROWS, description="the same, as a number")
    batch_size: int = Field(default=1000, ge=1, le=100_000)
    dry_run: bool = True
    confirm: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="the digest of the dry run, for a run that is meant"
    )
    allow_non_idempotent: bool = False
    lock_timeout_ms: int = Field(default=1000, ge=1, le=5000)
    statement_timeout_ms: int = Field(default=5000, ge=1, le=10_000)
    partitioner: Literal["by_sql_batch"] = "by_sql_batch"
    executor: Literal["sql_migrate"] = "sql_migrate"

    @property
    def limits(self) -> dict[str, timedelta]:
        """How long a batch may wait for a lock, and take."""
        return {"lock": timedelta(milliseconds=self.lock_timeout_ms), "limit": timedelta(milliseconds=self.statement_timeout_ms)}

    @property
    def meant(self) -> str:
        """The digest of what is to be done: the same for the dry run as for the run that is meant."""
        return cas.digest([self.statement, self.undo, self.count, self.total_rows, self.batch_size])


class Output(Schema):
    """What a shard says."""

    status: Literal["migrated", "dry_run"]
    batch_id: int
    rows_affected: int


INPUT, OUTPUT = Input, Output


def plan(config: dict[str, Any]) -> int:
    """How many batches there are; none without a statement.

    Raises: Invalid, for a statement that cannot be run in batches, and for one that is meant without a dry run of it.
    """
    asked = blueprint.read(Input, config, KIND)
    if asked.statement is None:
        return 0
    faults = _faults(asked)
    if not faults and not asked.dry_run:
        faults = _unconfirmed(asked)
    if faults:
        raise blueprint.refused(KIND, *faults)
    return len(_parts(asked))


def _faults(asked: Input) -> list[tuple[str, str]]:
    """What is wrong with the statements."""
    found = []
    for pointer, text in {"/statement": asked.statement, "/undo": asked.undo, "/count": asked.count}.items():
        try:
            read = statements.read(text) if text else None
        except ValueError as error:
            found.append((pointer, str(error)))
            continue
        if read is None:
            continue
        if pointer == "/count":
            if read.verb != "select" or read.parameters:
                found.append((pointer, "must be a select without parameters"))
            continue
        if read.verb == "select":
            found.append((pointer, "must change something: update, insert or delete"))
        if fault := statements.parameters_fault(read.parameters):
            found.append((pointer, fault))
        if not (read.is_idempotent or asked.allow_non_idempotent or asked.dry_run):
            found.append((pointer, "may do more when it is run twice: set allow_non_idempotent to true if that is meant"))
    if asked.total_rows is None and asked.count is None:
        found.append(("/total_rows", "must be given, or count"))
    return found


def _unconfirmed(asked: Input) -> list[tuple[str, str]]:
    """Why this may not be run for good yet."""
    if asked.confirm is None:
        return [("/confirm", "must be the digest of a dry run: submit it with dry_run first, and read its outputs")]
    with db.transaction("worker", read_only=True) as tx:
        found = parts.by_digest(tx, KIND, asked.confirm)
    if found is None:
        return [("/confirm", "is the digest of no dry run that went well")]
    if found.name != asked.meant:
        return [("/confirm", "is the digest of a dry run of something else: dry-run exactly what is to be run")]
    if not found.is_fresh:
        return [("/confirm", "is of a dry run that is more than a day old: dry-run it again")]
    return []


def open(tx: Transaction, stage: Stage) -> int:  # noqa: A001 - the engine's word for it
    """How many batches there are when the stage opens."""
    asked = Input(**stage.config)
    return parts.opened(tx, stage, lambda: _parts(asked) if asked.statement else [])


def _parts(asked: Input) -> list[Part]:
    """Raises: Invalid, when the count cannot be had; Unavailable."""
    total = asked.total_rows
    if total is None:
        try:
            # In a transaction of its own: what the database refuses must not end the one that opens the stage.
            with db.transaction("worker", read_only=True) as tx:
                total = batches.counted(tx, str(asked.count), **asked.limits)
        except Unavailable:
            raise
        except AppError as error:
            raise blueprint.refused(KIND, ("/count", error.detail)) from error
        if not isinstance(total, int) or isinstance(total, bool) or not 0 <= total <= MOST_ROWS:
            raise blueprint.refused(KIND, ("/count", f"must come to a whole number of rows, not {str(total)[:50]}"))
    return partitions.by_sql_batch(total_rows=total, batch_size=asked.batch_size)


def run(shards: range, context: Context) -> Ran:
    """Run each batch, or dry-run it.

    Raises: Unavailable, when a lock is not given in time, or a batch takes too long.
    """
    asked = Input(**context.stage.config)
    return parts.worked(context, shards, lambda part: _batch(context.stage, part, asked))


def _batch(stage: Stage, part: Found, asked: Input) -> dict[str, Any]:
    """Raises: Invalid, when the statement itself is wrong."""
    with db.transaction("worker", timeout=_LONGEST) as tx:
        locked = parts.lock(tx, stage, part.shard)
        if locked.output is not None:
            return locked.output  # whoever did it died before the chunk was reported, or is slower than we are
        if asked.dry_run:
            tx.script("savepoint trial")
        rows = _ran(tx, str(asked.statement), part.part, asked)
        if asked.dry_run:
            tx.script("rollback to savepoint trial")
        said = Output(
            status="dry_run" if asked.dry_run else "migrated", batch_id=part.part["batch_id"], rows_affected=max(0, rows)
        ).model_dump()
        parts.keep(tx, stage, {part.shard: said})
    return said


_LONGEST = timedelta(seconds=12)  # more than the longest statement may take


def _ran(tx: Transaction, statement: str, part: dict[str, Any], asked: Input) -> int:
    bounds = {name: part[name] for name in ("lo", "hi", "offset", "limit")}
    try:
        return batches.ran(tx, statement, bounds, **asked.limits)
    except Broken as error:
        state = str(error.fields.get("sqlstate", ""))
        if not state.startswith(WRONG_SQL):
            raise
        message = f"The database refuses the statement: {error.detail}"
        raise Invalid(message, sqlstate=state) from error


def ended(tx: Transaction, stage: Stage, *, ok: bool) -> None:
    """A dry run that went well has a digest, which the run that is meant is confirmed with."""
    found = parts.every(tx, stage) if ok else []
    asked = Input(**stage.config)
    if not found or not asked.dry_run or "of" in found[0].part:
        return
    rows = {str(each.part["batch_id"]): each.output["rows_affected"] for each in found if each.output}
    document = {"batches": len(rows), "rows_affected": sum(rows.values())}
    parts.conclude(tx, stage, name=asked.meant, digest=cas.digest([asked.meant, rows]), document=document)


def undoable(config: dict[str, Any]) -> bool:
    """Whether what a stage of this config did can be taken back: there is a statement for it, or nothing was done."""
    asked = blueprint.read(Input, config, KIND)
    return asked.dry_run or asked.statement is None or asked.undo is not None


def undo(shards: range, context: Context) -> Ran:
    """Take back each batch that was run, once."""
    asked = Input(**context.stage.config)

    def take_back(part: Found) -> None:
        if asked.dry_run or part.output is None:
            return
        with db.transaction("worker", timeout=_LONGEST) as tx:
            if parts.lock(tx, context.stage, part.shard).kept is None:
                rows = _ran(tx, str(asked.undo), part.part, asked)
                parts.intend(tx, context.stage, part.shard, {"taken_back": rows})

    def effect(tx: Transaction, found: list[Found]) -> None:
        for plan_, no in {parts.origin(context.stage, part.part) for part in found}:
            parts.unconclude(tx, plan_, no)

    return parts.taken_back(context, shards, take_back, effect)
