"""Telemetry: where the shards of plans are, and what stands still; read from lanes, failures and leaves."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from common.db import Transaction


class Lane(NamedTuple):
    """A lane that is not over."""

    stage: int
    done: int
    busy: int
    hi: int
    is_held: bool


class Mark(NamedTuple):
    """A cell in which a shard failed, and how that stands, as in rules/bitmap.py."""

    cell: int
    state: int


class Cell(NamedTuple):
    """A cell."""

    cell: int


class Gap(NamedTuple):
    """Shards [lo, hi) that nobody reported."""

    lo: int
    hi: int


class Stuck(NamedTuple):
    """Shards [lo, hi) that stand still."""

    plan: str
    name: str
    stage: str
    kind: str
    lo: int
    hi: int
    why: str
    lapses: int  # workers that died there, or attempts
    seconds: float


class Incomplete(NamedTuple):
    """A plan that is not over."""

    plan: str
    name: str
    status: str
    reason: str | None
    submitted_at: datetime
    deadline_at: datetime
    is_overdue: bool
    stages_left: int
    lanes_held: int
    lanes_lapsed: int
    failures_lapsed: int
    stages_stranded: int
    is_adrift: bool  # none of its stages is open


class Kind(NamedTuple):
    """A shard kind that is worked on."""

    kind: str
    stages: int
    lanes: int
    held: int
    shortest: int  # shards left in a lane
    longest: int
    took: list[Any]  # seconds a shard, of the last chunks


def lanes(tx: Transaction, plan: str) -> list[Lane]:
    """The lanes of a plan that are not over, by stage and in shard order."""
    return tx.all(Lane, "telemetry.lanes", plan=plan)


def marks(tx: Transaction, plan: str, stage: int, scale: int) -> list[Mark]:
    """The shards of a stage that failed, by cells of `scale`."""
    return tx.all(Mark, "telemetry.marks", plan=plan, stage=stage, scale=scale)


def in_pieces(tx: Transaction, plan: str, stage: int, scale: int) -> list[int]:
    """The shards of a stage that are done in pieces, by cells of `scale`."""
    return [each.cell for each in tx.all(Cell, "telemetry.in_pieces", plan=plan, stage=stage, scale=scale)]


def gaps(tx: Transaction, plan: str, stage: int) -> list[Gap]:
    """What nobody reported of a stage that is over."""
    return tx.all(Gap, "telemetry.gaps", plan=plan, stage=stage)


def stuck(tx: Transaction, *, age: timedelta, limit: int) -> list[Stuck]:
    """What stands still: its worker died, or nobody has come for `age`; the longest first."""
    return tx.all(Stuck, "telemetry.stuck", age=age, limit=limit)


def hurry(tx: Transaction, plan: str | None, *, reason: str, limit: int) -> int:
    """Let failed shards have their next attempt now, of a plan or of all; how many waited for it."""
    return tx.run("telemetry.hurry", plan=plan, reason=reason, limit=limit)


def incomplete(tx: Transaction, *, plan: str | None = None, limit: int) -> list[Incomplete]:
    """Plans that are not over, the oldest first."""
    return tx.all(Incomplete, "telemetry.incomplete", plan=plan, limit=limit)


def kinds(tx: Transaction) -> list[Kind]:
    """The shard kinds that are worked on."""
    return tx.all(Kind, "telemetry.kinds")
