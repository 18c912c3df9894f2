"""The id of a piece of work by what it is made from: equal ids mean equal results, so a result may be used again."""

from __future__ import annotations

import hashlib
from typing import Any

from common import encoding


def cas_id(*, tenant: str, kind: str, version: str, executor: str, inputs: Any) -> str:
    """The full SHA-256, in hex, of everything that a result depends on.

    `version` is that of the code: with another one an old result is never used again. Whose plan asks is left out on
    purpose: two plans may share a result, while their shards stay apart by plan, stage and number.
    """
    made_from = {"tenant": tenant, "kind": kind, "version": version, "executor": executor, "inputs": inputs}
    return hashlib.sha256(encoding.canonical(made_from)).hexdigest()


def version(*sources: bytes) -> str:
    """The version of code, from its text: it changes whenever the code does, and nobody can forget to count it up."""
    return hashlib.sha256(b"\x00".join(hashlib.sha256(source).digest() for source in sources)).hexdigest()


def digest(value: Any) -> str:
    """The SHA-256, in hex, of the canonical JSON of `value`."""
    return hashlib.sha256(encoding.canonical(value)).hexdigest()
