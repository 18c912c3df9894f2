"""/api/hxo/*: what may be asked of plans, by whom, and what bad requests are told (B12 rows 53 to 62)."""

from __future__ import annotations

import json
import uuid

import pytest

from common.flows import work
from common.rules.http import Request
from tests.conftest import OWNER
from tests.functions.shells import PROBLEM, wsgi

NOOP = {"id": "a", "kind": "noop", "config": {"shards": 10}}


def ask(method, path, body=None, *, key=None, token=OWNER):
    headers = [("authorization", f"Bearer {token}")] if token else []
    headers += [("idempotency-key", key)] if key else []
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return wsgi(Request(method, path, headers=tuple(headers), body=content), "plans")


def plan(*stages, **rest):
    return {"name": "a plan", "stages": list(stages) or [NOOP], **rest}


def submitted(body=None):
    reply = ask("POST", "/api/hxo/create-and-submit", body or plan())
    assert reply.status == 202, reply.body
    return reply.json["plan_id"]


def pointers(reply):
    assert reply.status == 422, reply.body
    assert reply.json.keys() >= PROBLEM
    return [fault["pointer"] for fault in reply.json["errors"]]


def test_the_answer_to_a_submission_has_what_the_seed_names(database_url):
    reply = ask("POST", "/api/hxo/create-and-submit", plan(NOOP, NOOP | {"id": "b"}))
    assert reply.status == 202
    assert {**reply.json, "plan_id": "", "merkle_seed": ""} == {
        "plan_id": "", "name": "a plan", "status": "submitted", "merkle_seed": "", "total_shards": 20,
    }  # fmt: skip
    assert uuid.UUID(reply.json["plan_id"])
    assert len(bytes.fromhex(reply.json["merkle_seed"])) == 32


def test_a_plan_is_watched_to_its_end(database_url):
    identifier = submitted()
    assert ask("GET", f"/api/hxo/status/{identifier}").json["pending_shards"] == 10
    assert ask("GET", "/api/hxo/status").json["active_plans"] == 1
    assert ask("GET", f"/api/hxo/report/{identifier}").json["report_type"] == "interim"
    work.work()
    found = ask("GET", f"/api/hxo/status/{identifier}").json
    assert (found["status"], found["done_shards"], found["eta_seconds"]) == ("succeeded", 10, None)
    assert found["merkle_root"]
    assert ask("GET", f"/api/hxo/report/{identifier}").json["report_type"] == "final"
    assert ask("GET", "/api/hxo/status").json["active_plans"] == 0


def test_a_plan_is_only_looked_at_by_plan(database_url):
    reply = ask("POST", "/api/hxo/plan", plan())
    assert (reply.status, reply.json["status"], reply.json["total_shards"]) == (200, "valid", 10)
    assert ask("GET", "/api/hxo/status").json["plans"] == []


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (plan(NOOP | {"config": {"shards": 0}}), ["/stages/0/config/shards"]),  # row 58
        (plan(NOOP | {"config": {"shards": 1_000_001}}), ["/stages/0"]),
        (plan(NOOP | {"config": {"shards": 600_000}}, {"id": "b", "kind": "noop", "config": {"shards": 600_000}}), ["/stages/1"]),
        (plan(NOOP, constraints={"max_shards": 9}), ["/stages/0"]),
        (plan(NOOP | {"ranges": [[0, 6], [5, 10]]}), ["/stages/0/ranges/1"]),  # row 59
        (plan(NOOP | {"ranges": [[0, 4], [5, 10]]}), ["/stages/0/ranges/1"]),
        (plan(NOOP | {"ranges": [[0, 4], [9, 4]]}), ["/stages/0/ranges/1"]),
        (plan(NOOP | {"ranges": [[0, 9]]}), ["/stages/0/ranges"]),
        (plan(NOOP | {"ranges": "all"}), ["/stages/0/ranges"]),
        (plan(NOOP | {"waves": [50, 51]}), ["/stages/0/waves"]),  # row 60
        (plan(NOOP | {"waves": [-10, 110]}), ["/stages/0/waves/0"]),
        (plan(NOOP | {"waves": []}), ["/stages/0/waves"]),
        (plan(NOOP | {"kind": "nope"}), ["/stages/0/kind"]),
        (plan(NOOP | {"kind": "../../etc/passwd"}), ["/stages/0/kind"]),
        (plan(NOOP | {"kind": "sync.refetch"}), ["/stages/0/kind"]),
        (plan(NOOP | {"dependencies": ["b"]}), ["/stages/0/dependencies/0"]),
        (plan(NOOP, NOOP), ["/stages/1/id"]),
        (plan(NOOP | {"dependencies": ["a"]}), ["/stages/0/dependencies"]),
        (plan(NOOP | {"dependencies": ["b"]}, {"id": "b", "kind": "noop", "dependencies": ["a"]}), ["/stages/0/dependencies"]),
        (plan(NOOP | {"config": [], "slo_ms": "5", "color": 1}), ["/stages/0/color", "/stages/0/slo_ms"]),
        (plan(NOOP | {"config": [1]}), ["/stages/0/config"]),
        (plan(NOOP, name="", priority=11, constraints={"timebox_ms": 0, "x": 1}), ["/constraints/x", "/name", "/priority", "/constraints/timebox_ms"]),
        ({"name": "x", "stages": []}, ["/stages"]),
        ({"name": "x", "stages": [5]}, ["/stages/0"]),
        ({}, ["/name", "/stages"]),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused_with_a_pointer_to_each_fault(database_url, body, wanted):
    assert sorted(pointers(ask("POST", "/api/hxo/create-and-submit", body))) == sorted(wanted)


