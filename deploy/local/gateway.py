"""The local gateway: every function on one port, each through functions-framework's own create_app, as it would be deployed.

The receiver runs on the asynchronous side (FUNCTION_USE_ASGI), the others on the synchronous one in threads.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
MAIN = str(ROOT / "functions" / "main.py")
THREADS = 16


@functools.cache
def declared() -> dict[str, Any]:
    """What serverless.yml says."""

    class Loader(yaml.SafeLoader):
        """YAML with CloudFormation's tags read as plain text."""

    Loader.add_multi_constructor("!", lambda loader, _, node: loader.construct_scalar(node))
    with (ROOT / "serverless.yml").open() as file:
        found: dict[str, Any] = yaml.load(file, Loader)  # noqa: S506 - a SafeLoader
    return found


def deployables() -> dict[str, dict[str, Any]]:
    """The functions of serverless.yml by name."""
    found: dict[str, dict[str, Any]] = declared()["functions"]
    return found


@functools.cache
def routes() -> list[tuple[re.Pattern[str], str, str]]:
    """(pattern of the path, method, target) of every path, the plain ones before those with a placeholder."""
    found = []
    for target, function in deployables().items():
        for event in function["events"]:
            if "httpApi" in event:
                method, _, path = event["httpApi"].partition(" ")
                found.append((path, method, target))
            else:
                found.append((f"/tasks/{target}", "POST", target))
    found.sort(key=lambda route: ("{" in route[0], route[0]))
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path) + "/?"), method, target) for path, method, target in found]


def target_of(method: str, path: str) -> str:
    """The function that a request goes to; a method that a path does not have goes to one that has the path."""
    matching = [(verb, target) for pattern, verb, target in routes() if pattern.fullmatch(path)]
    for verb, target in matching:
        if verb == method or (verb == "GET" and method == "HEAD"):
            return target
    return matching[0][1] if matching else ("webhook" if path.startswith("/webhooks/") else "status")


@functools.cache
def _asgi(target: str) -> Any:
    """A target as an ASGI application, loaded when it is first called."""
    if target == "webhook":
        from functions_framework.aio import create_asgi_app  # noqa: PLC0415

        os.environ["FUNCTION_USE_ASGI"] = "true"
        try:
            return create_asgi_app(target, MAIN, "http")  # type: ignore[no-untyped-call]
        finally:
            del os.environ["FUNCTION_USE_ASGI"]
    from a2wsgi import WSGIMiddleware  # noqa: PLC0415
    from functions_framework import create_app  # noqa: PLC0415

    return WSGIMiddleware(create_app(target, MAIN, "http"), workers=THREADS)  # type: ignore[no-untyped-call]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application that gunicorn serves."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await _asgi(target_of(scope["method"], scope["path"]))(scope, receive, send)
