"""Statistics: how much of what is here equals what the source has, over time, and why some of it did not. Reads only."""

from __future__ import annotations

from typing import Any

from common import db, entities
from common.errors import Invalid
from common.flows.status import limit_of
from common.rules import comparison
from common.rules.http import Request
from common.stores import statistics
from common.stores.statistics import Statistic

MOST_DAYS, CAUSE_DAYS = 90, 30


def overview(request: Request) -> dict[str, Any]:
    """The last comparison of each entity, the score of all of them, and why records drifted; ?history=days&entity=&limit=.

    Raises: Invalid.
    """
    faults = []
    days, entity = request.arguments.get("history", ""), request.arguments.get("entity") or None
    if days and not (days.isascii() and days.isdigit() and 1 <= int(days[:5]) <= MOST_DAYS):
        faults.append({"pointer": "/history", "message": f"must be a whole number of days from 1 to {MOST_DAYS}"})
    if entity is not None and entity not in entities.by_label():
        faults.append({"pointer": "/entity", "message": f"must be one of {', '.join(sorted(entities.by_label()))}"})
    if faults:
        message = "The statistics cannot be shown as asked."
        raise Invalid(message, errors=faults)
    limit = limit_of(request)
    with db.transaction("status", read_only=True) as tx:
        latest = statistics.latest(tx)
        causes = statistics.causes(tx, days=CAUSE_DAYS)
        history = statistics.history(tx, days=int(days), entity=entity, limit=limit) if days else None
    points = comparison.score({each.entity_type: each.match_percentage for each in latest if each.match_percentage is not None})
    shown: dict[str, Any] = {
        "overall_score": points,
        "status": comparison.named(points),
        "entities": {each.entity_type: _shown(each) for each in latest if entity is None or each.entity_type == entity},
        "not_compared": sorted({each.label for each in entities.every() if each.pull} - {each.entity_type for each in latest}),
        "causes": [each._asdict() for each in causes],
        "causes_days": CAUSE_DAYS,
    }
    return shown | ({} if history is None else {"history": [_shown(each) for each in history]})


def _shown(statistic: Statistic) -> dict[str, Any]:
    """A comparison with the names of the origin's ComparisonResult."""
    source = statistic.source_count
    sums = ("source_sums", "local_sums")
    shown = {
        key: value
        for key, value in statistic._asdict().items()
        if key not in {"stage", "at", "plan", "is_complete", "entity_type", *sums}
    }
    names = [f"sum_{column}" for column in statistics.SUMMED]
    return {
        "entity_type": statistic.entity_type,
        **shown,
        "plan_id": statistic.plan,
        "started_at": statistic.at,
        "difference": None if source is None or statistic.local_count is None else source - statistic.local_count,
        "requires_sync": statistic.recommendation != "no_sync_needed",
        **{side: dict(zip(names, getattr(statistic, side) or (), strict=False)) or None for side in sums},
    }
