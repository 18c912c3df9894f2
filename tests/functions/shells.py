"""What a cloud puts around a function: functions-framework's two applications, called in this process, and its server."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from functions_framework import create_app
from functions_framework.aio import create_asgi_app

from common.rules.http import Request

ROOT = Path(__file__).parents[2]
HUNG_UP = 0
MAIN = str(ROOT / "functions" / "main.py")
PROBLEM = {"type", "title", "status", "detail", "instance", "trace_id", "retryable"}


class Reply(NamedTuple):
    """An answer as its caller sees it; headers by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@functools.cache
def _wsgi_app(target: str) -> Any:
    return create_app(target, MAIN, "http")


def wsgi(request: Request, target: str = "webhook") -> Reply:
    """Ask the synchronous side; a header that comes twice is joined by a comma, as every WSGI server does."""
    answer = (
        _wsgi_app(target)
        .test_client()
        .open(request.path, method=request.method, query_string=request.query, headers=list(request.headers), data=request.body)
    )
    return Reply(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.data)


@functools.cache
def _asgi_app(target: str) -> tuple[Any, asyncio.Runner]:
    os.environ["FUNCTION_USE_ASGI"] = "true"
    try:
        return create_asgi_app(target, MAIN, "http"), asyncio.Runner()
    finally:
        del os.environ["FUNCTION_USE_ASGI"]


def asgi(request: Request, target: str = "webhook") -> Reply:
    """Ask the asynchronous side."""
    app, runner = _asgi_app(target)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": request.method,
        "path": unquote(request.path),
        "raw_path": request.path.encode(),
        "root_path": "",
        "query_string": request.query.encode("latin-1"),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
    }
    told: list[dict[str, Any]] = [{"type": "http.disconnect"}, {"type": "http.request", "body": request.body, "more_body": False}]
    said: list[dict[str, Any]] = []

    async def ask() -> None:
        async def receive() -> dict[str, Any]:
            return told.pop() if len(told) > 1 else told[0]

        async def send(message: dict[str, Any]) -> None:
            said.append(message)

        await app(scope, receive, send)

    runner.run(ask())
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in said[0]["headers"]}
    return Reply(said[0]["status"], headers, b"".join(message.get("body", b"") for message in said[1:]))


def keeps_the_promises_of_a_refusal(reply: Reply) -> bool:
    """Whether a refusal is a problem document that is whole, with the headers that go with its status."""
    body = reply.json
    return (
        reply.headers["content-type"] == "application/problem+json"
        and body.keys() >= PROBLEM
        and body["status"] == reply.status
        and body["retryable"] is (reply.status in {408, 429, 503})
        and (reply.status not in {429, 503} or int(reply.headers["retry-after"]) > 0)
        and (reply.status != 405 or bool(reply.headers["allow"]))
        and reply.status != 500
    )


@contextmanager
def served(target: str, directory: Path, **environment: str) -> Iterator[int]:
    """A target in a server of its own, started from an empty directory as a cloud would; its port, for {port} in the variables."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(Path(sys.executable).with_name("functions-framework")),
        "--source",
        MAIN,
        "--target",
        target,
        "--port",
        str(port),
    ]
    told = {name: value.replace("{port}", str(port)) for name, value in environment.items()}
    process = subprocess.Popen(command, cwd=directory, env={**os.environ, "HOST": "127.0.0.1", "THREADS": "4", **told})
    try:
        for _ in range(200):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "the server ended"
            threading.Event().wait(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def raw(port: int, sent: Sequence[bytes], *, half_closed: bool = False) -> Reply:
    """Send bytes as they are, and read the first answer that comes, within ten seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        for part in sent:
            line.sendall(part)
        if half_closed:
            line.shutdown(socket.SHUT_WR)
        file = line.makefile("rb")
        first = file.readline()
        if not first:
            return Reply(HUNG_UP, {}, b"")
        status = int(first.split()[1])
        headers = {}
        while row := file.readline().strip():
            name, _, value = row.decode().partition(":")
            headers[name.lower()] = value.strip()
        return Reply(status, headers, file.read(int(headers["content-length"])))
