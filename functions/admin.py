"""What operators do: try a dead letter again, make and revoke tokens."""

from __future__ import annotations

from typing import Any

from common.auth import Role
from common.edge import Route, flask_answer, json_body, routed
from common.flows import operate

handle = routed(
    Route("POST", "/dashboard/dead-letter/{letter}/retry", Role.OPERATOR, lambda _, letter: operate.retry_dead_letter(letter)),
    Route("GET", "/admin/tokens", Role.OWNER, lambda _: operate.list_tokens()),
    Route("POST", "/admin/tokens", Role.OWNER, lambda request: operate.create_token(json_body(request))),
    Route("DELETE", "/admin/tokens/{token}", Role.OWNER, lambda _, token: operate.revoke_token(token)),
)


def main(request: Any) -> Any:
    """Act."""
    return flask_answer(handle, request)
