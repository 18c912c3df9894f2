"""How long to wait before the next attempt: exponential with full jitter, so that a crowd does not come back as one."""

from __future__ import annotations

from datetime import timedelta


def delay(attempt: int, *, base: timedelta, longest: timedelta, chance: float) -> timedelta:
    """The wait after attempt number `attempt` (from 1) has failed; `chance` is from [0, 1).

    Any wait up to min(longest, base x 2^(attempt - 1)) is equally likely, but never less than a tenth of that.
    """
    doublings = min(attempt - 1, 30)
    return min(longest, base * float(2**doublings)) * (0.1 + 0.9 * chance)
