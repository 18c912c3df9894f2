"""How well the whole is: the score of the webhooks, what its points are called, and the one word for the system."""

from __future__ import annotations

from collections.abc import Mapping

LEAST_SUCCESS = 95  # per cent; below it something is wrong


def health_score(*, duplicate_percent: float, success_percent: float, dead_letters: int, delay_seconds: float) -> float:
    """Points out of 100: duplicates and dead letters cost at most 20 each, delay beyond ten seconds at most 20,
    and each per cent of failures half a point.
    """
    lost = (
        min(2 * duplicate_percent, 20)
        + 0.5 * (100 - success_percent)
        + min(2 * dead_letters, 20)
        + min(max(delay_seconds - 10, 0), 20)
    )
    return round(max(0.0, 100 - lost), 1)


def named(score: float) -> str:
    """The word for a score."""
    for least, word in ((90, "healthy"), (70, "degraded"), (50, "unhealthy")):
        if score >= least:
            return word
    return "critical"


def success_percent(counts: Mapping[str, int]) -> float:
    """How many per cent of what ended went well, by the counters of a time; 100 when nothing ended."""
    well = counts.get("completed", 0)
    ended = well + counts.get("dead_letter", 0) + counts.get("quarantined", 0)
    return percent(well, ended, empty=100.0)


def percent(part: int, whole: int, *, empty: float) -> float:
    """`part` of `whole` in per cent, to two places."""
    return round(100 * part / whole, 2) if whole else empty


def condition(*, dead_letters: int, waiting: int, success: float, dead_critical: int, waiting_warning: int) -> str:
    """The word for the whole system, the worst that is true; beyond a threshold, not at it."""
    if dead_letters > dead_critical:
        return "critical"
    if waiting > waiting_warning:
        return "warning"
    return "degraded" if success < LEAST_SUCCESS else "healthy"
