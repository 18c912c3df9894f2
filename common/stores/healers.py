"""Healers: what each did, and whether healing goes on at all."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from common.db import Transaction


class Healer(NamedTuple):
    """What a healer did in its last run, and altogether."""

    name: str
    ran_at: datetime
    took_ms: int
    healed: int
    total: int
    error: str | None


class LastPass(NamedTuple):
    """When healing last ran."""

    seen_at: datetime
    age_seconds: float
    interval_minutes: int


def ran(tx: Transaction, name: str, *, took_ms: int, healed: int, error: str | None = None) -> None:
    """A healer has had its turn."""
    tx.run("healers.ran", name=name, took_ms=took_ms, healed=healed, error=error)


def beat(tx: Transaction) -> None:
    """A healing pass was here."""
    tx.run("healers.beat")


def alert_if_silent(tx: Transaction) -> int:
    """Open an alert when nobody has healed for two intervals; whether one was opened."""
    return tx.run("healers.alert_if_silent")


def every(tx: Transaction) -> list[Healer]:
    """Every healer that ever ran."""
    return tx.all(Healer, "healers.all")


def last_pass(tx: Transaction) -> LastPass | None:
    """When healing last ran."""
    return tx.one(LastPass, "healers.last_pass")
