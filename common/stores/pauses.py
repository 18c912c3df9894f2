"""Pauses: whether this release may begin anything now, and what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from common import encoding, settings
from common.db import Transaction
from common.stores import locks, releases

# What is begun although the schema is older than the code, or just changing: the kinds that change it, and what they wait for.
MIGRATING = ("system.migrate", "deploy.bootstrap", "deploy.runtime")


def begin(tx: Transaction, lasts: timedelta) -> float:
    """Let nobody begin anything but what migrates, for so long; for how many seconds that has been so.

    Whoever is taking something has finished that when this returns: they queue up for the same lock.
    """
    locks.wait(tx, "lanes")
    return float(tx.value("pauses.begin", holder=releases.holder(), lasts=lasts, besides=encoding.rows(list(MIGRATING))))


def end(tx: Transaction) -> bool:
    """Let everybody go on, if it is this release that stopped them; whether it was."""
    return tx.run("pauses.end", holder=releases.holder()) == 1


def allowed(tx: Transaction, kinds: Sequence[str]) -> Sequence[str] | None:
    """Which of these shard kinds (none named: of all) may be begun here now: `kinds` as given, some of them, or None: nothing."""
    current = settings.load()
    besides = tx.value("pauses.besides", deployment=current.deployment, release=current.running_release)
    return kinds if besides is None else _both(besides, kinds)


def migrating(kinds: Sequence[str]) -> Sequence[str] | None:
    """Which of these kinds (none named: of all) change the schema; None: none of them."""
    return _both(MIGRATING, kinds)


def at_work(tx: Transaction) -> int:
    """How many workers are at something else than what migrates."""
    return int(tx.value("pauses.at_work", besides=encoding.rows(list(MIGRATING))))


def _both(some: Sequence[str], kinds: Sequence[str]) -> Sequence[str] | None:
    return tuple(kind for kind in some if not kinds or kind in kinds) or None
