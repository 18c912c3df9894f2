"""What the receiver is compared with: functions of a few lines, served by functions-framework just as ours are."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

_local = threading.local()


def hello(_: Any) -> str:
    """Say hello; a WSGI function."""
    return "hello"


async def hello_together(_: Any) -> str:
    """Say hello; an ASGI function."""
    return "hello"


def naive(request: Any) -> tuple[str, int]:
    """What most people write: one prepared insert per request, committed, then answered."""
    if not hasattr(_local, "insert"):
        import pg8000.native

        connection = pg8000.native.Connection(
            "postgres", unix_sock=os.environ["SOCKET"], database=os.environ["DATABASE"], ssl_context=False
        )
        _local.insert = connection.prepare(
            "insert into events (source, key, body) values ('zoho', :key, cast(:body as jsonb)) on conflict do nothing"
        )
    body = request.get_data(as_text=True)
    _local.insert.run(key=json.loads(body)["item"]["sku"], body=body)
    return "stored", 202
