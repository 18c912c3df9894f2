"""Short locks by name: each is held by one transaction at a time and given back with it. What outlives one has a lease."""

from __future__ import annotations

from common.db import Transaction
from common.rules import lock_keys


def wait(tx: Transaction, name: str) -> None:
    """Wait until no other transaction holds the lock of this name, and hold it until this one ends.

    Raises: Unavailable, when it was not given in the time that the transaction may wait for locks.
    """
    key = lock_keys.key(name)
    tx.run("locks.wait", first=key.first, second=key.second)


def taken(tx: Transaction, name: str) -> bool:
    """Hold the lock of this name until the transaction ends, if no other holds it; whether that is so."""
    key = lock_keys.key(name)
    return bool(tx.value("locks.take", first=key.first, second=key.second))
