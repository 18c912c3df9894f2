"""Syncs: POST /tasks/sync by a schedule, POST /sync/manual by hand."""

from __future__ import annotations

from typing import Any

from common.auth import Role
from common.edge import Route, flask_answer, json_body, routed
from common.flows import fires, sync

handle = routed(
    Route("POST", "/tasks/sync", "task", lambda request: sync.by_schedule(*fires.fire_of(request.body))),
    Route("POST", "/sync/manual", Role.OPERATOR, lambda request: sync.by_hand(json_body(request))),
)


def main(request: Any) -> Any:
    """Start a sync; shards work on it."""
    return flask_answer(handle, request)
