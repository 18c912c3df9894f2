"""What operators do: try a dead letter again, make and revoke tokens, change settings."""

from __future__ import annotations

from typing import Any

from common.auth import Role
from common.edge import Route, flask_answer, flows, json_body, routed

handle = routed(
    Route(
        "POST", "/dashboard/dead-letter/{letter}/retry", Role.OPERATOR, lambda _, letter: flows.operate.retry_dead_letter(letter)
    ),
    Route("POST", "/api/dead-letters/replay", Role.OPERATOR, lambda request: flows.dead_letters.replay(json_body(request))),
    Route("POST", "/api/dead-letters/discard", Role.OPERATOR, lambda request: flows.dead_letters.discard(json_body(request))),
    Route(
        "POST",
        "/api/dead-letters/{letter}/edit",
        Role.OPERATOR,
        lambda request, letter: flows.edits.edit(letter, json_body(request)),
    ),
    Route(
        "POST",
        "/api/dead-letters/{letter}/discard",
        Role.OPERATOR,
        lambda request, letter: flows.dead_letters.discard_one(letter, json_body(request)),
    ),
    Route("POST", "/api/bff/tds/auto-healing/run", Role.OPERATOR, lambda _: flows.auto_healing.run()),
    Route("POST", "/api/bff/tds/circuit-breakers/{name}/reset", Role.OPERATOR, lambda _, name: flows.breakers.reset(name)),
    Route(
        "POST",
        "/api/alerts/{alert}/acknowledge",
        Role.OPERATOR,
        lambda request, alert: flows.alerts.acknowledge(alert, json_body(request)),
    ),
    Route(
        "POST", "/api/alerts/{alert}/resolve", Role.OPERATOR, lambda request, alert: flows.alerts.resolve(alert, json_body(request))
    ),
    Route(
        "POST",
        "/dashboard/alerts/{alert}/acknowledge",
        Role.OPERATOR,
        lambda request, alert: flows.alerts.acknowledge(alert, json_body(request)),
    ),
    Route(
        "POST",
        "/api/tickets/{ticket}/acknowledge",
        Role.OPERATOR,
        lambda request, ticket: flows.tickets.acknowledge(ticket, json_body(request)),
    ),
    Route(
        "POST",
        "/api/tickets/{ticket}/resolve",
        Role.OPERATOR,
        lambda request, ticket: flows.tickets.resolve(ticket, json_body(request)),
    ),
    Route("POST", "/api/arie/run", Role.OWNER, lambda request: flows.arie.run(json_body(request))),
    Route("POST", "/api/arie/scan", Role.OWNER, lambda request: flows.arie.run(json_body(request))),
    Route("POST", "/api/arie/rollback", Role.OWNER, lambda request: flows.arie.rollback(json_body(request))),
    Route("GET", "/admin/tokens", Role.OWNER, lambda _: flows.operate.list_tokens()),
    Route("POST", "/admin/tokens", Role.OWNER, lambda request: flows.operate.create_token(json_body(request))),
    Route("DELETE", "/admin/tokens/{token}", Role.OWNER, lambda _, token: flows.operate.revoke_token(token)),
    Route("GET", "/admin/config", Role.OWNER, lambda _: flows.configure.listed()),
    Route("PATCH", "/admin/config", Role.OWNER, lambda request: flows.configure.change_many(json_body(request))),
    Route("GET", "/admin/config/{key}", Role.OWNER, lambda _, key: flows.configure.one(key)),
    Route("PATCH", "/admin/config/{key}", Role.OWNER, lambda request, key: flows.configure.change_one(key, json_body(request))),
    Route("POST", "/admin/lease/release", Role.OWNER, lambda _: flows.lease.release()),
    Route("POST", "/api/system/migrate", Role.OWNER, lambda request: flows.system.migrate(json_body(request))),
    Route("POST", "/api/system/backups", Role.OWNER, lambda request: flows.backups.record(json_body(request))),
)


def main(request: Any) -> Any:
    """Act."""
    return flask_answer(handle, request)
