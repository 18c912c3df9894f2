"""serverless.yml, the Route tables, main.py and the local gateway name the same deployables, methods and paths."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterable
from typing import Any

import pytest

from deploy.local import gateway
from tests.house.tree import FUNCTIONS, ROOT, Declared, routes

LISTED = gateway.deployables()
HTTP_SECONDS, LONGEST_SECONDS = 29, 900  # what API Gateway waits, and what a Lambda may take
STATEMENTS = 15
WEBHOOK = {("webhook", method, "/webhooks/{}") for method in ("POST", "PUT", "DELETE")}


def of_code(declared: Iterable[Declared]) -> set[tuple[str, str, str]]:
    """What is reached from outside, as the code declares it; tasks come by queue and clock."""
    return WEBHOOK | {(each.function, each.method, plain(each.path)) for each in declared if each.need != "task"}


def of_list(listed: dict[str, Any]) -> set[tuple[str, str, str]]:
    events = [
        (name, event["httpApi"].split()) for name, function in listed.items() for event in function["events"] if "httpApi" in event
    ]
    return {(name, method, plain(path)) for name, (method, path) in events}


def plain(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def test_the_list_names_what_the_code_serves():
    assert of_list(LISTED) == of_code(routes())


def test_a_route_that_is_missing_from_the_list_is_seen():
    assert of_list(LISTED) != of_code([*routes(), Declared("health", "GET", "/health/unlisted", "open")])


def test_every_file_is_a_deployable_and_a_target_of_main():
    main = ast.parse((ROOT / "functions" / "main.py").read_text())
    targets = {node.name for node in ast.walk(main) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)} - {"_run"}
    assert targets == LISTED.keys() == {path.stem for path in FUNCTIONS}


def test_a_task_comes_from_a_queue_or_a_clock_only():
    of_tasks = {each.function for each in routes() if each.need == "task"}
    by_trigger = {name for name, function in LISTED.items() if any("httpApi" not in event for event in function["events"])}
    assert by_trigger == of_tasks
    assert all(each.path == f"/tasks/{each.function}" and each.method == "POST" for each in routes() if each.need == "task")


@pytest.mark.parametrize("name", LISTED)
def test_a_deployables_limits_are_within_what_its_trigger_allows(name):
    function = LISTED[name]
    seconds = function.get("timeout", HTTP_SECONDS)
    is_http = any("httpApi" in event for event in function["events"])
    assert 1 <= seconds <= (HTTP_SECONDS if is_http else LONGEST_SECONDS)
    assert 128 <= function.get("memorySize", 512) <= 10_240
    assert function["handler"].rpartition(".")[2] == name
    assert function["description"]


def test_a_ring_stays_hidden_for_six_times_the_longest_task():
    text = (ROOT / "serverless.yml").read_text()
    longest = max(function["timeout"] for function in LISTED.values() if any("sqs" in event for event in function["events"]))
    assert int(re.search(r"VisibilityTimeout: (\d+)", text)[1]) >= 6 * longest


@pytest.mark.parametrize("route", [*routes(), *(Declared(*each, "open") for each in sorted(WEBHOOK))], ids=str)
def test_the_gateway_sends_a_request_to_the_function_that_serves_it(route):
    path = re.sub(r"\{\w*\}", "products", route.path)
    assert gateway.target_of(route.method, path) == route.function


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("PATCH", "/health", "health"),
        ("HEAD", "/health/live", "health"),
        ("GET", "/webhooks/products", "webhook"),
        ("POST", "/webhooks/health", "webhook"),
        ("GET", "/nowhere", "status"),
        ("POST", "/webhooks/a/b", "webhook"),
    ],
)
def test_what_nobody_serves_is_answered_by_the_nearest(method, path, target):
    assert gateway.target_of(method, path) == target


@pytest.mark.parametrize("path", FUNCTIONS, ids=lambda path: path.stem)
def test_what_is_loaded_late_is_there(path):
    assert missing(path.read_text()) == []


def test_what_is_loaded_late_and_is_not_there_is_seen():
    assert missing("flows.status.queue(); flows.status.nothing(); flows.nowhere.queue()") == ["nowhere.queue", "status.nothing"]


def missing(text: str) -> list[str]:
    """What a deployable calls of flows that no flow has."""
    called = {(module, function) for module, function in re.findall(r"\bflows\.(\w+)\.(\w+)", text)}
    there = {path.stem for path in (ROOT / "common" / "flows").glob("*.py")}
    return sorted(
        f"{module}.{function}"
        for module, function in called
        if module not in there or not callable(getattr(importlib.import_module(f"common.flows.{module}"), function, None))
    )


@pytest.mark.parametrize("path", FUNCTIONS, ids=lambda path: path.stem)
def test_a_deployable_is_short(path):
    assert statements(path.read_text()) <= STATEMENTS


def test_a_deployable_that_works_itself_is_seen():
    assert statements("def main(request):\n    '''Long.'''\n" + "    request = request.next\n" * STATEMENTS) > STATEMENTS


def statements(text: str) -> int:
    """Statements besides imports and docstrings; each Route is one."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    counted = [node for node in nodes if not isinstance(node, ast.Import | ast.ImportFrom) and not is_text(node)]
    return len(counted)


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_no_deployable_hides_a_module_of_python():
    assert shadowing([path.stem for path in FUNCTIONS]) == []
    assert shadowing(["queue", "webhook"]) == ["queue"]


def shadowing(names: list[str]) -> list[str]:
    # functions-framework puts the folder of main.py on the path, so functions/queue.py would be everybody's `queue`.
    return [name for name in names if name in sys.stdlib_module_names]
