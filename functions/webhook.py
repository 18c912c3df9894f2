"""POST, PUT, DELETE /webhooks/<entity>: receive one event or a batch of them."""

from __future__ import annotations

import functools
from typing import Any

from common.edge import flask_answer, hook, hook_together, starlette_answer
from common.flows import receive
from common.rules.http import Request

MOST = 200  # requests in one transaction


@functools.cache
def group() -> Any:
    """The requests of this instance that are being stored together."""
    from common.flows.group import Group  # noqa: PLC0415 - asyncio, which only the event loop needs

    return Group(receive.Storing, receive.store, most=MOST)


def main(request: Any) -> Any:
    """Accept a webhook in a transaction of its own: right with any server."""
    return flask_answer(hook(lambda asked: (202, receive.receive(asked))), request)


async def main_together(request: Any) -> Any:
    """Accept a webhook in a transaction shared with its neighbours: with FUNCTION_USE_ASGI and a concurrency of 80 or more."""
    return await starlette_answer(hook_together(_together), request)


async def _together(request: Request) -> tuple[int, dict[str, Any]]:
    return 202, receive.accepted(await group().add(receive.read(request)))
