"""Lanes: a stage's shards as a handful of rows, each worked through by one function at a time under a lease and a token."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from common import encoding, settings
from common.db import Transaction
from common.stores import locks


class Lane(NamedTuple):
    """A lane as it was taken: its first chunk is [done, busy)."""

    plan: str
    stage: int
    no: int
    token: int
    done: int
    busy: int
    hi: int
    lapses: int  # workers in a row that died here
    checkpoint: Any


class Place(NamedTuple):
    """How far a lane has come: [done, busy) is the chunk to work on, empty when it is over."""

    done: int
    busy: int
    hi: int


class Free(NamedTuple):
    """How many workers could begin at once, and when one could if none can now."""

    now: int
    next_at: datetime | None


def _key(lane: Lane) -> dict[str, Any]:
    return {"plan": lane.plan, "stage": lane.stage, "no": lane.no, "token": lane.token}


def queue_up(tx: Transaction) -> None:
    """Wait until nobody else is taking anything: permits are counted, and must be true until one is taken. Rare: once a turn."""
    locks.wait(tx, "lanes")


def take(tx: Transaction, *, holder: str, lease: timedelta, kinds: Sequence[str] = ()) -> Lane | None:
    """A lane nobody works on, or the half of one that is far behind; None when there is nothing to take, or no permit for it."""
    queue_up(tx)
    served, adaptive = encoding.rows(list(kinds)), settings.load().hxo_alir_enabled
    return tx.one(Lane, "lanes.take", holder=holder, lease=lease, kinds=served, adaptive=adaptive) or tx.one(
        Lane, "lanes.steal", holder=holder, lease=lease, kinds=served, adaptive=adaptive
    )


def advance(tx: Transaction, lane: Lane, *, next_: int, lease: timedelta) -> Place | None:
    """Report the chunk and take the next of `next_` shards; None: the lane was lost, and nothing of the chunk may be written."""
    return tx.one(Place, "lanes.advance", **_key(lane), next=next_, lease=lease)


def extend(tx: Transaction, lane: Lane, shard: int, *, more: bool, next_: int, lease: timedelta) -> Place | None:
    """Open-ended: write down whether there is more beyond `shard`, and take the next one; None when the lane is over."""
    return tx.one(Place, "lanes.extend", **_key(lane), shard=shard, more=more, next=next_, lease=lease)


def give_back(tx: Transaction, lane: Lane, wait: timedelta) -> bool:
    """Let go of the chunk undone, for others to take after `wait`; False when it was lost before."""
    return tx.run("lanes.give_back", **_key(lane), wait=wait) == 1


def beat(tx: Transaction, lane: Lane, *, lease: timedelta, checkpoint: Any) -> bool:
    """Keep the lease; False when the lane was lost, or its plan does not run any more."""
    document = None if checkpoint is None else encoding.rows(checkpoint)
    return tx.run("lanes.beat", **_key(lane), lease=lease, checkpoint=document) == 1


def cut(tx: Transaction, plan: str, stage: int, ranges: Sequence[tuple[int, int]]) -> None:
    """Make the lanes of a stage, one per range."""
    tx.run("lanes.cut", plan=plan, stage=stage, ranges=encoding.rows([list(range_) for range_ in ranges]))


def cut_again(tx: Transaction, plan: str) -> int:
    """Make lanes for what nobody has reported of the failed stages of a plan; how many."""
    return tx.run("lanes.cut_again", plan=plan)


def add_one(tx: Transaction, plan: str, stage: int) -> None:
    """Open-ended: see to it that there is a lane, for whoever asks what comes next."""
    tx.run("lanes.add_one", plan=plan, stage=stage)


def lock(tx: Transaction, plan: str) -> None:
    """Lock every lane of a plan."""
    tx.run("lanes.lock", plan=plan)


def revoke(tx: Transaction, plan: str, stage: int | None = None) -> int:
    """Take every lane of a plan, or of one stage of it, from whoever holds it; how many were held."""
    return tx.run("lanes.revoke", plan=plan, stage=stage)


def drop(tx: Transaction, plan: str, stage: int) -> None:
    """A stage is over: its lanes are not needed any more."""
    tx.run("lanes.drop", plan=plan, stage=stage)


def free(tx: Transaction, kinds: Sequence[str] = ()) -> Free:
    """What could be begun, as far as there are permits."""
    found = tx.one(Free, "lanes.free", kinds=encoding.rows(list(kinds)), adaptive=settings.load().hxo_alir_enabled)
    return found or Free(0, None)


def held(tx: Transaction) -> int:
    """How many workers are at something, over all plans."""
    return int(tx.value("lanes.held"))
