"""Packs: which of them need which object of the artifact store, so that an object goes when the last that needs it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from common import encoding
from common.db import Transaction


class Name(NamedTuple):
    """An object of the artifact store."""

    object: str


def need(tx: Transaction, plan: str, stage: int, shard: int, objects: Sequence[str]) -> None:
    """A part of a pack needs these objects. Committed before they are looked for, it keeps them where they are."""
    tx.run("packs.need", plan=plan, stage=stage, shard=shard, objects=encoding.rows(list(objects)))


def let_go(tx: Transaction, plan: str, stage: int, shards: range) -> list[str]:
    """These parts need nothing any more: the objects that nobody else needs, for the caller to remove in this transaction.

    Until it is over nobody can need one of them anew: whoever does afterwards finds that it is gone, and writes it again.
    """
    tx.run("packs.hold")
    found = [each.object for each in tx.all(Name, "packs.unneeded", plan=plan, stage=stage, lo=shards.start, hi=shards.stop)]
    tx.run("packs.let_go", plan=plan, stage=stage, lo=shards.start, hi=shards.stop)
    return found
