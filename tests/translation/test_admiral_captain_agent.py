"""Admiral, captain, agent: the roles owner, operator and viewer, and the service that carries work on.

What each may do stands here once more, written down by people and not read out of the code; every route is asked by everybody.
That strangers stay out, and what happens behind each door, is tests/functions/test_auth.py's.
"""

from __future__ import annotations

import re
from collections import Counter
from types import SimpleNamespace

import pytest

from common import edge, settings
from tests.conftest import OWNER
from tests.functions.test_auth import VERDICTS, ask, expected, made
from tests.house.tree import Declared, routes

ADMIRAL = """
    GET, POST                   /admin/tokens
    DELETE                      /admin/tokens/{token}
    GET, PATCH                  /admin/config
    GET, PATCH                  /admin/config/{key}
    POST                        /admin/lease/release
    POST                        /api/arie/run  /api/arie/scan  /api/arie/rollback
    POST                        /api/system/migrate  /api/system/backups
    POST                        /api/hxo/plan  /api/hxo/submit  /api/hxo/create-and-submit
    POST                        /api/hxo/abort/{plan}  /api/hxo/replay/{plan}
    POST                        /api/hxo/plan/{plan}/pause  /api/hxo/plan/{plan}/resume  /api/hxo/plan/{plan}/cancel
    POST                        /api/hxo/plan/{plan}/retry  /api/hxo/plan/{plan}/rollback  /api/hxo/plan/{plan}/certify
    GET                         /api/hxo/incomplete-plans  /api/hxo/wait-for-idle
    POST                        /api/hxo/rehydrate-all  /api/hxo/rehydrate/{plan}
    POST, DELETE                /api/hxo/graceful-shutdown
    PUT                         /api/hxo/targets/{target}
    POST                        /api/hxo/deployments  /api/hxo/rollback
    POST                        /api/hxo/deployments/{deployment}/approve
    POST                        /api/hxo/deployments/{deployment}/freeze  /api/hxo/deployments/{deployment}/unfreeze
"""
CAPTAIN = """
    POST                        /sync/manual  /api/tds/statistics/compare
    POST                        /api/dead-letters/replay  /api/dead-letters/discard
    POST                        /api/dead-letters/{letter}/edit  /api/dead-letters/{letter}/discard
    POST                        /dashboard/dead-letter/{letter}/retry  /dashboard/alerts/{alert}/acknowledge
    POST                        /api/alerts/{alert}/acknowledge  /api/alerts/{alert}/resolve
    POST                        /api/tickets/{ticket}/acknowledge  /api/tickets/{ticket}/resolve
    POST                        /api/bff/tds/auto-healing/run  /api/bff/tds/circuit-breakers/{name}/reset
    POST                        /api/schedules
    PATCH, DELETE               /api/schedules/{name}
    POST                        /api/schedules/{name}/run  /api/schedules/{name}/pause  /api/schedules/{name}/resume
    POST                        /api/schedules/{name}/backfill
    GET                         /api/hxo/security/events
    POST                        /api/hxo/retry-stuck-shards  /api/hxo/targets/{target}/check
    GET, POST                   /api/genesis/subscriptions
    GET, DELETE                 /api/genesis/subscriptions/{subscription}
"""
AGENT = """
    POST                        /tasks/process  /tasks/sync  /tasks/reconcile  /tasks/shards  /tasks/heal  /tasks/tick
"""
OPEN = """
    GET                         /health  /health/live  /health/ready
    OPTIONS                     /api/status
"""
PAGE = """
    GET                         /api/status
"""
TABLE = {"OWNER": ADMIRAL, "OPERATOR": CAPTAIN, "task": AGENT, "open": OPEN, "page": PAGE}  # else VIEWER, who only reads


def rows(text: str) -> list[tuple[str, str]]:
    """Methods and paths, as they stand above."""
    lines = [re.split(r" {2,}", line.strip()) for line in text.strip().splitlines()]
    return [(method, path) for methods, *paths in lines for method in methods.split(", ") for path in paths]


NEEDS = {row: need for need, text in TABLE.items() for row in rows(text)}


def need(route: Declared) -> str:
    """What the table says that a route needs."""
    return NEEDS.get((route.method, route.path), "VIEWER")


def test_the_table_has_every_row_once_and_none_of_a_route_that_there_is_not():
    every = [row for text in TABLE.values() for row in rows(text)]
    assert [row for row, count in Counter(every).items() if count > 1] == []
    assert set(every) <= {(route.method, route.path) for route in routes()}


def test_a_route_needs_what_the_table_says():
    assert {f"{route.method} {route.path}": route.need for route in routes()} == {
        f"{route.method} {route.path}": need(route) for route in routes()
    }


def test_whoever_may_only_look_changes_nothing():
    assert {route.method for route in routes() if need(route) in {"VIEWER", "page"}} == {"GET"}


@pytest.fixture
def callers(sql):
    """What each shows who has one, and nothing."""
    sql("update tidemark.settings set value = '100000' where key like 'operator.calls_per_%'")
    return {
        "owner": OWNER,
        "operator": made("operator")[0],
        "viewer": made("viewer")[0],
        "task": settings.load().task_key,
        "nobody": None,
        "Admiral": "Admiral",  # the word alone, which the origin took for its owner's token
    }


def test_every_route_is_asked_by_every_role(callers, monkeypatch):
    monkeypatch.setattr(edge, "importlib", SimpleNamespace(import_module=lambda _: Anything()))  # who is let in finds nothing to do
    found = {}
    wanted = {}
    for route in routes():
        path = re.sub(r"\{\w+\}", "0" * 32, route.path)
        replies = {caller: ask(route.method, path, token, route.function).status for caller, token in callers.items()}
        found[route] = {caller: VERDICTS.get(status, "come in") for caller, status in replies.items()}
        told = expected(need(route))
        wanted[route] = {caller: told[caller] for caller in callers}
    assert found == wanted
    assert len(found) > 100


class Anything:
    """A module in which every function does nothing."""

    def __getattr__(self, name: str):
        return lambda *_, **__: {}
