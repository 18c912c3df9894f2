"""/queue/stats, /webhooks/health, /webhooks/duplicates, /dashboard/*: how things stand. Reads only."""

from __future__ import annotations

from typing import Any

from common.auth import Role
from common.edge import Route, flask_answer, routed
from common.flows import schedules, statistics, status, sync_status

handle = routed(
    Route("GET", "/queue/stats", Role.VIEWER, lambda _: status.queue()),
    Route("GET", "/webhooks/health", Role.VIEWER, lambda _: status.webhooks()),
    Route("GET", "/webhooks/duplicates", Role.VIEWER, status.duplicates),
    Route("GET", "/dashboard/recent-events", Role.VIEWER, status.recent_events),
    Route("GET", "/dashboard/recent-events/{event}", Role.VIEWER, lambda _, event: status.event(event)),
    Route("GET", "/dashboard/dead-letter", Role.VIEWER, status.dead_letters),
    Route("GET", "/api/tds/monitoring/scheduler/jobs", Role.VIEWER, schedules.jobs),
    Route("GET", "/api/tds/runs", Role.VIEWER, sync_status.listed),
    Route("GET", "/api/tds/runs/{run}", Role.VIEWER, lambda _, run: sync_status.one(run)),
    Route("GET", "/api/tds/entities", Role.VIEWER, lambda _: sync_status.every_entity()),
    Route("GET", "/api/tds/cursors", Role.VIEWER, lambda _: sync_status.cursors()),
    Route("GET", "/api/tds/statistics", Role.VIEWER, statistics.overview),
)


def main(request: Any) -> Any:
    """Read."""
    return flask_answer(handle, request)
