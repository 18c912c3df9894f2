"""/queue/stats, /webhooks/health, /webhooks/duplicates, /dashboard/*: how things stand. Reads only."""

from __future__ import annotations

from typing import Any

from common.auth import Role
from common.edge import Route, flask_answer, routed
from common.flows import (
    alerts,
    auto_healing,
    breakers,
    dead_letters,
    metrics,
    monitoring,
    page,
    replays,
    schedules,
    statistics,
    status,
    sync_status,
    validation,
)

handle = routed(
    Route("GET", "/queue/stats", Role.VIEWER, lambda _: status.queue()),
    Route("GET", "/webhooks/health", Role.VIEWER, lambda _: status.webhooks()),
    Route("GET", "/webhooks/duplicates", Role.VIEWER, status.duplicates),
    Route("GET", "/dashboard/recent-events", Role.VIEWER, status.recent_events),
    Route("GET", "/dashboard/recent-events/{event}", Role.VIEWER, lambda _, event: status.event(event)),
    Route("GET", "/dashboard/dead-letter", Role.VIEWER, status.dead_letters),
    Route("GET", "/api/dead-letters", Role.VIEWER, dead_letters.listed),
    Route("GET", "/api/dead-letters/replays", Role.VIEWER, lambda _: replays.listed()),
    Route("GET", "/api/dead-letters/replays/{replay}", Role.VIEWER, lambda _, replay: replays.one(replay)),
    Route("GET", "/api/dead-letters/{letter}", Role.VIEWER, lambda _, letter: dead_letters.one(letter)),
    Route("GET", "/api/alerts", Role.VIEWER, alerts.listed),
    Route("GET", "/api/bff/tds/auto-healing/stats", Role.VIEWER, lambda _: auto_healing.stats()),
    Route("GET", "/api/tds/monitoring/scheduler/jobs", Role.VIEWER, schedules.jobs),
    Route("GET", "/api/tds/monitoring/health", Role.VIEWER, lambda _: monitoring.overview(), down=monitoring.down),
    Route("GET", "/dashboard/metrics", Role.VIEWER, lambda _: monitoring.dashboard()),
    Route("GET", "/dashboard/queue-stats", Role.VIEWER, lambda _: status.queue()),
    Route("GET", "/metrics", Role.VIEWER, lambda _: metrics.scraped()),
    Route("GET", "/api/status", "page", page.summary),
    Route("OPTIONS", "/api/status", "open", page.preflight),
    Route("GET", "/api/tds/data-validation/products", Role.VIEWER, validation.products),
    Route("GET", "/api/tds/data-validation/integrity", Role.VIEWER, validation.integrity),
    Route("GET", "/api/tds/data-validation/orphans", Role.VIEWER, validation.orphans),
    Route("GET", "/api/tds/runs", Role.VIEWER, sync_status.listed),
    Route("GET", "/api/tds/runs/{run}", Role.VIEWER, lambda _, run: sync_status.one(run)),
    Route("GET", "/api/tds/entities", Role.VIEWER, lambda _: sync_status.every_entity()),
    Route("GET", "/api/tds/cursors", Role.VIEWER, lambda _: sync_status.cursors()),
    Route("GET", "/api/tds/statistics", Role.VIEWER, statistics.overview),
    Route("GET", "/api/bff/tds/circuit-breakers", Role.VIEWER, lambda _: breakers.listed()),
)


def main(request: Any) -> Any:
    """Read."""
    return flask_answer(handle, request)
