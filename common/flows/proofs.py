"""The tree of results, to be looked at: its nodes by level, and the proof that a shard stands in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from common import db, settings
from common.errors import Conflict, Invalid, Unavailable, Unknown
from common.flows import verify
from common.flows.process import SHARE
from common.flows.status import id_of
from common.rules import faults, merkle, proofs
from common.rules.http import Request
from common.stores import leaves, plans
from common.stores.leaves import Head, Nodes

MOST, USUAL = 256, 64  # nodes
LARGEST = 2**31


def merkle_tree(request: Request, plan: str) -> dict[str, Any]:
    """The tree of a plan: of all of it the stages; with `stage` the nodes of a level, or with `shard` the proof of one.

    Raises: Unknown; Invalid, for arguments that make no sense; Conflict, for a proof before the tree is closed.
    """
    head = verify.head_of(str(id_of(plan)))
    arguments = request.arguments
    if "stage" not in arguments and "shard" not in arguments and "level" not in arguments:
        return _whole(head)
    stage = _stage(head, arguments.get("stage"))
    if "shard" in arguments:
        return proof(head, stage, _number(request, "shard", 0, LARGEST))
    return _level(request, stage)


def _whole(head: list[Head]) -> dict[str, Any]:
    first = head[0]
    hash_ = merkle.hasher(first.hash)
    with db.transaction("status", read_only=True) as tx:
        sizes = {stage.no: leaves.size(tx, stage.plan, stage.no) for stage in head}
    return {
        "plan_id": first.plan,
        "hash": first.hash,
        "merkle_seed": first.seed,
        "merkle_root": first.plan_root.hex() if first.plan_root else None,
        "seed_leaf": merkle.leaf(hash_, bytes.fromhex(first.seed)).hex(),
        "stages": [
            {
                "id": stage.id,
                "leaves": sizes[stage.no],
                "height": _height(sizes[stage.no]),
                "merkle_root": stage.root.hex() if stage.root else None,
                "leaf": merkle.leaf(hash_, stage.root).hex() if stage.root else None,
            }
            for stage in head
        ],
    }


def _height(size: int) -> int:
    return max(0, size - 1).bit_length()


def _stage(head: list[Head], named: str | None) -> Head:
    """Raises: Invalid, for a stage that the plan does not have, or none of several."""
    if named is None and len(head) == 1:
        return head[0]
    for stage in head:
        if stage.id == named:
            return stage
    message = f"'stage' must be one of {', '.join(stage.id for stage in head[:20])}."
    raise Invalid(message, errors=[{"pointer": "stage", "message": message}])


def _number(request: Request, name: str, usual: int, most: int) -> int:
    """Raises: Invalid, unless the argument is a whole number up to `most`."""
    text = request.arguments.get(name, str(usual))
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > most:  # noqa: PLR2004
        message = f"'{name}' must be a whole number up to {most}."
        raise Invalid(message, errors=[{"pointer": name, "message": message}])
    return int(text)


# Nodes ---------------------------------------------------------------------------------------------------------------


def _level(request: Request, stage: Head) -> dict[str, Any]:
    with db.transaction("status", read_only=True) as tx:
        size = leaves.size(tx, stage.plan, stage.no)
    level = _number(request, "level", _height(size), _height(size))
    first = _number(request, "from", 0, LARGEST)
    limit = max(1, _number(request, "limit", USUAL, MOST))
    lo, hi = first << level, min((first + limit) << level, size)
    found = nodes(stage, level, lo, hi) if lo < hi else {}
    return {
        "plan_id": stage.plan,
        "hash": stage.hash,
        "stage": stage.id,
        "leaves": size,
        "level": level,
        "height": _height(size),
        "count": -(-size >> level) if size else 0,
        "nodes": [
            {"index": number, "from": number << level, "to": min((number + 1) << level, size), "hash": digest.hex()}
            for number, digest in sorted(found.items())
        ],
        "next": first + limit if hi < size else None,
    }


def nodes(stage: Head, level: int, lo: int, hi: int) -> dict[int, bytes]:
    """The nodes of a level over the leaves [lo, hi), by their number; `lo` is where one begins."""
    found = proofs.Level(merkle.hasher(stage.hash), level)
    for chunk in _over(stage, lo, hi):
        at, digests = chunk.lo, b""
        for number, height in enumerate(merkle.spans(chunk.lo, chunk.hi)):
            end = at + (1 << height)
            if at < hi and end > lo:
                if height > level:
                    digests = digests or _digests(stage, chunk.lo)
                    cut = proofs.cut(digests)[at - chunk.lo : end - chunk.lo]
                    found.add(at, height, b"", cut)
                else:
                    found.add(at, height, chunk.peaks[merkle.SIZE * number : merkle.SIZE * (number + 1)])
            at = end
    return {number: digest for number, digest in found.nodes().items() if lo <= number << level < hi}


def _over(stage: Head, lo: int, hi: int) -> Iterator[Nodes]:
    """The chunks over the leaves [lo, hi), in order, with their nodes.

    Raises: Unavailable, when the time is over.
    """
    until = time.monotonic() + settings.load().function_timeout_seconds.total_seconds() * SHARE
    with db.transaction("status", read_only=True) as tx:
        at = leaves.holding(tx, stage.plan, stage.no, lo)
    while at is not None and at < hi:
        if time.monotonic() > until:
            message = "So much of the tree cannot be read in one call: ask for a lower level, or for fewer nodes."
            raise Unavailable(message)
        with db.transaction("status", read_only=True) as tx:
            page = leaves.nodes(tx, stage.plan, stage.no, at, verify.NODES)
        for chunk in page:
            if chunk.lo < hi:
                yield chunk._replace(peaks=faults.whole(chunk.lo, chunk.hi, chunk.peaks))
        at = page[-1].hi if len(page) == verify.NODES else None


def _digests(stage: Head, lo: int) -> bytes:
    """The leaves of the chunk that begins at `lo`, as the tree holds them.

    Raises: Conflict, when somebody has taken some of them away.
    """
    with db.transaction("status", read_only=True) as tx:
        chunk = leaves.page(tx, stage.plan, stage.no, lo, 1)[0]
        healed = plans.healed(tx, stage.plan, stage.no, chunk.lo, chunk.hi) if chunk.is_healed else {}
    digests = proofs.replaced(chunk.digests, chunk.lo, healed)
    if len(digests) != merkle.SIZE * (chunk.hi - chunk.lo):
        message = f"The leaves {chunk.lo} to {chunk.hi - 1} of stage {stage.id} are not whole any more: see verify-shards."
        raise Conflict(message)
    return digests


# Proofs --------------------------------------------------------------------------------------------------------------


def proof(head: list[Head], stage: Head, shard: int) -> dict[str, Any]:
    """The proof that a shard's outcome stands in the plan's tree; anybody can check it who knows the plan's root.

    Raises: Conflict, before the tree is closed; Unknown, for a shard that is not in it.
    """
    roots = [each.root for each in head if each.root is not None]
    if stage.plan_root is None or stage.root is None or len(roots) < len(head):
        message = "The plan's tree of results is not closed yet: proofs are there once the plan is over."
        raise Conflict(message)
    hash_ = merkle.hasher(stage.hash)
    trail = proofs.Trail(hash_, shard)
    for chunk in _over(stage, 0, stage.released):
        if chunk.lo != trail.size:
            break
        holds = chunk.lo <= shard < chunk.hi
        trail.push(chunk.lo, chunk.hi, chunk.peaks, _digests(stage, chunk.lo) if holds else None)
    if shard >= trail.size:
        message = f"The tree of stage {stage.id} has {trail.size} leaves: there is no shard {shard} in it."
        raise Unknown(message)
    trail.root()
    plan_tree = proofs.levels(hash_, proofs.plan_leaves(hash_, stage.seed, roots))
    return {
        "plan_id": stage.plan,
        "hash": stage.hash,
        "stage": stage.id,
        "shard": shard,
        "leaf_hash": trail.leaf.hex(),
        "path": proofs.told(trail.path),
        "stage_root": stage.root.hex(),
        "plan_path": proofs.told(proofs.path_of(plan_tree, 1 + head.index(stage))),
        "root_hash": stage.plan_root.hex(),
    }
