"""POST /tasks/heal: one healing pass, by a schedule ({"schedule", "slot"}) or by hand ({})."""

from __future__ import annotations

from typing import Any

from common.edge import Route, flask_answer, json_body, routed
from common.flows import fires, heal

handle = routed(Route("POST", "/tasks/heal", "task", lambda request: fires.answered(json_body(request), lambda _: heal.heal())))


def main(request: Any) -> Any:
    """Heal; any number of passes may run at once."""
    return flask_answer(handle, request)
