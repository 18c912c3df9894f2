"""Backups of the database, as whoever made them has said."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from common.db import Transaction
from common.errors import Conflict


class Backup(NamedTuple):
    """One backup."""

    reference: str
    at: datetime
    recorded_at: datetime
    recorded_by: str


class Wanted(NamedTuple):
    """What is asked of the newest backup before something is taken away, and how it is. In hours."""

    within: float  # 0: nothing is asked
    age: float | None  # None: there is no backup


def add(tx: Transaction, reference: str, at: datetime | None, *, by: str) -> tuple[Backup, bool]:
    """The backup of this reference, and whether it is new; without `at` it is of now."""
    made = tx.one(Backup, "backups.add", reference=reference, at=at, by=by)
    found = made or tx.one(Backup, "backups.find", reference=reference)
    if found is None or (at is not None and found.at != at):
        message = f"The backup {reference} was recorded with another time."
        raise Conflict(message)
    return found, made is not None


def is_future(tx: Transaction, at: datetime) -> bool:
    """Whether a moment has not come yet."""
    return bool(tx.value("backups.is_future", at=at))


def check(tx: Transaction, name: str) -> None:
    """Raises: Conflict, unless there is a backup that is recent enough for the migration `name` to take something away."""
    (wanted,) = tx.all(Wanted, "backups.wanted")
    if not wanted.within or (wanted.age is not None and wanted.age <= wanted.within):
        return
    newest = "none was recorded" if wanted.age is None else f"the newest is {wanted.age:.1f} h old"
    message = (
        f"Migration {name} takes something away, and wants a backup of the last {wanted.within:g} h: {newest}. Make one, and record"
        " it with POST /api/system/backups; or set migrations.backup_within_hours to 0."
    )
    raise Conflict(message, backup_within_hours=wanted.within)
