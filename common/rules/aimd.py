"""How many lanes of a shard kind may be out at once: one more while its shards take as long as they used to, three tenths
fewer when they take more than twice as long. Pure; the state stands in tidemark.concurrency, one row a kind.

Under a limit the least urgent are shed first. By the priority of their plan: P0 (1-2, consensus and security) is never shed,
P1 (3-5, shards and healing) may have the whole of the limit, P2 (6-8, telemetry) three quarters, P3 (9-10) half of it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

TOLERANCE = 2.0  # times the usual, and the limit goes down
WELL = 1.5  # times the usual, and it may go up again
DECREASE = 0.7
EVERY = timedelta(seconds=5)  # between two changes: what the last one did must show first
FEWEST = 5  # samples: fewer do not say what is usual
WEIGHT = 0.3  # of the newest sample
DRIFT = 0.02  # how fast the usual follows upwards, should slow be how it is from now on


class State(NamedTuple):
    """What is known of a kind."""

    most: int | None  # lanes; None: as many as plans may have
    latency_seconds: float  # of one shard, lately
    usual_seconds: float  # of one shard, when all is well
    samples: int
    changed_at: datetime


def after(state: State | None, seconds: float, *, used: int, ceiling: int, now: datetime) -> State:
    """The state after a turn whose shards took `seconds` each, while `used` lanes were out; at `ceiling` there is no limit."""
    if state is None:
        return State(None, seconds, seconds, 1, now)
    latency = state.latency_seconds + WEIGHT * (seconds - state.latency_seconds)
    usual = min(latency, state.usual_seconds + DRIFT * max(0.0, latency - state.usual_seconds))
    samples = state.samples + 1
    if now - state.changed_at < EVERY or samples < FEWEST:
        return State(state.most, latency, usual, samples, state.changed_at)
    if latency > TOLERANCE * usual:
        out = max(1, used if state.most is None else min(used, state.most))
        return State(max(1, int(out * DECREASE)), latency, usual, samples, now)
    if state.most is not None and latency <= WELL * usual:
        more = state.most + 1
        return State(None if more >= ceiling else more, latency, usual, samples, now)
    return State(state.most, latency, usual, samples, state.changed_at)


def room(most: int, urgency: int) -> int | None:
    """How many lanes of its kind may be out for one of this urgency to be taken; None: as many as there are.

    tidemark.room in SQL says the same.
    """
    if urgency <= 2:  # noqa: PLR2004 - the classes as they stand above
        return None
    if urgency <= 5:  # noqa: PLR2004
        return most
    return max(1, most * 3 // 4) if urgency <= 8 else most // 2  # noqa: PLR2004
