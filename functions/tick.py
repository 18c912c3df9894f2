"""POST /tasks/tick, every minute: sweep what died, fold the counters, ring for ready work."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from common.edge import Route, flask_answer, routed
from common.flows import tick

handle = routed(Route("POST", "/tasks/tick", "task", lambda _: asdict(tick.tick())))


def main(request: Any) -> Any:
    """One tick; any number of them may run at once."""
    return flask_answer(handle, request)
