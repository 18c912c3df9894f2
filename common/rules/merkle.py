"""The tree of results: as in RFC 6962, over digests in shard order, folded chunk by chunk so that nobody holds it whole.

A leaf is H(0x00 | content), a node H(0x01 | left | right). A chunk of shards [lo, hi) falls into runs that are aligned
powers of two, each the leaves of one node of the tree: its peaks. Peaks pushed in order make the root.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence

SIZE = 32
Hash = Callable[[bytes], bytes]


@functools.cache
def hasher(name: str) -> Hash:
    """The hash function `name`: sha3_256 or sha256.

    Raises: KeyError, for any other.
    """
    new = {"sha3_256": hashlib.sha3_256, "sha256": hashlib.sha256}[name]
    return lambda data: new(data).digest()


def leaf(hash_: Hash, content: bytes) -> bytes:
    """The digest of one shard's outcome."""
    return hash_(b"\x00" + content)


def node(hash_: Hash, left: bytes, right: bytes) -> bytes:
    """The digest over two subtrees."""
    return hash_(b"\x01" + left + right)


def spans(lo: int, hi: int) -> Iterator[int]:
    """The heights of the aligned powers of two that [lo, hi) falls into, in order."""
    while lo < hi:
        height = (hi - lo).bit_length() - 1
        if lo:
            height = min(height, (lo & -lo).bit_length() - 1)
        yield height
        lo += 1 << height


def peaks(hash_: Hash, lo: int, digests: Sequence[bytes]) -> bytes:
    """The peaks of the chunk that begins at `lo` and has these leaves, one after the other."""
    found, at = [], 0
    for height in spans(lo, lo + len(digests)):
        level = list(digests[at : at + (1 << height)])
        at += 1 << height
        while len(level) > 1:
            level = [hash_(b"\x01" + level[i] + level[i + 1]) for i in range(0, len(level), 2)]
        found.append(level[0])
    return b"".join(found)


def parity(digests: bytes) -> bytes:
    """The XOR of digests that stand one after the other: what tells, of one that was altered, what stood there before."""
    count = len(digests) // SIZE
    found = int.from_bytes(digests, "big")
    while count > 1:  # the upper half over the lower: as many steps as the count has bits
        half = count // 2
        rest = found >> (SIZE * 8 * half)
        found = (found & ((1 << (SIZE * 8 * half)) - 1)) ^ rest
        count -= half
    return found.to_bytes(SIZE, "big")


class Fold:
    """The root of a tree whose chunks are pushed in shard order, without gaps; holds as many digests as the tree is high."""

    def __init__(self, hash_: Hash) -> None:
        self._hash = hash_
        self._stack: list[tuple[int, bytes]] = []
        self.size = 0

    def push(self, lo: int, hi: int, chunk: bytes) -> None:
        """Add the peaks of [lo, hi).

        Raises: ValueError, when the chunk does not begin where the last one ended, or has another number of peaks.
        """
        heights = list(spans(lo, hi))
        if lo != self.size or len(chunk) != SIZE * len(heights):
            message = f"the chunk {lo} to {hi} does not continue a tree of {self.size} leaves"
            raise ValueError(message)
        for number, height in enumerate(heights):
            self.add(height, chunk[SIZE * number : SIZE * (number + 1)])
        self.size = hi

    def add(self, height: int, digest: bytes) -> None:
        """Add the node over the next 2^height leaves, which begin where such a node may."""
        while self._stack and self._stack[-1][0] == height:
            digest = node(self._hash, self._stack.pop()[1], digest)
            height += 1
        self._stack.append((height, digest))

    def root(self) -> bytes:
        """The root over everything pushed; of nothing, the hash of nothing."""
        if not self._stack:
            return self._hash(b"")
        digest = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            digest = node(self._hash, left, digest)
        return digest


def root(hash_: Hash, digests: Sequence[bytes]) -> bytes:
    """The root over these leaves."""
    fold = Fold(hash_)
    fold.push(0, len(digests), peaks(hash_, 0, digests))
    return fold.root()
