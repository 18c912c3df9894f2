"""Things that tests need many of: signed requests and records with sane defaults."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from common import settings
from common.flows import receive
from common.rules import capability
from common.rules.http import Request
from common.signatures import zoho

SECRET = "mysecretkey12"


def a_request(path: str, body: Any, *, method: str = "POST", query: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Request:
    """An unsigned webhook request; `body` is bytes, or anything that becomes JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Request(method, f"/webhooks/{path}", query, (("content-type", "application/json"), *headers), raw, "127.0.0.1")


def signed(request: Request, secret: str = SECRET) -> Request:
    """The request as Zoho would sign it."""
    added = tuple((name.lower(), value) for name, value in zoho.sign(secret, request).items())
    return Request(request.method, request.path, request.query, request.headers + added, request.body, request.address)


def send(path: str, body: Any, **options: Any) -> dict[str, Any]:
    """Receive a signed webhook; the body of its 202."""
    return receive.receive(signed(a_request(path, body, **options)))


def a_ring(function: str, body: bytes = b"", *, secret: str = "secret-key-of-the-tests") -> dict[str, str]:
    """The headers of a ring for `function` with `body`: the key of a task's caller, and its token."""
    token = capability.ring(function, body, settings.signing_key(secret), now=datetime.now(UTC))
    return {"authorization": f"Bearer {settings.task_key(secret)}", capability.HEADER.lower(): token}


def an_item(item_id: str = "1", at: str = "2026-06-09T09:45:44-0400", **fields: Any) -> dict[str, Any]:
    """A product as a webhook has it."""
    return {"item": {"item_id": item_id, "name": "Lamp", "rate": 10, "last_modified_time": at, **fields}}


def an_invoice(invoice_id: str = "7", at: str = "2026-06-09T09:45:44-0400", lines: int = 1, **fields: Any) -> dict[str, Any]:
    """An invoice with lines as a webhook has it; every line tells the version it belongs to."""
    items = [{"line_item_id": f"{invoice_id}-{n}", "item_id": str(n), "quantity": 1, "rate": n, "name": at} for n in range(lines)]
    record = {
        "invoice_id": invoice_id,
        "invoice_number": f"INV-{invoice_id}",
        "customer_id": "9",
        "total": 12.5,
        "line_items": items,
    }
    return {"invoice": {**record, "last_modified_time": at, **fields}}


def a_form(**fields: str) -> bytes:
    """A form body."""
    return urlencode(fields).encode()


def connection(zoho: Any) -> dict[str, str]:
    """What the environment says so that a stand-in is read as the source."""
    return {
        "ZOHO_API_URL": zoho.url,
        "ZOHO_ACCOUNTS_URL": zoho.accounts_url,
        "ZOHO_CLIENT_ID": zoho.client_id,
        "ZOHO_CLIENT_SECRET": zoho.client_secret,
        "ZOHO_REFRESH_TOKEN": zoho.refresh_token,
    }
