"""What is done about a shard that failed: tried again, split into pieces, put into quarantine, and then told to a person."""

from __future__ import annotations

from enum import StrEnum

MOST_ATTEMPTS = 3
SPLIT_AFTER = 2  # attempts that failed: the second one has shown that time does not help


class Remedy(StrEnum):
    """In this order; what comes after the last is `escalate`, once for the stage, when nothing else of it is left to do."""

    RETRY = "retry"
    SPLIT = "split"
    QUARANTINE = "quarantine"


def remedy(*, attempts: int, is_final: bool, can_be_split: bool, most: int = MOST_ATTEMPTS) -> Remedy:
    """What comes after failed attempt number `attempts`; `is_final`: another one would fail in the same way.

    A shard that can be split is, before it is given up: what is wrong with a piece of it is no reason to lose the rest.
    """
    if can_be_split and (is_final or attempts >= SPLIT_AFTER):
        return Remedy.SPLIT
    if is_final or attempts >= most:
        return Remedy.QUARANTINE
    return Remedy.RETRY
