"""Leases: rows that say who may act where only one may, until when, and under which token."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from common.db import Transaction


class Standing(NamedTuple):
    """How a lease stood for whoever wanted to hold it."""

    name: str
    holder: str
    token: int
    expires_at: datetime
    is_held: bool  # by `holder`, now
    is_left_to_others: bool  # `holder` is who asked, and has handed it over a short while ago
    left: float | None  # seconds until it is free for who asked
    taken_over_with: int | None  # the token of the last time that another holder came


class Shown(NamedTuple):
    """A lease as people see it."""

    holder: str
    holder_pid: int
    token: int
    is_held: bool
    acquired_at: datetime
    expires_at: datetime
    heartbeat_age: float  # seconds
    idle: float  # seconds for which nobody has held it
    takeover: dict[str, Any] | None


class Released(NamedTuple):
    """A lease that was handed over."""

    holder: str
    token: int
    released_at: datetime


def hold(tx: Transaction, name: str, *, holder: str, pid: int) -> Standing | None:
    """Take a lease that is free, with a new token; keep one that is the holder's; leave another's alone. How it stands then.

    None, or an expired one: somebody else was at it in the same moment; ask again.
    """
    return tx.one(Standing, "leases.hold", name=name, holder=holder, pid=pid)


def guard(tx: Transaction, name: str, token: int) -> bool:
    """Keep everybody from taking the lease until the transaction ends; False when it is not held under this token any more."""
    return tx.value("leases.guard", name=name, token=token) is not None


def stands(tx: Transaction, name: str, token: int) -> bool:
    """Whether nobody else has taken the lease since, and nobody has handed it over."""
    return bool(tx.value("leases.stands", name=name, token=token))


def end(tx: Transaction, name: str, token: int) -> bool:
    """What the lease was taken for is done; whether it was still held."""
    return tx.run("leases.end", name=name, token=token) == 1


def release(tx: Transaction, name: str, *, actor: str) -> Released | None:
    """Hand the lease over to whoever else comes; None when nobody holds it. Waits for writes under it that are under way."""
    return tx.one(Released, "leases.release", name=name, actor=actor)


def find(tx: Transaction, name: str) -> Shown | None:
    """How a lease stands; None before it was ever taken."""
    return tx.one(Shown, "leases.find", name=name)


def is_there(tx: Transaction) -> bool:
    """Whether this schema has leases."""
    return bool(tx.value("leases.is_there"))


def count_fenced(tx: Transaction) -> None:
    """A write was refused because its lease was lost."""
    tx.run("leases.count_fenced")
