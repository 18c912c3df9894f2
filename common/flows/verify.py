"""Verify: compute a plan's tree of results anew from its leaves, and name what does not fit what was written down."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from common import db, settings
from common.errors import Invalid, Unknown
from common.flows.process import SHARE
from common.flows.status import id_of
from common.rules import faults, merkle, proofs
from common.rules.exports import Altered
from common.rules.faults import Written
from common.rules.http import Request
from common.stores import certificates, leaves, plans
from common.stores.leaves import Chunk, Head

SHARDS = 65_536  # of a page: 2 MiB of digests, so that memory stays flat however large a plan is
NODES = 2_000  # of a page
NAMED = 100  # faults that are named; the others are counted


class Place(NamedTuple):
    """Up to where a verification has come."""

    stage: int
    shard: int


START = Place(0, 0)


@dataclass
class Check:
    """What a verification found, so far."""

    head: list[Head]
    checked: int = 0
    altered: list[Altered] = field(default_factory=list)
    roots: dict[int, bytes] = field(default_factory=dict)  # by the number of the stage, computed anew
    after: Place | None = None  # where to go on; None: it is through

    @property
    def root(self) -> bytes | None:
        """The plan's root over the stages' roots, once all are known; those of calls before this one were compared there."""
        roots = [self.roots.get(stage.no, stage.root) for stage in self.head]
        if self.after is not None or None in roots:
            return None
        return proofs.plan_root(merkle.hasher(self.head[0].hash), self.head[0].seed, [root for root in roots if root])

    @property
    def is_clean(self) -> bool:
        """Whether all was looked at, and all of it fits, the roots that were written down included."""
        return self.after is None and not self.altered and self.root == self.head[0].plan_root is not None


def head_of(plan: str) -> list[Head]:
    """The stages of a plan.

    Raises: Unknown.
    """
    with db.transaction("status", read_only=True) as tx:
        found = leaves.head(tx, plan)
    if not found:
        message = f"There is no plan {plan}."
        raise Unknown(message)
    return found


def check(plan: str, until: float, begin: Place = START) -> Check:
    """Look at every leaf of a plan from `begin` on, for as long as there is time (time.monotonic()).

    Raises: Unknown.
    """
    found = Check(head_of(plan))
    for stage in found.head:
        if stage.no < begin.stage:
            continue
        lo = begin.shard if stage.no == begin.stage else 0
        found.after = _stage(found, stage, lo, until)
        if found.after is not None:
            break
    return found


def _stage(found: Check, stage: Head, lo: int, until: float) -> Place | None:
    """Look at a stage from a shard on; where that stopped, None at its end."""
    fold = _before(stage, lo)
    gap: int | None = None
    while gap is None:
        if time.monotonic() >= until:
            return Place(stage.no, fold.size)
        with db.transaction("status", read_only=True) as tx:
            page = leaves.page(tx, stage.plan, stage.no, fold.size, SHARDS)
            for chunk in page:
                if chunk.lo != fold.size:  # the tree of a plan that was stopped ends here
                    gap = chunk.lo
                    break
                fold.push(chunk.lo, chunk.hi, _chunk(tx, found, stage, chunk))
                found.checked += chunk.hi - chunk.lo
        if not page:
            gap = stage.released
    found.roots[stage.no] = fold.root()
    if stage.plan_root is not None and stage.root != fold.root():
        if fold.size < gap:
            found.altered.append(Altered(stage.id, fold.size, gap, "missing"))
        elif not any(each.stage == stage.id for each in found.altered):
            found.altered.append(Altered(stage.id, 0, fold.size, "root"))
    return None


def _before(stage: Head, lo: int) -> merkle.Fold:
    """The tree over what calls before this one have looked at."""
    fold = merkle.Fold(merkle.hasher(stage.hash))
    while fold.size < lo:
        with db.transaction("status", read_only=True) as tx:
            page = leaves.nodes(tx, stage.plan, stage.no, fold.size, NODES)
        for nodes in page:
            if nodes.lo == fold.size < lo:
                fold.push(nodes.lo, nodes.hi, faults.whole(nodes.lo, nodes.hi, nodes.peaks))
        if len(page) < NODES and fold.size != lo:
            message = "No verification has stopped there."
            raise Invalid(message, errors=[{"pointer": "after", "message": message}])
    return fold


def _chunk(tx: db.Transaction, found: Check, stage: Head, chunk: Chunk) -> bytes:
    """Look at one chunk; its nodes, computed anew from what the tree holds."""
    hash_ = merkle.hasher(stage.hash)
    peaks, wrong = faults.checked(hash_, Written(chunk.lo, chunk.hi, chunk.digests, chunk.peaks, chunk.parity))
    if chunk.is_healed:
        others = plans.healed(tx, stage.plan, stage.no, chunk.lo, chunk.hi)
        digests = proofs.replaced(chunk.digests, chunk.lo, others)
        stored, parity = chunk.tree_peaks, chunk.tree_parity
        if stored is None:  # not closed yet, or closed before this was kept
            stored = merkle.peaks(hash_, chunk.lo, proofs.cut(digests))
        peaks, more = faults.checked(hash_, Written(chunk.lo, chunk.hi, digests, stored, parity))
        wrong = sorted({*wrong, *more})
    found.altered += [Altered(stage.id, *fault) for fault in wrong]
    return peaks


# Over HTTP -----------------------------------------------------------------------------------------------------------


def verify_shards(request: Request, plan: str) -> dict[str, Any]:
    """Compute everything anew and compare: clean, altered with names, unfinished with where to go on, or unsealed.

    Raises: Unknown; Invalid, for an `after` that no answer gave.
    """
    plan = str(id_of(plan))
    started = time.monotonic()
    until = started + settings.load().function_timeout_seconds.total_seconds() * SHARE
    found = check(plan, until, place_of(request))
    first, root = found.head[0], found.root
    with db.transaction("status", read_only=True) as tx:
        certificate = certificates.newest(tx, plan)
    return {
        "plan_id": plan,
        "status": _status(found),
        "is_complete": found.after is None,
        "hash": first.hash,
        "merkle_root": _hex(first.plan_root),
        "computed_root": _hex(root),
        "certified_root": certificate.root.hex() if certificate and certificate.is_signed else None,
        "checked_shards": found.checked,
        "stages": [
            {"id": stage.id, "merkle_root": _hex(stage.root), "computed_root": _hex(found.roots.get(stage.no))}
            for stage in found.head
        ],
        "altered": [each.told() for each in found.altered[:NAMED]],
        "altered_count": len(found.altered),
        "after": None if found.after is None else f"{found.after.stage}:{found.after.shard}",
        "took_ms": round((time.monotonic() - started) * 1000, 1),
    }


def _status(found: Check) -> str:
    if found.altered:
        return "altered"
    if found.after is not None:
        return "unfinished"
    if found.head[0].plan_root is None:
        return "unsealed"
    return "clean" if found.is_clean else "altered"


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


def place_of(request: Request) -> Place:
    """The argument `after`: where the answer before this one stopped.

    Raises: Invalid.
    """
    text = request.arguments.get("after", "0:0")
    stage, _, shard = text.partition(":")
    if not (len(text) < 30 and stage.isascii() and stage.isdigit() and shard.isascii() and shard.isdigit()):  # noqa: PLR2004
        message = "'after' must be what the answer before this one said."
        raise Invalid(message, errors=[{"pointer": "after", "message": message}])
    return Place(int(stage), int(shard))
