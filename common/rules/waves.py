"""Waves: a stage begun part by part, each when the one before is over."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

WHOLE = 100


def released(shards: int, waves: Sequence[int] | None, before: int) -> int:
    """How many of `shards` are released after the wave that ended at `before`; waves are percentages that sum to 100."""
    if not waves:
        return shards
    borders = [-(-shards * part // WHOLE) for part in accumulate(waves)]
    return next((border for border in borders if border > before), shards)
