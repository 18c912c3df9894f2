"""POST /tasks/shards: work through the lanes of plans until the time is up."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from common.edge import Route, flask_answer, routed
from common.flows import work

handle = routed(
    Route("POST", "/tasks/shards", "task", lambda request: asdict(work.work(empty=work.body_empty(request.body), beside=1)))
)


def main(request: Any) -> Any:
    """Work on whatever there is; any number of these may run at once."""
    return flask_answer(handle, request)
