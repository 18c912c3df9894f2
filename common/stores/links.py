"""Links: what tells how each dependency is, and how each was when it was last looked at."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from common import encoding
from common.db import Transaction
from common.rules.links import STALE_SECONDS, Found, Status
from common.stores import locks


class Sealing(NamedTuple):
    """Plans that are over and not sealed yet."""

    plans: int
    oldest_seconds: float


class Audit(NamedTuple):
    """The last integrity scan."""

    age_seconds: float
    critical: int
    high: int


class Standing(NamedTuple):
    """How a dependency was when it was last looked at."""

    name: str
    status: str
    reason: str | None
    since: datetime
    checked_at: datetime
    age_seconds: float


def sealing(tx: Transaction) -> Sealing:
    """How far sealing is behind."""
    return tx.one(Sealing, "links.sealing") or Sealing(0, 0.0)


def waiting(tx: Transaction) -> float | None:
    """For how many seconds the oldest event has been ready."""
    found: float | None = tx.value("links.waiting")
    return found


def forecast(tx: Transaction) -> float | None:
    """How many seconds ago what is forecast from was brought up to date."""
    found: float | None = tx.value("links.forecast")
    return found


def audit(tx: Transaction) -> Audit | None:
    """The last integrity scan."""
    return tx.one(Audit, "links.audit")


def held_back(tx: Transaction) -> float | None:
    """For how many seconds the oldest notice has waited for a transaction."""
    found: float | None = tx.value("links.held_back")
    return found


def try_watch(tx: Transaction) -> bool:
    """Whether nobody else keeps what was found at this moment, so that this transaction may."""
    return locks.taken(tx, "links")


def standing(tx: Transaction) -> dict[str, Standing]:
    """How each was when it was last looked at."""
    return {each.name: each for each in tx.all(Standing, "links.standing")}


def shown(tx: Transaction) -> dict[str, str]:
    """How each is, as far as it was looked at lately: otherwise nobody knows."""
    return {name: each.status if each.age_seconds < STALE_SECONDS else Status.UNKNOWN for name, each in standing(tx).items()}


def keep(tx: Transaction, found: Iterable[tuple[str, Found]]) -> None:
    """How each is now."""
    rows = [{"name": name, "status": each.status, "reason": each.reason} for name, each in found]
    tx.run("links.keep", found=encoding.rows(rows))
