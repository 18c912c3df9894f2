"""Keys of short advisory locks: two signed 32-bit integers from a name, as `pg_advisory_xact_lock(int4, int4)` takes them."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

NAMESPACE = "tidemark"


class Key(NamedTuple):
    """The two arguments. `pg_locks` shows both as unsigned (classid, objid), with objsubid 2."""

    first: int
    second: int


def key(name: str, namespace: str = NAMESPACE) -> Key:
    """The key of what is locked under `name`: the first 63 bits that matter of SHA-256 over namespace:name."""
    digest = hashlib.sha256(f"{namespace}:{name}".encode()).digest()
    return split(int.from_bytes(digest[:8]) & (2**63 - 1))


def split(number: int) -> Key:
    """The two halves of a number of 63 bits; the first is never negative.

    Raises: ValueError, when it has more bits or is negative: one lock must not have two keys.
    """
    if not 0 <= number < 2**63:
        message = f"{number} is not a number of 63 bits"
        raise ValueError(message)
    return Key(number >> 32, _signed(number & 0xFFFFFFFF))


def _signed(half: int) -> int:
    return half - 2**32 if half >= 2**31 else half
