"""Integrity scans of source trees, and the journal of what they changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from common import encoding
from common.db import Transaction


class Report(NamedTuple):
    """One look at a tree."""

    id: UUID
    at: datetime
    requested_by: str
    deployment: UUID | None
    summary: dict[str, Any]


class Patch(NamedTuple):
    """A change to a tree."""

    id: UUID
    run: UUID
    plan: str
    source: str
    state: str  # intended, applied or rolled_back
    at: datetime
    rolled_back_at: datetime | None
    rolled_back_by: str | None


class File(NamedTuple):
    """What stood in a file, and what a patch made of it."""

    path: str
    mode: int
    before: bytes
    after: bytes | None  # None: it is taken out


def add_run(
    tx: Transaction, identifier: UUID, *, policy: str, dry_run: bool, source: str, deployment: UUID | str | None, requested_by: str,
    summary: Mapping[str, Any],
) -> datetime:  # fmt: skip
    """Write down one look at a tree; when that was."""
    at: datetime = tx.value(
        "arie.add_run",
        id=identifier,
        policy=policy,
        dry_run=dry_run,
        source=source,
        deployment=deployment,
        requested_by=requested_by,
        summary=encoding.dumps(summary),
    )
    return at


def report(tx: Transaction, identifier: UUID | None = None) -> Report | None:
    """The last look, or one of them."""
    return tx.one(Report, "arie.report", id=identifier)


def intend(
    tx: Transaction, identifier: UUID, *, run: UUID, plan: str, source: str, diff: str, made_by: str, files: Iterable[File]
) -> datetime:
    """Write down a patch before it is made, with what stands in its files."""
    at: datetime = tx.value("arie.intend", id=identifier, run=run, plan=plan, source=source, diff=diff, made_by=made_by)
    rows = [
        {
            "path": each.path,
            "mode": each.mode,
            "before": each.before.hex(),
            "after": None if each.after is None else each.after.hex(),
        }
        for each in files
    ]
    tx.run("arie.add_files", patch=identifier, files=encoding.rows(rows))
    return at


def applied(tx: Transaction, identifier: UUID) -> None:
    """It is written."""
    tx.run("arie.applied", id=identifier)


def patch(tx: Transaction, identifier: UUID) -> Patch | None:
    """One patch, locked until the transaction ends."""
    return tx.one(Patch, "arie.patch", id=identifier)


def files(tx: Transaction, identifier: UUID) -> list[File]:
    """What stood in the files of a patch, and what was written."""
    return tx.all(File, "arie.files", patch=identifier)


def rolled_back(tx: Transaction, identifier: UUID, *, actor: str) -> datetime:
    """What stood there before stands there again."""
    at: datetime = tx.value("arie.rolled_back", id=identifier, actor=actor)
    return at
