"""One port for everything: routes, who may call, what goes wrong on the way, and the journal."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.local.providers.wire import Call, Row, Said

START_SECONDS = 10.0


class Server:
    """Serves an application on a port of 127.0.0.1 in a thread of its own."""

    def __init__(self, application: Starlette, port: int) -> None:
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listening.getsockname()[1]
        config = uvicorn.Config(
            application, log_level="error", access_log=False, ws="none", lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._listening],), name="providers", daemon=True)

    def start(self) -> None:
        """Serve from now on: whoever connects before the thread is ready waits in the socket."""
        self._thread.start()

    def stop(self) -> None:
        """End every connection and listen no more."""
        self._server.should_exit = True
        self._thread.join(START_SECONDS)
        self._listening.close()


def application(rows: Sequence[Row], answered: Callable[[Row, Call, Request], tuple[Said, float]]) -> Starlette:
    """What serves these rows; `answered` gives each answer, and the seconds that it takes."""

    def endpoint(row: Row) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            body = await request.body()
            try:
                document: Any = json.loads(body) if body else None
            except ValueError:
                return JSONResponse({"message": "the body is no JSON"}, 400)
            call = Call(request.method, request.url.path, request.path_params, dict(request.query_params), document)
            said, seconds = answered(row, call, request)
            if seconds:
                await asyncio.sleep(seconds)
            if isinstance(said.document, str):
                return Response(said.document, said.status, said.headers, "text/html")
            if said.document is None:
                return Response(None, said.status, said.headers)
            return JSONResponse(said.document, said.status, said.headers)

        return serve

    return Starlette(routes=[Route(row.path, endpoint(row), methods=[row.method]) for row in rows])
