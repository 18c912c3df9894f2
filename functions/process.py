"""POST /tasks/process: apply what is in the inbox and what is due in the queue."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from common.edge import Route, flask_answer, json_body, routed
from common.flows import fires, process

handle = routed(
    Route("POST", "/tasks/process", "task", lambda request: fires.answered(json_body(request), lambda _: asdict(process.process())))
)


def main(request: Any) -> Any:
    """Work until nothing waits, or the time is up."""
    return flask_answer(handle, request)
