"""Shards that do nothing, for trials: config `{shards}`, a whole number from 1; absent: 1."""

from __future__ import annotations

from typing import Any

from common.errors import Invalid
from common.rules import merkle
from common.rules.blueprint import Schema
from common.rules.shard import Context, Ran

KIND = "noop"


class Input(Schema):
    """How many there are."""

    shards: int = 1


class Output(Schema):
    """Nothing is said but that it was done."""


INPUT, OUTPUT = Input, Output


def plan(config: dict[str, Any]) -> int:
    """How many shards.

    Raises: Invalid, when that is not a whole number from 1.
    """
    shards = config.get("shards", 1)
    if not isinstance(shards, int) or isinstance(shards, bool) or shards < 1:
        message = "A stage of kind noop has 1 shard or more."
        raise Invalid(message, errors=[{"pointer": "/shards", "message": "must be a whole number from 1"}])
    return shards


def run(shards: range, context: Context) -> Ran:
    """Nothing, with one digest for each that says so."""
    return Ran([merkle.leaf(context.hash, b"noop %d" % shard) for shard in shards])


def undo(shards: range, context: Context) -> Ran:
    """Nothing was done, so nothing is taken back."""
    return Ran([merkle.leaf(context.hash, b"undo noop %d" % shard) for shard in shards])