def test_a_percentage_that_is_no_number_is_refused(database_url):
    body = json.dumps(plan(NOOP | {"waves": ["@"]})).replace('"@"', "NaN").encode()
    assert ask("POST", "/api/hxo/create-and-submit", body).status == 400


def test_a_plan_of_a_million_shards_is_taken(database_url):
    reply = ask("POST", "/api/hxo/create-and-submit", plan(NOOP | {"config": {"shards": 1_000_000}}))
    assert (reply.status, reply.json["total_shards"]) == (202, 1_000_000)


@pytest.mark.parametrize("key", ["x" * 10_000, "a\x01b", "ä"])
def test_a_key_that_cannot_be_one_is_refused(database_url, key):  # row 57
    reply = ask("POST", "/api/hxo/create-and-submit", plan(), key=key)
    assert reply.status in (400, 431)


def test_a_repeated_key_is_answered_with_the_first_plan(database_url):  # rows 54 and 56
    first = ask("POST", "/api/hxo/create-and-submit", plan(), key="k")
    assert ask("POST", "/api/hxo/create-and-submit", plan(), key="k").json == first.json
    assert ask("POST", "/api/hxo/create-and-submit", plan(priority=1), key="k").status == 422


def test_a_rollback_of_a_superseded_plan_is_a_conflict(database_url):  # row 61
    first = submitted()
    work.work()
    submitted()
    work.work()
    reply = ask("POST", f"/api/hxo/plan/{first}/rollback")
    assert (reply.status, "later plan" in reply.json["detail"]) == (409, True)


def test_a_stopped_plan_is_not_resumed_and_the_answer_says_what_may_be_done(database_url):  # row 62
    identifier = submitted()
    assert ask("POST", f"/api/hxo/plan/{identifier}/cancel").json == {"plan_id": identifier, "status": "cancelled"}
    reply = ask("POST", f"/api/hxo/plan/{identifier}/resume")
    assert (reply.status, reply.json["allowed"]) == (409, [])
    running = submitted()
    assert ask("POST", f"/api/hxo/plan/{running}/resume").json["allowed"] == ["abort", "cancel", "pause"]


@pytest.mark.parametrize("verb", ["pause", "cancel", "resume", "retry", "rollback"])
def test_a_plan_that_is_not_there_is_not_found(database_url, verb):
    assert ask("POST", f"/api/hxo/plan/{uuid.uuid4()}/{verb}").status == 404
    assert ask("POST", f"/api/hxo/plan/1' or 1=1--/{verb}").status == 422


def test_a_replay_is_a_new_plan_of_the_same_definition(database_url):
    first = submitted()
    work.work()
    again = ask("POST", f"/api/hxo/replay/{first}").json
    assert (again["plan_id"] != first, again["total_shards"]) == (True, 10)


def test_plans_are_refused_while_they_are_disabled(database_url, configured):
    configured(HXO_ENABLED="false")
    reply = ask("POST", "/api/hxo/create-and-submit", plan())
    assert (reply.status, reply.json["reason"], "retry-after" in reply.headers) == (503, "disabled", True)
    assert ask("GET", "/api/hxo/status").json["enabled"] is False


def test_the_limits_of_the_environment_hold(database_url, configured):
    configured(HXO_MAX_SHARDS="9", HXO_MAX_CONCURRENCY="2")
    assert pointers(ask("POST", "/api/hxo/create-and-submit", plan())) == ["/stages/0"]
    assert pointers(ask("POST", "/api/hxo/create-and-submit", plan(NOOP | {"concurrency": 3}))) == ["/stages/0/concurrency"]


def test_no_forecast_is_made_when_none_is_wanted(database_url, sql, configured):
    identifier = submitted()
    sql("update tidemark.lanes set done = hi, busy = hi where no > 0")
    sql("update tidemark.stages set opened_at = opened_at - interval '1 minute'")
    assert ask("GET", f"/api/hxo/status/{identifier}").json["eta_seconds"] > 0
    configured(HXO_PREDICTIVE_MODE="false")
    assert ask("GET", f"/api/hxo/status/{identifier}").json["eta_seconds"] is None


def test_a_stage_that_takes_longer_than_it_should_says_so(database_url, sql):
    identifier = submitted(plan(NOOP | {"slo_ms": 60_000}))
    sql("update tidemark.stages set opened_at = opened_at - interval '59 seconds'")
    assert ask("GET", f"/api/hxo/status/{identifier}").json["stages"][0]["is_over_slo"] is False
    sql("update tidemark.stages set opened_at = opened_at - interval '2 seconds'")
    assert ask("GET", f"/api/hxo/status/{identifier}").json["stages"][0]["is_over_slo"] is True
