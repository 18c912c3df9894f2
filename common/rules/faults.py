"""Which leaf of a chunk was altered since it was written: its nodes tell that something was, its parity what stood there."""

from __future__ import annotations

from typing import NamedTuple

from common.rules import merkle, proofs
from common.rules.merkle import SIZE, Hash


class Fault(NamedTuple):
    """What does not fit: shards [lo, hi) and what of them."""

    lo: int
    hi: int
    what: str  # leaf: this one was altered; leaves: some of these; node: what stands over them; parity


class Written(NamedTuple):
    """The chunk [lo, hi) as it was written down."""

    lo: int
    hi: int
    digests: bytes
    peaks: bytes
    parity: bytes | None  # XOR of the digests


def checked(hash_: Hash, chunk: Written) -> tuple[bytes, list[Fault]]:
    """The peaks over a chunk computed anew, as many as it must have whatever was done to it; and what was altered."""
    is_noded = len(chunk.peaks) == SIZE * len(list(merkle.spans(chunk.lo, chunk.hi)))
    if len(chunk.digests) != SIZE * (chunk.hi - chunk.lo):
        return whole(chunk.lo, chunk.hi, chunk.peaks), [Fault(chunk.lo, chunk.hi, "leaves")]
    computed = merkle.peaks(hash_, chunk.lo, proofs.cut(chunk.digests))
    if not is_noded:
        return computed, [Fault(chunk.lo, chunk.hi, "node")]
    if computed == chunk.peaks and chunk.parity in (None, merkle.parity(chunk.digests)):
        return computed, []
    return computed, located(hash_, chunk)


def whole(lo: int, hi: int, peaks: bytes) -> bytes:
    """The peaks of [lo, hi), or in place of some that are not whole as many that belong to nothing."""
    count = len(list(merkle.spans(lo, hi)))
    return peaks if len(peaks) == SIZE * count else bytes(SIZE * count)


def located(hash_: Hash, chunk: Written) -> list[Fault]:
    """What was altered in a chunk, which is whole, since it was written; nothing, when it fits.

    Of one altered leaf the parity tells what stood there: putting that back must give the stored peak. Without a parity,
    or with several altered leaves under one peak, the shards under that peak are all that can be said.
    """
    lo, _, digests, peaks, parity = chunk
    leaves = proofs.cut(digests)
    computed = merkle.peaks(hash_, lo, leaves)
    delta = _xor(parity, merkle.parity(digests)) if parity is not None else None
    if computed == peaks:
        return [Fault(lo, lo + len(leaves), "parity")] if delta is not None and any(delta) else []
    wrong, at = [], lo
    for number, height in enumerate(merkle.spans(lo, lo + len(leaves))):
        stored = peaks[SIZE * number : SIZE * (number + 1)]
        if computed[SIZE * number : SIZE * (number + 1)] != stored:
            wrong.append((at, 1 << height, stored))
        at += 1 << height
    if delta is None:
        return [Fault(start, start + count, "leaf" if count == 1 else "leaves") for start, count, _ in wrong]
    if not any(delta):  # the leaves are as they were
        return [Fault(start, start + count, "node") for start, count, _ in wrong]
    found = []
    for start, count, stored in wrong:
        if count == 1:  # the peak is the leaf itself
            found.append(Fault(start, start + 1, "leaf"))
            delta = _xor(delta, _xor(stored, leaves[start - lo]))
    broad = [each for each in wrong if each[1] > 1]
    for start, count, stored in broad:
        at_ = _altered(hash_, leaves[start - lo : start - lo + count], stored, delta) if len(broad) == 1 else None
        found.append(Fault(start, start + count, "leaves") if at_ is None else Fault(start + at_, start + at_ + 1, "leaf"))
    return sorted(found)


def _altered(hash_: Hash, leaves: list[bytes], peak: bytes, delta: bytes) -> int | None:
    """The one leaf under a peak that gives it back when `delta` is taken out of it."""
    tree = proofs.levels(hash_, leaves)
    for number, leaf in enumerate(leaves):
        if proofs.climbed(hash_, _xor(leaf, delta), proofs.path_of(tree, number)) == peak:
            return number
    return None


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(SIZE, "big")
