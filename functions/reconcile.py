"""Comparing with the source: POST /tasks/reconcile by a schedule, POST /api/tds/statistics/compare by hand."""

from __future__ import annotations

from typing import Any

from common.auth import Role
from common.edge import Route, flask_answer, json_body, routed
from common.flows import fires, reconcile

handle = routed(
    Route("POST", "/tasks/reconcile", "task", lambda request: reconcile.by_schedule(*fires.fire_of(request.body))),
    Route("POST", "/api/tds/statistics/compare", Role.OPERATOR, lambda request: reconcile.by_hand(json_body(request))),
)


def main(request: Any) -> Any:
    """Start a comparison; shards work on it."""
    return flask_answer(handle, request)
