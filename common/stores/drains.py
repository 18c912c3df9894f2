"""Drains: releases that finish what they hold and take nothing new. A release is drained, not a deployment, nor the database."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from common.db import Transaction
from common.stores import locks


class Drain(NamedTuple):
    """How far the draining of a release is."""

    asked_at: datetime
    asked_by: str
    deadline_at: datetime
    is_due: bool
    idle_at: datetime | None  # when it was first seen to hold nothing


class AtWork(NamedTuple):
    """What is being worked on."""

    lanes: int  # by the release that was asked for
    retries: int  # failed shards that are tried again, by whoever it is


def begin(tx: Transaction, deployment: str, release: str, *, patience: timedelta, actor: str) -> None:
    """Drain a release: what it has not finished after `patience` is taken from it. Asked again, it begins anew.

    Whoever is taking something has finished that when this returns: they queue up for the same lock.
    """
    locks.wait(tx, "lanes")
    tx.run("drains.begin", deployment=deployment, release=release, patience=patience, actor=actor)


def end(tx: Transaction, deployment: str, release: str) -> bool:
    """Let it take something again; whether it was being drained."""
    return tx.run("drains.end", deployment=deployment, release=release) == 1


def is_draining(tx: Transaction, deployment: str, release: str) -> bool:
    """Whether this release is to take nothing, and is not ready."""
    return bool(tx.value("drains.is_draining", deployment=deployment, release=release))


def find(tx: Transaction, deployment: str, release: str) -> Drain | None:
    """How far it is; None: it is not being drained."""
    return tx.one(Drain, "drains.find", deployment=deployment, release=release)


def at_work(tx: Transaction, deployment: str, release: str) -> AtWork:
    """What this release, and who tries failed shards again, is at."""
    return tx.one(AtWork, "drains.at_work", holder=f"{deployment}/{release}") or AtWork(0, 0)


def hand_back(tx: Transaction, deployment: str, release: str) -> int:
    """Take every lane from it; how many. What it does with them from now on is refused, and others do it."""
    return tx.run("drains.hand_back", holder=f"{deployment}/{release}")


def settle(tx: Transaction, deployment: str, release: str) -> None:
    """Write down that it was seen to hold nothing."""
    tx.run("drains.settle", deployment=deployment, release=release)
