"""What a shard kind and the engine say to each other. A kind is a file of common/shards with:

    def plan(config) -> int | None      how many shards a stage of this config has; None: that shows when it opens, or on the way
                                        Raises: Invalid, with pointers into the config
    def run(shards, context) -> Ran     do the work of shards [start, stop); what it writes goes into Ran.effect

and, where it needs them,

    def undo(shards, context) -> Ran    take back what run did; a kind without it cannot be rolled back
    def open(tx, stage) -> int | None   when the stage opens: how many shards it has now; None: open-ended
    def ended(tx, stage, *, ok)         in the transaction that ends the stage
    def failed(error) -> bool | None    open-ended: whether there is anything beyond a shard that failed so; None: who knows
    def split(shard, context) -> list | None
                                        the pieces of a shard that is slow, or failed: JSON documents, about `context.factor` of
                                        them; None: there is nothing smaller. `run` is then called once for each piece, with
                                        that document as `context.piece`, and the shard is done when all of its pieces are.
                                        Of a piece, `context.piece` says what is to be split further. Not for open-ended stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from common.rules import autotune
from common.rules.merkle import Hash

SLOW = "slow"  # the code of a shard that did not fail, but was put aside to be split


class Failure(NamedTuple):
    """Why one shard failed."""

    code: str
    message: str
    is_final: bool = False  # another attempt would fail in the same way


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a chunk. Shards that are not in `failures` went well, each with one leaf of the tree."""

    leaves: Sequence[bytes]  # digests by merkle.leaf, one per shard in order; what stands at a failed one's place is ignored
    failures: Mapping[int, Failure] = field(default_factory=dict)  # by shard
    effect: Callable[[Any], Any] | None = None  # called with the transaction that completes the chunk, and only if it is still ours
    more: bool | None = None  # open-ended stages: whether there are shards beyond this one


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage as its kind sees it."""

    plan: str
    no: int
    id: str
    kind: str
    config: dict[str, Any]
    shards: int | None


@dataclass(slots=True)
class Context:
    """What a chunk is run with."""

    stage: Stage
    hash: Hash
    until: float  # time.monotonic(): what is not begun by then is left for the next call
    lapses: int  # workers in a row that died with this chunk
    checkpoint: Any  # what the one before said it had reached inside the chunk; None: it said nothing
    beat: Callable[[Any], None]  # keep the lease, remember a checkpoint; raises Lost when the chunk is no longer ours
    holder: str
    piece: Any = None  # what of the shard is to be done, when it was split; None: all of it
    factor: int = 4  # into how many pieces a shard is split (HXO_AUTOSPLIT_FACTOR)


class Lost(Exception):
    """The chunk is somebody else's by now: nothing of it may be written."""


def lanes(shards: int, concurrency: int, lo: int = 0) -> list[tuple[int, int]]:
    """[lo, shards) cut into at most `concurrency` slices of equal length, none empty."""
    count = min(concurrency, shards - lo)
    return [(lo + (shards - lo) * no // count, lo + (shards - lo) * (no + 1) // count) for no in range(count)]


LARGEST_CHUNK = 4_096  # 128 KiB of digests: memory does not grow with the number of shards
CHUNK_SECONDS = 1.0
GROWTH = 8


def next_chunk(size: int, seconds: float, *, longest: timedelta, factor: int, slowest: float = 0.0) -> int:
    """How many shards to take next so that a chunk lasts about a second, after one of `size` took `seconds`.

    One beyond `longest` (HXO_AUTOSPLIT_P95_MS) is at once cut by `factor` (HXO_AUTOSPLIT_FACTOR), whatever was expected; and
    so is one that would be beyond it at the p95 of what shards took lately, `slowest` seconds each.
    """
    if seconds > longest.total_seconds():
        return max(1, size // factor)
    wanted = int(size * CHUNK_SECONDS / max(seconds, 1e-6))
    return autotune.narrowed(max(1, min(wanted, size * GROWTH, LARGEST_CHUNK)), slowest, longest=longest, factor=factor)
