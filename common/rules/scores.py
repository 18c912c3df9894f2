"""The health score of the webhooks: what takes points, and what the points are called."""

from __future__ import annotations


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
