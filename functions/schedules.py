"""/api/schedules: schedules are rows, changed while everything runs."""

from __future__ import annotations

from typing import Any

from common.auth import Role
from common.edge import Route, flask_answer, json_body, routed
from common.flows import schedules

handle = routed(
    Route("GET", "/api/schedules", Role.VIEWER, schedules.listed),
    Route("POST", "/api/schedules", Role.OPERATOR, lambda request: schedules.create(json_body(request))),
    Route("GET", "/api/schedules/{name}", Role.VIEWER, lambda _, name: schedules.one(name)),
    Route("PATCH", "/api/schedules/{name}", Role.OPERATOR, lambda request, name: schedules.change(name, json_body(request))),
    Route("DELETE", "/api/schedules/{name}", Role.OPERATOR, lambda _, name: schedules.remove(name)),
    Route("POST", "/api/schedules/{name}/run", Role.OPERATOR, lambda request, name: schedules.run(name, json_body(request))),
    Route("POST", "/api/schedules/{name}/pause", Role.OPERATOR, lambda request, name: schedules.pause(name, json_body(request))),
    Route("POST", "/api/schedules/{name}/resume", Role.OPERATOR, lambda request, name: schedules.resume(name, json_body(request))),
    Route(
        "POST", "/api/schedules/{name}/backfill", Role.OPERATOR, lambda request, name: schedules.backfill(name, json_body(request))
    ),
    Route("GET", "/api/schedules/{name}/preview", Role.VIEWER, lambda request, name: schedules.preview(name, request)),
    Route("GET", "/api/schedules/{name}/fires", Role.VIEWER, lambda request, name: schedules.fires_of(name, request)),
)


def main(request: Any) -> Any:
    """Answer."""
    return flask_answer(handle, request)
