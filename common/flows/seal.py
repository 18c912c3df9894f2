"""Seal: close the tree of results of plans that are over. Done by whoever ended the plan, or by anybody after them."""

from __future__ import annotations

import time

from common import db
from common.rules import merkle, proofs
from common.stores import leaves, plans

MOST = 10
PAGE = 2000


def seal_all(until: float) -> int:
    """Close the trees that are open, as long as there is time; how many were closed."""
    with db.transaction("worker") as tx:
        waiting = plans.unsealed(tx, MOST)
    return sum(seal(plan) for plan in waiting if time.monotonic() < until)


def seal(plan: str) -> bool:
    """Compute the roots of a plan: each stage over its shards in order, the plan over its stages, salted with its seed."""
    with db.transaction("worker") as tx:
        stages = plans.sealed_stages(tx, plan)
    if not stages:
        return False
    hash_ = merkle.hasher(stages[0].hash)
    roots = [stage_root(plan, stage) for stage in stages]
    whole = proofs.plan_root(hash_, stages[0].seed, roots)

    def write(tx: db.Transaction) -> None:
        for stage, root in zip(stages, roots, strict=True):  # stages before their plan, as everybody locks them
            plans.seal_stage(tx, plan, stage.no, root)
        if not plans.seal(tx, plan, whole, stages[0].finished_at):
            raise _Reopened

    try:
        db.replayed(write, "worker")
    except _Reopened:
        return False
    return True


class _Reopened(Exception):
    """The plan has ended anew since it was looked at: nothing of this is written."""


def stage_root(plan: str, stage: plans.Sealed) -> bytes:
    """The root over what was reported of a stage, chunk by chunk.

    A plan that was stopped has gaps: its tree is over the shards up to the first of them.
    """
    hash_ = merkle.hasher(stage.hash)
    fold = merkle.Fold(hash_)
    while True:
        with db.transaction("worker") as tx:
            chunks = plans.chunks(tx, plan, stage.no, fold.size, PAGE)
            for chunk in chunks:
                if chunk.lo != fold.size:
                    return fold.root()
                fold.push(chunk.lo, chunk.hi, chunk.peaks if chunk.digests is None else _repeaked(tx, plan, stage, chunk))
        if len(chunks) < PAGE:
            return fold.root()


def _repeaked(tx: db.Transaction, plan: str, stage: plans.Sealed, chunk: plans.Chunk) -> bytes:
    """The peaks of a chunk in which failed shards went well later; kept, so that an altered leaf of it can be named."""
    others = plans.healed(tx, plan, stage.no, chunk.lo, chunk.hi)
    digests = proofs.replaced(chunk.digests or b"", chunk.lo, others)
    peaks = merkle.peaks(merkle.hasher(stage.hash), chunk.lo, proofs.cut(digests))
    leaves.keep_healed(tx, plan, stage.no, chunk.lo, peaks=peaks, parity=merkle.parity(digests))
    return peaks
