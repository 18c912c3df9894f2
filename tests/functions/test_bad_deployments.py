"""Bad requests about plans and deployments, over HTTP; the numbers are those of the list of bad inputs that the project keeps."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from common import db, log
from common.flows import deployment_status, deployments, plans
from common.rules.http import Request
from tests.conftest import OWNER
from tests.functions.shells import Reply, keeps_the_promises_of_a_refusal, wsgi
from tests.releases import NEW, THIRD, live, opened

PLAN = {"name": "a plan", "stages": [{"id": "a", "kind": "noop", "config": {"shards": 10}}]}
DEPLOY = {"targets": ["web"], "commit": NEW, "strategy": "rolling"}
BEGUN = {"/api/hxo/create-and-submit": PLAN, "/api/hxo/deployments": DEPLOY}
BOTH = pytest.mark.parametrize("path", BEGUN)


@pytest.fixture
def world(sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as found:
        yield found


def ask(method: str, path: str, body: Any = None, *, key: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    given = (("authorization", f"Bearer {OWNER}"), *((("idempotency-key", key),) if key is not None else ()), *headers)
    return wsgi(Request(method, path, "", given, b"" if body is None else json.dumps(body).encode()), "plans")


def refused(reply: Reply, status: int) -> Reply:
    assert reply.status == status, reply.body
    assert keeps_the_promises_of_a_refusal(reply)
    return reply


@BOTH
def test_53_without_a_key_each_request_is_one_of_its_own(path, world):
    first = ask("POST", path, BEGUN[path])
    again = ask("POST", path, BEGUN[path])
    assert first.status == 202
    # A plan may run beside its like; a second deploy to the same target has to wait.
    assert again.status == (202 if path.endswith("submit") else 409)
    assert again.json != first.json


@BOTH
def test_54_a_key_that_stands_for_another_request_is_refused(path, world):
    assert ask("POST", path, BEGUN[path], key="k").status == 202
    refused(ask("POST", path, BEGUN[path] | ({"priority": 1} if "name" in BEGUN[path] else {"commit": THIRD}), key="k"), 422)


@BOTH
def test_55_the_same_key_while_the_first_request_runs_is_a_conflict_that_says_when_to_ask_again(path, world):
    key = {"/api/hxo/create-and-submit": "plan:k", "/api/hxo/deployments": "deployment:k"}[path]
    with db.transaction("worker") as tx:  # as the first request stands, which is not through yet
        plans.hold_key(tx, key)
        reply = refused(ask("POST", path, BEGUN[path], key="k"), 409)
        assert int(reply.headers["retry-after"]) > 0
        assert ask("POST", path, BEGUN[path], key="another").status == 202
    world.sql("update tidemark.deployment_targets set released_at = app_now()")
    assert ask("POST", path, BEGUN[path], key="k").status == 202


@BOTH
def test_55_of_many_at_once_with_one_key_one_begins_and_all_others_are_told_of_it_or_to_ask_again(path, world):
    with ThreadPoolExecutor(6) as threads:
        replies = list(threads.map(lambda _: ask("POST", path, BEGUN[path], key="k"), range(6)))
    assert {reply.status for reply in replies} <= {202, 409}
    assert len({reply.body for reply in replies if reply.status == 202}) == 1
    assert all("retry-after" in reply.headers for reply in replies if reply.status == 409)
    assert ask("POST", path, BEGUN[path], key="k").status == 202
    table = "plans" if path.endswith("submit") else "deployments"
    assert world.sql(f"select count(*) from tidemark.{table} where idempotency_key is not null") == [[1]]


@BOTH
def test_56_the_same_request_under_the_same_key_is_answered_as_the_first(path, world):
    first = ask("POST", path, BEGUN[path], key="k")
    assert (ask("POST", path, BEGUN[path], key="k").json, first.status) == (first.json, 202)


@BOTH
@pytest.mark.parametrize("key", ["k" * 10_000, "k" * 256, "a\x01b", "a b", "\xe4"])
def test_57_a_key_that_cannot_be_one_is_refused(path, key, world):
    refused(ask("POST", path, BEGUN[path], key=key), 400)


def test_61_a_deployment_that_was_superseded_is_not_rolled_back(world):
    first = live(world, **DEPLOY)
    live(world, **DEPLOY | {"commit": THIRD})
    reply = refused(ask("POST", "/api/hxo/rollback", {"deployment_id": first["deployment_id"]}), 409)
    assert "later deployment" in reply.json["detail"]


def test_62_a_deployment_that_was_cancelled_is_not_resumed(world):
    begun = ask("POST", "/api/hxo/deployments", DEPLOY | {"approvals": 1}).json
    assert ask("POST", f"/api/hxo/plan/{begun['plan_id']}/cancel").status == 200
    reply = refused(ask("POST", f"/api/hxo/plan/{begun['plan_id']}/resume"), 409)
    assert reply.json["allowed"] == []
    confirm = {"confirm": begun["definition_hash"]}
    refused(ask("POST", f"/api/hxo/deployments/{begun['deployment_id']}/approve", confirm), 409)


@pytest.mark.parametrize("confirm", [None, "", "0" * 64, 5, ["x"]])
def test_63_and_64_what_is_confirmed_must_be_what_stands_there(confirm, world):
    with log.bound(operator="ann"):
        begun = deployments.start(Request("POST", "/"), DEPLOY | {"approvals": 1})[1]
        other = deployments.start(Request("POST", "/"), DEPLOY | {"targets": ["api"], "approvals": 1})[1]
    path = f"/api/hxo/deployments/{begun['deployment_id']}/approve"
    refused(ask("POST", path, {"confirm": confirm}), 412)
    refused(ask("POST", path, {"confirm": other["definition_hash"]}), 412)  # it was looked at before somebody changed it
    assert deployment_status.show(begun["deployment_id"])["status"] == "waiting"
    assert ask("POST", path, {"confirm": begun["definition_hash"]}).json["status"] == "running"


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "no target": ({"targets": []}, "/targets"),
    "a target twice": ({"targets": ["web", "web"]}, "/targets/1"),
    "targets that are a text": ({"targets": "web"}, "/targets"),
    "a target that is a number": ({"targets": [5]}, "/targets/0"),
    "a commit and an artifact": ({"artifact": "x"}, ""),
    "a commit that is a list": ({"commit": []}, "/commit"),
    "an unknown strategy": ({"strategy": "canary"}, "/strategy/kind"),
    "a wave that leaves one out": ({"strategy": {"kind": "waves", "waves": [["api"]]}}, "/strategy/waves"),
    "a negative time": ({"strategy": {"kind": "rolling", "bake_seconds": -1}}, "/strategy/bake_seconds"),
    "a gate without a limit": ({"gates": {"metrics": [{"name": "cpu"}]}}, "/gates/metrics/0"),
    "a pattern that is none": ({"gates": {"logs": {"forbidden": ["("]}}}, "/gates/logs/forbidden/0"),
    "an unknown field": ({"force": True}, "/force"),
}


@pytest.mark.parametrize("case", ODD)
def test_a_deployment_that_cannot_be_is_refused_with_a_pointer(case, world):
    change, pointer = ODD[case]
    reply = refused(ask("POST", "/api/hxo/deployments", DEPLOY | change), 422)
    assert pointer in [fault["pointer"] for fault in reply.json["errors"]]
    assert world.sql("select count(*) from tidemark.deployments") == [[0]]


@pytest.mark.parametrize("given", [{}, {"deployment_id": 5}, {"deployment_id": "x"}, {"deployment_id": "' or 1=1--"}, {"x": 1}])
def test_a_rollback_of_nothing_is_refused(given, world):
    refused(ask("POST", "/api/hxo/rollback", given), 422)


@pytest.mark.parametrize(
    "origin", ["https://evil.app", "null", "https://tidemark.netlify.app.evil.com", "http://tidemark.netlify.app"]
)
def test_73_and_74_a_strange_page_begins_nothing(origin, world, configured):
    configured(CORS_ORIGINS="https://tidemark.netlify.app")
    reply = refused(ask("POST", "/api/hxo/deployments", DEPLOY, headers=(("origin", origin),)), 403)
    assert "access-control-allow-origin" not in reply.headers
    assert world.sql("select count(*) from tidemark.deployments") == [[0]]
    assert ask("POST", "/api/hxo/deployments", DEPLOY, headers=(("origin", "https://tidemark.netlify.app"),)).status == 202


def test_76_a_cookie_lets_nobody_in(world):
    for headers in ((("cookie", f"token={OWNER}"),), (("cookie", f"authorization=Bearer {OWNER}"), ("origin", "https://evil.app"))):
        reply = wsgi(Request("POST", "/api/hxo/deployments", "", headers, json.dumps(DEPLOY).encode()), "plans")
        assert reply.status in (401, 403)
        assert keeps_the_promises_of_a_refusal(reply)
