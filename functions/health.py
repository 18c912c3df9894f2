"""/health, /health/live, /health/ready, /health/diag, /api/db/health: whether this instance and its database are well."""

from __future__ import annotations

from typing import Any

from common.auth import Role
from common.edge import Route, flask_answer, routed
from common.flows import readiness, status

handle = routed(
    Route("GET", "/health", "open", lambda _: status.overview()),
    Route("GET", "/health/live", "open", lambda _: status.live()),
    Route("GET", "/health/ready", "open", lambda _: readiness.ready()),
    Route("GET", "/health/diag", Role.VIEWER, lambda _: readiness.diagnostics()),
    Route("GET", "/api/db/health", Role.VIEWER, lambda _: status.database()),
)


def main(request: Any) -> Any:
    """Read."""
    return flask_answer(handle, request)
