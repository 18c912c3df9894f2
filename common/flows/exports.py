"""Exports: a plan's tree of results as a signed document that can be checked without us, in pages as JSON lines."""

from __future__ import annotations

from typing import Any

from common import db, settings
from common.errors import Conflict
from common.flows import verify
from common.flows.status import id_of
from common.flows.verify import Place
from common.rules import exports, merkle, proofs
from common.rules.faults import Written
from common.rules.http import Answer, Request
from common.stores import certificates, leaves, plans
from common.stores.leaves import Chunk, Head

CONTENT = "application/jsonl"


def export(request: Request, plan: str) -> Answer:
    """A page of an export. `Link: <...>; rel="next"` names the one after it; all of them in order are the document.

    Raises: Unknown; Conflict, before the tree is closed; Invalid, for an `after` that no page gave.
    """
    plan = str(id_of(plan))
    head = verify.head_of(plan)
    if head[0].plan_root is None:
        message = "The plan's tree of results is not closed yet: it can be exported once the plan is over."
        raise Conflict(message)
    place = verify.place_of(request)
    lines = [_plan(head)] if place == Place(0, 0) else []
    room = verify.SHARDS
    after: Place | None = place
    while after is not None and room > 0:
        stage = next((each for each in head if each.no == after.stage), None)
        if stage is None:
            after = None
            break
        found, shards = _page(stage, after.shard, room)
        lines += found
        room -= shards
        after = Place(after.stage, after.shard + shards) if shards else Place(after.stage + 1, 0)
    headers = {"Content-Type": CONTENT}
    if after is None:
        lines.append(exports.END)
    else:
        headers["Link"] = f'</api/hxo/plan/{plan}/export?after={after.stage}:{after.shard}>; rel="next"'
    return Answer(200, ("\n".join(lines) + "\n").encode() if lines else b"", headers)


def _plan(head: list[Head]) -> str:
    first = head[0]
    with db.transaction("status", read_only=True) as tx:
        certificate = certificates.newest(tx, first.plan)
    said: dict[str, Any] = {
        "plan_id": first.plan,
        "plan_name": first.name,
        "status": first.plan_status,
        "hash": first.hash,
        "seed": first.seed,
        "merkle_root": _hex(first.plan_root),
        "finished_at": first.finished_at,
        "stages": [
            {"no": stage.no, "id": stage.id, "kind": stage.kind, "shards": stage.released, "merkle_root": _hex(stage.root)}
            for stage in head
        ],
        "certificate": certificate.told()["certificate"] if certificate and certificate.counts else None,
    }
    return exports.plan_line(said, settings.load().signing_keys[0])


def _page(stage: Head, lo: int, room: int) -> tuple[list[str], int]:
    """Lines of the chunks of a stage from a shard on, and how many shards these have; none at the stage's end."""
    lines, at = [], lo
    with db.transaction("status", read_only=True) as tx:
        for chunk in leaves.page(tx, stage.plan, stage.no, lo, room):
            if chunk.lo != at:  # the tree of a plan that was stopped ends here
                break
            lines.append(_chunk(tx, stage, chunk))
            at = chunk.hi
    return lines, at - lo


def _chunk(tx: db.Transaction, stage: Head, chunk: Chunk) -> str:
    """A chunk as the tree holds it, with the nodes and the parity that were written down: a leaf altered since then shows."""
    digests, peaks, parity = chunk.digests, chunk.peaks, chunk.parity
    if chunk.is_healed:
        digests = proofs.replaced(digests, chunk.lo, plans.healed(tx, stage.plan, stage.no, chunk.lo, chunk.hi))
        peaks = chunk.tree_peaks or merkle.peaks(merkle.hasher(stage.hash), chunk.lo, proofs.cut(digests))
        parity = chunk.tree_parity
    return exports.chunk_line(stage.no, Written(chunk.lo, chunk.hi, digests, peaks, parity))


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()
