"""Operators: the tokens people call with, and how often each was used."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from common.db import Transaction


class Stored(NamedTuple):
    """A token that counts now."""

    id: str
    hash: str
    role: str
    name: str


class Listed(NamedTuple):
    """A token as it may be shown."""

    id: str
    role: str
    name: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    revoked_at: datetime | None


def find(tx: Transaction, identifier: str) -> Stored | None:
    """The token with this id, if it counts now."""
    return tx.one(Stored, "operators.find", id=identifier)


def add(tx: Transaction, *, identifier: str, hash_: str, role: str, name: str, created_by: str, life: timedelta) -> None:
    """Store a new token by its hash."""
    tx.run("operators.add", id=identifier, hash=hash_, role=role, name=name, created_by=created_by, life=life)


def all_tokens(tx: Transaction) -> list[Listed]:
    """Every token that was ever made, newest first."""
    return tx.all(Listed, "operators.list")


def revoke(tx: Transaction, identifier: str) -> bool:
    """Whether there was such a token that still counted."""
    return tx.run("operators.revoke", id=identifier) == 1


def throttled_for(tx: Transaction, identifier: str) -> int:
    """Count one call; the seconds to wait before the next one is allowed, 0 when this one is."""
    return int(tx.value("operators.count_call", subject=identifier))
