"""Splitting: a shard that is slow, or keeps failing, is done in pieces, each with a life of its own as a failed shard has.

A piece has a number below zero, counted down within its stage, so that the shards of the stage and the shape of its tree stay
as they are. The shard is done when the last of its pieces is: its leaf is the digest over theirs, in order. A piece that ends
in quarantine takes its shard with it, and nothing else.
"""

from __future__ import annotations

from typing import Any

from common import settings, shards
from common.db import Transaction
from common.flows import pacing
from common.rules import merkle
from common.rules.autotune import Signal
from common.rules.merkle import Hash
from common.rules.shard import Context
from common.stores import heal_actions, plans, shard_failures
from common.stores.plans import Work
from common.stores.shard_failures import Parent, Taken

FEWEST = 2


def can_be(work_: Work) -> bool:
    """Whether shards of this stage may be split at all. What was done whole is taken back whole."""
    return not work_.is_open_ended and not work_.is_undoing and shards.offered(work_.kind, "split") is not None


def pieces(work_: Work, shard: int, given: Context, level: int = 0) -> list[Any] | None:
    """What a shard, or `given.piece` of it, falls into; None: into nothing smaller, or it was split often enough.

    Raises: whatever the kind does.
    """
    if not can_be(work_) or level >= settings.load().hxo_heal_depth_limit:
        return None
    found = shards.find(work_.kind).split(shard, given)
    return found if found is not None and len(found) >= FEWEST else None


def split(tx: Transaction, taken: Taken, work_: Work, found: list[Any]) -> bool | None:
    """Have a failed shard done in pieces; False when it was lost, None when the plan would have more shards than it may."""
    if not shard_failures.hold(tx, taken):
        return False
    plans.lock_stage(tx, taken.plan, taken.stage)
    plans.lock(tx, taken.plan)
    before = plans.add_pieces(tx, taken.plan, taken.stage, len(found), settings.load().hxo_max_shards)
    signal = Signal("hotspot", float(len(found)), "split_shard" if before is not None else "change_partitioner")
    pacing.tell(tx, taken.plan, work_.id, signal, mark=f"{taken.stage}:{taken.shard}")
    if before is None:
        return None
    return shard_failures.split(tx, taken, found, before)


def lock_whole(tx: Transaction, taken: Taken) -> list[Parent]:
    """What this is a piece of, and what that is a piece of, locked upwards: as whoever locks all of a plan does it."""
    found: list[Parent] = []
    above = taken.parent
    while above is not None:
        parent = shard_failures.lock_parent(tx, taken.plan, taken.stage, above)
        if parent is None:
            break
        found.append(parent)
        above = parent.parent
    return found


def gather(tx: Transaction, taken: Taken, whole: list[Parent], hash_: Hash) -> None:
    """A piece has ended: end what it is a piece of, if it was the last."""
    for parent in whole:
        found = shard_failures.gathered(tx, taken.plan, taken.stage, parent.shard)
        if found.retry:
            return
        message = f"{found.dead} of its pieces failed" if found.dead else "all of its pieces went well"
        digest = None if found.dead else merkle.leaf(hash_, b"split" + (found.digests or b""))
        shard_failures.end_parent(tx, taken.plan, taken.stage, parent.shard, digest=digest, message=message)
        heal_actions.add(
            tx,
            taken.plan,
            "quarantine" if found.dead else "healed",
            message,
            stage=taken.stage,
            shard=taken.origin,
            piece=None if parent.origin is None else -parent.shard,
            depth=parent.depth,
        )
