"""Metrics: as OpenMetrics for whoever scrapes, and as rows of tds_metrics, a handful each minute."""

from __future__ import annotations

from typing import Any

from common import db
from common.flows.monitoring import EVENTS, OUTCOMES
from common.rules import latency, scores
from common.rules.http import Answer
from common.stores import health, metrics, schedules


def scraped() -> Answer:
    """What /metrics tells."""
    from common.flows import openmetrics  # noqa: PLC0415 - no other answer needs what it stands on

    body, content_type = openmetrics.text()
    return Answer(200, body, {"Content-Type": content_type})


def record() -> int:
    """Write this minute's numbers down, if nobody has; how many series that were."""
    with db.transaction("worker") as tx:
        whole, hour, now = health.whole(tx), health.hour(tx), schedules.now(tx)
        oldest = next((state.oldest_at for state in health.queue(tx) if state.status == "pending"), None)
        last = {each.name: each.amount for each in metrics.minutes(tx, (*EVENTS, *OUTCOMES)) if each.ago == 1}
        took = latency.histogram(hour)
        rows = [
            _row("backlog", whole.queue["pending"], "events"),
            _row("dead_letters", whole.dead_letters, "events"),
            _row("oldest_age", (now - oldest).total_seconds() if oldest else 0, "seconds"),
            _row("success_rate", scores.success_percent(hour), "percent"),
            *[_row("events_per_minute", last.get(name, 0), "events", outcome=name) for name in (*EVENTS, *OUTCOMES)],
            *[
                _row("latency", latency.quantile(share, took), "seconds", quantile=name)
                for name, share in (("p50", 0.5), ("p95", 0.95))
                if took.total
            ],
        ]
        return metrics.record(tx, rows)


def _row(name: str, value: float | None, unit: str, **tags: str) -> dict[str, Any]:
    return {"name": name, "type": "gauge", "value": value, "unit": unit, "tags": tags or None}
