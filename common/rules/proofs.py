"""Proofs over the tree of results: that a shard stands in it, and where two trees differ.

The tree is that of merkle.py. Level 0 are the leaves; node `i` of level `k` is over the leaves from i * 2^k up to the next
such border, or up to the end; a node without a right neighbour is handed up as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from common.rules import merkle
from common.rules.merkle import SIZE, Hash


class Step(NamedTuple):
    """What stands beside the way from a leaf to the root, and on which side of it."""

    side: str  # left or right
    hash: bytes


def levels(hash_: Hash, leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Every level of the tree over at least one leaf, the leaves first and the root last."""
    found = [list(leaves)]
    while len(found[-1]) > 1:
        below = found[-1]
        above = [merkle.node(hash_, below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        found.append(above + below[len(above) * 2 :])
    return found


def path_of(tree: Sequence[Sequence[bytes]], leaf: int) -> list[Step]:
    """The way from a leaf of a tree, given by its levels, to the root."""
    found = []
    for level in tree[:-1]:
        beside = leaf ^ 1
        if beside < len(level):
            found.append(Step("left" if beside < leaf else "right", level[beside]))
        leaf //= 2
    return found


def climbed(hash_: Hash, leaf: bytes, path: Sequence[Step]) -> bytes:
    """The root that a way leads to."""
    for side, beside in path:
        leaf = merkle.node(hash_, beside, leaf) if side == "left" else merkle.node(hash_, leaf, beside)
    return leaf


class Trail:
    """The way from one leaf to the root, found while chunks are pushed in shard order; holds as little as merkle.Fold."""

    def __init__(self, hash_: Hash, leaf: int) -> None:
        self.path: list[Step] = []
        self.leaf = b""  # the digest, once its chunk was pushed
        self.size = 0
        self._hash = hash_
        self._at = leaf
        self._stack: list[tuple[int, bytes, bool]] = []

    def push(self, lo: int, hi: int, peaks: bytes, digests: bytes | None = None) -> None:
        """Add the peaks of [lo, hi); the chunk that holds the leaf comes with its digests.

        Raises: ValueError, when the chunk does not begin where the last one ended, has another number of peaks, or lacks
        the digests that are needed of it.
        """
        heights = list(merkle.spans(lo, hi))
        if lo != self.size or len(peaks) != SIZE * len(heights):
            message = f"the chunk {lo} to {hi} does not continue a tree of {self.size} leaves"
            raise ValueError(message)
        at = lo
        for number, height in enumerate(heights):
            is_mine = at <= self._at < at + (1 << height)
            if is_mine:
                self._begin(cut((digests or b"")[SIZE * (at - lo) : SIZE * (at - lo + (1 << height))]), at, 1 << height)
            self._push(height, peaks[SIZE * number : SIZE * (number + 1)], is_mine=is_mine)
            at += 1 << height
        self.size = hi

    def _begin(self, leaves: list[bytes], lo: int, count: int) -> None:
        if len(leaves) != count:
            message = f"the chunk of leaf {self._at} comes without its digests"
            raise ValueError(message)
        self.leaf = leaves[self._at - lo]
        self.path = path_of(levels(self._hash, leaves), self._at - lo)

    def _push(self, height: int, digest: bytes, *, is_mine: bool) -> None:
        while self._stack and self._stack[-1][0] == height:
            _, left, was_mine = self._stack.pop()
            digest, is_mine = self._joined(left, digest, was_mine=was_mine, is_mine=is_mine)
            height += 1
        self._stack.append((height, digest, is_mine))

    def _joined(self, left: bytes, right: bytes, *, was_mine: bool, is_mine: bool) -> tuple[bytes, bool]:
        if was_mine:
            self.path.append(Step("right", right))
        elif is_mine:
            self.path.append(Step("left", left))
        return merkle.node(self._hash, left, right), was_mine or is_mine

    def root(self) -> bytes:
        """The root over everything pushed, after which the path is whole; of nothing, the hash of nothing."""
        if not self._stack:
            return self._hash(b"")
        _, digest, is_mine = self._stack[-1]
        for _, left, was_mine in reversed(self._stack[:-1]):
            digest, is_mine = self._joined(left, digest, was_mine=was_mine, is_mine=is_mine)
        return digest


class Level:
    """The nodes of one level in a part of a tree, found while subtrees come in order from the first of these nodes on."""

    def __init__(self, hash_: Hash, level: int) -> None:
        self.level = level
        self._hash = hash_
        self._found: dict[int, merkle.Fold] = {}

    def add(self, start: int, height: int, digest: bytes, leaves: Sequence[bytes] = ()) -> None:
        """Add the subtree over [start, start + 2^height); one that is higher than the level comes with its leaves."""
        if height <= self.level:
            self._found.setdefault(start >> self.level, merkle.Fold(self._hash)).add(height, digest)
            return
        for number, node in enumerate(levels(self._hash, leaves)[self.level]):
            self.add(start + (number << self.level), self.level, node)

    def nodes(self) -> dict[int, bytes]:
        """The nodes by their number."""
        return {number: fold.root() for number, fold in self._found.items()}


# Proofs as they are handed out ---------------------------------------------------------------------------------------


def plan_leaves(hash_: Hash, seed: str, roots: Sequence[bytes]) -> list[bytes]:
    """The leaves of a plan's own tree: its seed, then the root of each stage."""
    return [merkle.leaf(hash_, bytes.fromhex(seed)), *(merkle.leaf(hash_, root) for root in roots)]


def plan_root(hash_: Hash, seed: str, roots: Sequence[bytes]) -> bytes:
    """The root over a plan."""
    return merkle.root(hash_, plan_leaves(hash_, seed, roots))


def told(path: Sequence[Step]) -> list[dict[str, str]]:
    """A way as it is handed out."""
    return [{"side": step.side, "hash": step.hash.hex()} for step in path]


def is_proven(proof: Mapping[str, Any], root: str) -> bool:
    """Whether a proof, as it was handed out, leads from its leaf through its stage's root to `root`.

    Its shape: {hash, leaf_hash, path, stage_root, plan_path, root_hash}. A proof that cannot be read proves nothing.
    """
    try:
        hash_ = merkle.hasher(proof["hash"])
        leaf, stage = bytes.fromhex(proof["leaf_hash"]), bytes.fromhex(proof["stage_root"])
        if climbed(hash_, leaf, _read(proof["path"])) != stage:
            return False
        found = climbed(hash_, merkle.leaf(hash_, stage), _read(proof["plan_path"])).hex()
        return bool(found == root == proof["root_hash"])
    except (KeyError, TypeError, ValueError):
        return False


def _read(path: Sequence[Mapping[str, str]]) -> list[Step]:
    steps = [Step(step["side"], bytes.fromhex(step["hash"])) for step in path]
    if any(step.side not in ("left", "right") or len(step.hash) != SIZE for step in steps):
        message = "a step is neither left nor right, or no digest"
        raise ValueError(message)
    return steps


# Where two trees differ ----------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """Leaves that differ, and how many nodes had to be compared to find them."""

    leaves: list[int]
    compares: int


def differing(one: Sequence[Sequence[bytes]], other: Sequence[Sequence[bytes]], most: int = 1) -> Difference:
    """The first `most` leaves in which two trees of equal size differ whose roots do: one compare a level for the first.

    If the left child is equal, the right one differs without being looked at. Raises: ValueError for trees of unequal size.
    """
    if len(one[0]) != len(other[0]):
        message = f"a tree of {len(one[0])} leaves cannot be compared with one of {len(other[0])}"
        raise ValueError(message)
    found: list[int] = []
    compares = 0
    waiting = [(len(one) - 1, 0)] if one[-1] != other[-1] else []
    while waiting and len(found) < most:
        level, at = waiting.pop()
        if level == 0:
            found.append(at)
            continue
        left, right, below = 2 * at, 2 * at + 1, level - 1
        if right >= len(one[below]):
            waiting.append((below, left))
            continue
        compares += 1
        if one[below][left] == other[below][left]:
            waiting.append((below, right))
            continue
        if most > 1:
            compares += 1
            if one[below][right] != other[below][right]:
                waiting.append((below, right))
        waiting.append((below, left))
    return Difference(found, compares)


# Digests that stand one after the other -------------------------------------------------------------------------------


def replaced(digests: bytes, lo: int, others: Mapping[int, bytes]) -> bytes:
    """The digests of a chunk that begins at `lo`, with those of `others` in place of what was there: healed for failed.

    One that is no digest any more leaves the others where they are: nothing stands in its place.
    """
    found = bytearray(digests)
    for shard, digest in others.items():
        found[SIZE * (shard - lo) : SIZE * (shard - lo + 1)] = digest if len(digest) == SIZE else bytes(SIZE)
    return bytes(found)


def cut(digests: bytes) -> list[bytes]:
    """Digests that stand one after the other, one by one."""
    return [digests[at : at + SIZE] for at in range(0, len(digests), SIZE)]
