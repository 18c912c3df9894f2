"""Security events: tokens that were refused, for whoever looks after that."""

from __future__ import annotations

from typing import Any

from common import db
from common.flows.status import limit_of
from common.rules.http import Request
from common.stores import refusals


def events(request: Request) -> dict[str, Any]:
    """The newest refusals: who showed what, and why it did not count.

    Raises: Invalid, for a `limit` that makes no sense.
    """
    with db.transaction("status", read_only=True) as tx:
        found = refusals.listed(tx, limit_of(request))
    return {"events": [each._asdict() for each in found]}
