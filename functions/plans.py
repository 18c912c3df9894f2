"""/api/hxo/*: submit plans, watch them, stop them, try them again."""

from __future__ import annotations

from typing import Any

from common.auth import Role
from common.edge import Route, flask_answer, json_body, routed
from common.flows import plan_status, plan_verbs, plans

handle = routed(
    Route("POST", "/api/hxo/plan", Role.OWNER, lambda request: plans.check(json_body(request))),
    Route("POST", "/api/hxo/submit", Role.OWNER, lambda request: plans.submit(request, json_body(request))),
    Route("POST", "/api/hxo/create-and-submit", Role.OWNER, lambda request: plans.submit(request, json_body(request))),
    Route("GET", "/api/hxo/status", Role.VIEWER, lambda _: plan_status.overview()),
    Route("GET", "/api/hxo/status/{plan}", Role.VIEWER, lambda _, plan: plan_status.status(plan)),
    Route("GET", "/api/hxo/report/{plan}", Role.VIEWER, lambda _, plan: plan_status.report(plan)),
    Route("POST", "/api/hxo/abort/{plan}", Role.OWNER, lambda _, plan: plan_verbs.act("abort", plan)),
    Route("POST", "/api/hxo/replay/{plan}", Role.OWNER, lambda _, plan: plans.replay(plan)),
    Route("POST", "/api/hxo/plan/{plan}/pause", Role.OWNER, lambda _, plan: plan_verbs.act("pause", plan)),
    Route("POST", "/api/hxo/plan/{plan}/resume", Role.OWNER, lambda _, plan: plan_verbs.act("resume", plan)),
    Route("POST", "/api/hxo/plan/{plan}/cancel", Role.OWNER, lambda _, plan: plan_verbs.act("cancel", plan)),
    Route("POST", "/api/hxo/plan/{plan}/retry", Role.OWNER, lambda _, plan: plan_verbs.act("retry", plan)),
    Route("POST", "/api/hxo/plan/{plan}/rollback", Role.OWNER, lambda _, plan: plans.rollback(plan)),
)


def main(request: Any) -> Any:
    """Act, or read."""
    return flask_answer(handle, request)
