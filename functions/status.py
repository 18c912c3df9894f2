"""/queue/stats, /webhooks/health, /webhooks/duplicates, /dashboard/*: how things stand. Reads only."""

from __future__ import annotations

from typing import Any

from common.auth import Role
from common.edge import Route, flask_answer, flows, routed

handle = routed(
    Route("GET", "/queue/stats", Role.VIEWER, lambda _: flows.status.queue()),
    Route("GET", "/webhooks/health", Role.VIEWER, lambda _: flows.status.webhooks()),
    Route("GET", "/webhooks/duplicates", Role.VIEWER, flows.status.duplicates),
    Route("GET", "/dashboard/recent-events", Role.VIEWER, flows.status.recent_events),
    Route("GET", "/dashboard/recent-events/{event}", Role.VIEWER, lambda _, event: flows.status.event(event)),
    Route("GET", "/dashboard/dead-letter", Role.VIEWER, flows.status.dead_letters),
    Route("GET", "/api/dead-letters", Role.VIEWER, flows.dead_letters.listed),
    Route("GET", "/api/dead-letters/replays", Role.VIEWER, lambda _: flows.replays.listed()),
    Route("GET", "/api/dead-letters/replays/{replay}", Role.VIEWER, lambda _, replay: flows.replays.one(replay)),
    Route("GET", "/api/dead-letters/{letter}", Role.VIEWER, lambda _, letter: flows.dead_letters.one(letter)),
    Route("GET", "/api/alerts", Role.VIEWER, flows.alerts.listed),
    Route("GET", "/api/logs/genesis", Role.VIEWER, flows.bus.logs),
    Route("GET", "/api/tickets", Role.VIEWER, flows.tickets.listed),
    Route("GET", "/api/arie/report", Role.VIEWER, flows.arie.report),
    Route("GET", "/api/diagnostics/env-drift", Role.VIEWER, lambda _: flows.env_drift.drift()),
    Route("GET", "/api/diagnostics/deploy-parity", Role.VIEWER, flows.parity.deploy_parity),
    Route("GET", "/api/tickets/{ticket}", Role.VIEWER, lambda _, ticket: flows.tickets.one(ticket)),
    Route("GET", "/api/bff/tds/auto-healing/stats", Role.VIEWER, lambda _: flows.auto_healing.stats()),
    Route("GET", "/api/tds/monitoring/scheduler/jobs", Role.VIEWER, flows.schedules.jobs),
    Route("GET", "/api/tds/monitoring/health", Role.VIEWER, lambda _: flows.monitoring.overview(), down=flows.monitoring.down),
    Route("GET", "/dashboard/metrics", Role.VIEWER, lambda _: flows.monitoring.dashboard()),
    Route("GET", "/dashboard/queue-stats", Role.VIEWER, lambda _: flows.status.queue()),
    Route("GET", "/metrics", Role.VIEWER, lambda _: flows.metrics.scraped()),
    Route("GET", "/api/status", "page", flows.page.summary),
    Route("OPTIONS", "/api/status", "open", flows.page.preflight),
    Route("GET", "/api/tds/data-validation/products", Role.VIEWER, flows.validation.products),
    Route("GET", "/api/tds/data-validation/integrity", Role.VIEWER, flows.validation.integrity),
    Route("GET", "/api/tds/data-validation/orphans", Role.VIEWER, flows.validation.orphans),
    Route("GET", "/api/tds/runs", Role.VIEWER, flows.sync_status.listed),
    Route("GET", "/api/tds/runs/{run}", Role.VIEWER, lambda _, run: flows.sync_status.one(run)),
    Route("GET", "/api/tds/entities", Role.VIEWER, lambda _: flows.sync_status.every_entity()),
    Route("GET", "/api/tds/cursors", Role.VIEWER, lambda _: flows.sync_status.cursors()),
    Route("GET", "/api/tds/statistics", Role.VIEWER, flows.statistics.overview),
    Route("GET", "/api/bff/tds/circuit-breakers", Role.VIEWER, lambda _: flows.breakers.listed()),
)


def main(request: Any) -> Any:
    """Read."""
    return flask_answer(handle, request)
