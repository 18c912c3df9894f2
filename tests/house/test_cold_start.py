"""What a function loads before its first answer: its own module, and nothing heavy that the answer does not need."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import OWNER
from tests.house.tree import FUNCTIONS, ROOT
from tests.make import a_request, an_item, signed

HEAVY = (
    "grpc",
    "prometheus_client",
    "boto3",
    "botocore",
    "google",
    "requests",
    "urllib3",
    "httpx",
    "pydantic",
    "pydantic_core",
    "common.rules.shapes",
)
# functions-framework is there first, whatever it brings: what counts is what comes after it.
THREADS = """
import json, sys
import functions_framework
from flask import Request
from werkzeug.test import EnvironBuilder
target, method, path, headers, body = json.loads(sys.argv[1])
before = set(sys.modules)
{planted}
import functions.main
builder = EnvironBuilder(method=method, path=path, headers=headers, data=body.encode())
answer = getattr(functions.main, target)(Request(builder.get_environ()))
print(json.dumps([answer.status_code, sorted(set(sys.modules) - before)]))
"""
LOOP = """
import asyncio, json, sys
import functions_framework.aio
from starlette.requests import Request
target, method, path, headers, body = json.loads(sys.argv[1])
before = set(sys.modules)
{planted}
import functions.main
async def receive():
    return {{"type": "http.request", "body": body.encode(), "more_body": False}}
scope = {{"type": "http", "method": method, "path": path, "query_string": b"", "client": None,
         "headers": [(name.encode(), value.encode()) for name, value in headers]}}
answer = asyncio.run(getattr(functions.main, target)(Request(scope, receive)))
print(json.dumps([answer.status_code, sorted(set(sys.modules) - before)]))
"""
WEBHOOK = signed(a_request("products", an_item()))
A_WEBHOOK = ("webhook", "POST", WEBHOOK.path, WEBHOOK.headers, WEBHOOK.body.decode())
FOR_THE_PAGE = ("status", "GET", "/api/status", (("authorization", f"Bearer {OWNER}"),), "")
ALIVE = ("health", "GET", "/health/live", (), "")


def started(script: str, asked: tuple[object, ...], planted: str = "", **environment: str) -> tuple[int, list[str]]:
    """The status of a fresh process's first answer, and the modules it loaded for that."""
    command = [sys.executable, "-c", script.format(planted=planted), json.dumps(asked)]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True)
    status, modules = json.loads(ended.stdout.splitlines()[-1])
    return status, modules


def heavy(modules: list[str]) -> list[str]:
    return [name for name in modules if any(name == each or name.startswith(f"{each}.") for each in HEAVY)]


def others(modules: list[str], target: str) -> list[str]:
    return [name for name in modules if name.startswith("functions.") and name not in {"functions.main", f"functions.{target}"}]


@pytest.mark.parametrize(
    ("script", "asked", "environment", "answered"),
    [
        (THREADS, A_WEBHOOK, {}, 202),
        (LOOP, A_WEBHOOK, {"FUNCTION_USE_ASGI": "true"}, 202),
        (THREADS, ALIVE, {}, 200),
        (THREADS, FOR_THE_PAGE, {}, 200),
    ],
    ids=["webhook in threads", "webhook in an event loop", "health", "status for the page"],
)
def test_the_first_answer_waits_for_nothing_heavy(script, asked, environment, answered, database_url):
    status, modules = started(script, asked, **environment)
    assert (status, heavy(modules), others(modules, asked[0])) == (answered, [], [])


@pytest.mark.parametrize("target", [path.stem for path in FUNCTIONS])
def test_a_function_loads_no_other_function(target, database_url):
    status, modules = started(THREADS, (target, "GET", "/nowhere", (), ""))
    assert (status, others(modules, target)) == (404, [])


def test_what_is_heavy_is_seen(database_url):
    _, modules = started(THREADS, ALIVE, planted="import pydantic_core, functions.tick")
    assert "pydantic_core" in heavy(modules)
    assert others(modules, "health") == ["functions.tick"]
