"""Monitoring: the one word for the whole system, and the numbers behind it. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from common import db
from common.db import Transaction
from common.errors import Unavailable
from common.rules import latency, scores
from common.stores import configuration, health, metrics, schedules

STATES = ("pending", "processing", "completed", "failed", "dead_letter")
THRESHOLDS = {
    "queue_warning": "queue_backlog_threshold",
    "queue_critical": "alerts.queue_critical",
    "dlq_warning": "alerts.dlq_warning",
    "dlq_critical": "alerts.dlq_critical",
}
EVENTS = ("received", "duplicate", "refused", "quarantined", "completed", "retried", "dead_letter", "revived")
OUTCOMES = ("applied", "unchanged", "superseded", "ambiguous")


def overview() -> tuple[int, dict[str, Any]]:
    """What /api/tds/monitoring/health tells; 503 with the same fields, all null, when the database is down.

    The status is the origin's formula: more dead letters than dlq_critical, more waiting than queue_warning, less than
    95 % of the last hour's events that went well. The other two thresholds are those of the alerts.
    """
    try:
        with db.transaction("status", read_only=True) as tx:
            whole, success = health.whole(tx), scores.success_percent(health.hour(tx))
            thresholds, now = _thresholds(tx), schedules.now(tx)
    except Unavailable:
        return down()
    return 200, {
        "status": _condition(whole.queue, success, thresholds),
        "timestamp": now,
        "queue": {state: whole.queue[state] for state in STATES} | {"total": sum(whole.queue.values())},
        "metrics": {"success_rate": success, "active_alerts": whole.active_alerts},
        "thresholds": thresholds,
    }


def down() -> tuple[int, dict[str, Any]]:
    """The same when the database cannot be asked."""
    return 503, {
        "status": "error",
        "timestamp": datetime.now(UTC),
        "queue": dict.fromkeys((*STATES, "total")),
        "metrics": {"success_rate": None, "active_alerts": None},
        "thresholds": dict.fromkeys(THRESHOLDS),
    }


def condition(tx: Transaction, queue: Mapping[str, int], hour: Mapping[str, int]) -> str:
    """The one word for the whole system, by the states of its events and what was counted in the last hour."""
    return _condition(queue, scores.success_percent(hour), _thresholds(tx))


def _thresholds(tx: Transaction) -> dict[str, int]:
    values = configuration.all_values(tx)
    return {shown: values[key] for shown, key in THRESHOLDS.items()}


def _condition(queue: Mapping[str, int], success: float, thresholds: dict[str, int]) -> str:
    return scores.condition(
        dead_letters=queue["dead_letter"],
        waiting=queue["pending"],
        success=success,
        dead_critical=thresholds["dlq_critical"],
        waiting_warning=thresholds["queue_warning"],
    )


def dashboard() -> dict[str, Any]:
    """What /dashboard/metrics tells: what was counted ever and in the last hour, how long it took, and what is open."""
    with db.transaction("status", read_only=True) as tx:
        counters, hour, whole = health.counters(tx), health.hour(tx), health.whole(tx)
        alerts, now = metrics.alerts(tx), schedules.now(tx)
        word = condition(tx, whole.queue, hour)
    took = latency.histogram(hour)
    return {
        "status": word,
        "timestamp": now,
        "queue": {state: whole.queue[state] for state in STATES} | {"total": sum(whole.queue.values())},
        "total": {name: counters.get(name, 0) for name in (*EVENTS, *OUTCOMES)},
        "last_hour": {name: hour.get(name, 0) for name in (*EVENTS, *OUTCOMES)},
        "success_rate": scores.success_percent(hour),
        "latency_seconds": {
            "average": took.mean_seconds,
            "p50": latency.quantile(0.5, took),
            "p95": latency.quantile(0.95, took),
        },
        "dead_letters": whole.dead_letters,
        "alerts": {
            "active": sum(each.open for each in alerts),
            "acknowledged": sum(each.acknowledged for each in alerts),
            "by_severity": {each.severity: each.open for each in alerts},
        },
    }
