"""Breakers: one row per dependency, shared by everybody who calls it. What its states mean is in rules/breaker.py."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from common.db import Transaction
from common.rules.breaker import Breaker, Limits, State


class Seen(NamedTuple):
    """How it stands, and when that was by the database's clock."""

    state: str
    failures: int
    successes: int
    token: int
    is_probing: bool
    opened_at: datetime | None
    next_probe_at: datetime | None
    at: datetime

    @property
    def breaker(self) -> Breaker:
        """As the rules have it."""
        return Breaker(
            State(self.state), self.failures, self.successes, self.token, self.is_probing, self.opened_at, self.next_probe_at
        )


class Locked(NamedTuple):
    """How it stands, while nobody else can change it."""

    state: str
    failures: int
    successes: int
    token: int
    is_probing: bool
    opened_at: datetime | None
    next_probe_at: datetime | None
    at: datetime
    fresh: int  # a token that nobody has had
    most_failures: int
    most_successes: int
    open_for: timedelta

    @property
    def breaker(self) -> Breaker:
        """As the rules have it."""
        return Seen(*self[:8]).breaker

    @property
    def limits(self) -> Limits:
        """Those that count for it."""
        return Limits(self.most_failures, self.most_successes, self.open_for)


class Unprobed(NamedTuple):
    """One that a probe has long been due for."""

    name: str


class Shown(NamedTuple):
    """How one dependency stands, for people."""

    name: str
    state: str
    failures: int
    successes: int
    is_probing: bool
    opened_at: datetime | None
    next_probe_at: datetime | None
    successful: int
    failed: int
    rejected: int
    state_changes: int
    last_failure: str | None
    last_failure_at: datetime | None
    reset_at: datetime | None
    reset_by: str | None


def introduce(tx: Transaction, name: str) -> None:
    """Make a dependency known."""
    tx.run("breakers.introduce", name=name)


def look(tx: Transaction, name: str, *, successful: int) -> Seen | None:
    """How it stands; None when it is not known yet. `successful`: calls that went well and have not been told of."""
    return tx.one(Seen, "breakers.look", name=name, successful=successful)


def lock(tx: Transaction, name: str) -> Locked | None:
    """How it stands, until the transaction ends; None when it is not known yet."""
    return tx.one(Locked, "breakers.lock", name=name)


def store(
    tx: Transaction, name: str, after: Breaker, *, is_change: bool, successful: int = 0, failed: int = 0, rejected: int = 0,
    failure: str | None = None,
) -> None:  # fmt: skip
    """Write how it stands; the numbers are added to what was counted before."""
    tx.run(
        "breakers.store",
        name=name,
        state=after.state.value,
        failures=after.failures,
        successes=after.successes,
        token=after.token,
        is_probing=after.is_probing,
        opened_at=after.opened_at,
        next_probe_at=after.next_probe_at,
        changed=int(is_change),
        successful=successful,
        failed=failed,
        rejected=rejected,
        failure=failure,
    )


def reset(tx: Transaction, name: str, *, token: int, is_change: bool, actor: str) -> None:
    """Write that it was closed by hand."""
    tx.run("breakers.reset", name=name, token=token, changed=int(is_change), actor=actor)


def count_opened(tx: Transaction) -> None:
    """Count one that opened."""
    tx.run("breakers.count_opened")


def all_of_them(tx: Transaction) -> list[Shown]:
    """Every dependency."""
    return tx.all(Shown, "breakers.all")


def unprobed(tx: Transaction, *, limit: int) -> list[str]:
    """The names of those that a probe has long been due for, though nobody made one."""
    return [each.name for each in tx.all(Unprobed, "breakers.unprobed", limit=limit)]
