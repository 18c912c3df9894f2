"""/api/hxo/plan/{id}/shards and healing-history, /api/hxo/metrics*, stuck shards, incomplete plans, rehydrate: as they answer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from common import db
from common.flows import work
from common.rules.http import Request
from common.stores import lanes
from tests.conftest import OWNER
from tests.functions.shells import wsgi
from tests.functions.test_plans import ask, plan, pointers
from tests.kinds import a_stage, submit

DAY = {"timebox_ms": 86_400_000}
NOBODY = "00000000-0000-4000-8000-000000000000"


def take():
    with db.transaction("worker") as tx:
        return lanes.take(tx, holder="test", lease=timedelta(seconds=30))


def read(path, query=""):
    return wsgi(Request("GET", path, query=query, headers=(("authorization", f"Bearer {OWNER}"),)), "plans")


def get(path, query=""):
    reply = read(path, query)
    assert reply.status == 200, reply.body
    return reply.json


def test_the_shards_of_a_plan_are_drawn_by_state(trial, sql, turn_clock):
    identifier = submit(
        a_stage(shards=40, concurrency=1, refuse=[3], fail={"5": 9, "7": 1}), a_stage("next", needs=["one"], shards=6)
    )
    sql("update tidemark.stages set chunk = 10")
    work.Worker(0.0, (), "test").take_turn()
    sql("update tidemark.stages set chunk = 10")
    take()
    found = get(f"/api/hxo/plan/{identifier}/shards")
    first, second = found["stages"]
    assert first["runs"] == "3d1q1d1f1d1f2d10r20p"
    assert (first["done"], first["quarantined"], first["failed"], first["running"], first["pending"]) == (7, 1, 2, 10, 20)
    assert (second["runs"], second["pending"]) == ("6p", 6)
    assert found["states"]["q"] == "quarantined"


def test_what_was_healed_is_drawn_and_listed(trial, turn_clock):
    identifier = submit(a_stage(shards=4, fail={"2": 1}), constraints=DAY)
    work.work()
    turn_clock(timedelta(minutes=2))
    work.work()
    assert get(f"/api/hxo/plan/{identifier}/shards")["stages"][0]["runs"] == "2d1h1d"
    history = get(f"/api/hxo/plan/{identifier}/healing-history")
    assert history["counts"] == {"healed": 1, "retry": 1}
    assert [(each["action"], each["stage_id"], each["shard"], each["piece"], each["depth"]) for each in history["actions"]] == [
        ("retry", "one", 2, None, 0),
        ("healed", "one", 2, None, 1),
    ]
    page = get(f"/api/hxo/plan/{identifier}/healing-history", "limit=1")
    rest = get(f"/api/hxo/plan/{identifier}/healing-history", f"after={page['next_after']}")
    assert [each["action"] for each in page["actions"] + rest["actions"]] == ["retry", "healed"]
    assert rest["next_after"] is None


def test_a_plan_that_was_stopped_shows_what_nobody_did(trial, sql):
    identifier = submit(a_stage(shards=20, concurrency=1))
    sql("update tidemark.stages set chunk = 5")
    work.Worker(0.0, (), "test").take_turn()
    ask("POST", f"/api/hxo/abort/{identifier}")
    assert get(f"/api/hxo/plan/{identifier}/shards")["stages"][0]["runs"] == "5d15p"
    assert get(f"/api/hxo/status/{identifier}")["done_shards"] == 5


def test_a_plan_of_a_million_shards_is_drawn_in_few_characters(database_url):
    identifier = submit(a_stage(kind="noop", shards=1_000_000))
    reply = ask("GET", f"/api/hxo/plan/{identifier}/shards")
    assert reply.json["stages"][0]["runs"] == "1000000p"
    assert len(reply.body) < 1000


@pytest.mark.parametrize("path", ["healing-history", "shards"])
def test_a_plan_that_there_is_not_is_unknown(database_url, path):
    assert ask("GET", f"/api/hxo/plan/{NOBODY}/{path}").status == 404
    assert ask("GET", f"/api/hxo/plan/nonsense/{path}").status in (404, 422)


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=99999999999999999999999", "limit=0", "limit=x"])
def test_a_page_of_history_that_cannot_be_is_refused(trial, query):
    identifier = submit(a_stage(shards=1))
    assert read(f"/api/hxo/plan/{identifier}/healing-history", query).status == 422


def test_metrics_count_what_is_worked_on(trial, sql):
    submit(a_stage(shards=10, concurrency=2, refuse=[0]))
    sql("update tidemark.stages set took = '[0.1, 0.2, 0.4]'")
    take()
    found = get("/api/hxo/metrics")
    assert found["active_plans"] == 1
    assert found["shards"] == {"done": 0, "healed": 0, "pending": 9, "running": 1, "failed": 0, "quarantined": 0}
    assert found["build_shards"] == {"done": 0, "healed": 0, "pending": 0, "running": 0, "failed": 0, "quarantined": 0}
    assert (found["p95_shard_latency_ms"], found["lanes"]) == (400.0, {"held": 1, "free": 1})
    assert found["queue"]["waiting"] == 0
    (kind,) = get("/api/hxo/metrics/shard-distribution")["kinds"]
    assert (kind["kind"], kind["lanes"], kind["lanes_held"], kind["longest_lane"]) == ("trial", 2, 1, 5)
    assert (kind["p50_shard_latency_ms"], kind["p95_shard_latency_ms"]) == (200.0, 400.0)


def test_metrics_of_nothing_are_zero_or_null(database_url):
    found = get("/api/hxo/metrics")
    assert (found["active_plans"], found["avg_shard_latency_ms"], found["p95_shard_latency_ms"]) == (0, None, None)
    assert get("/api/hxo/metrics/shard-distribution") == {"kinds": []}
    assert get("/api/hxo/metrics/stuck-shards") == {"count": 0, "stuck": []}


def test_stuck_shards_are_those_of_dead_workers_and_those_that_nobody_takes(trial, turn_clock):
    dead, idle = submit(a_stage(shards=4, concurrency=1)), submit(a_stage("idle", shards=3, concurrency=1))
    lane = take()
    assert get("/api/hxo/metrics/stuck-shards")["count"] == 0
    turn_clock(timedelta(seconds=61))
    found = get("/api/hxo/metrics/stuck-shards")
    said = {each["plan_id"]: (each["reason"], each["shards"]) for each in found["stuck"]}
    other = idle if lane.plan == dead else dead
    assert said[lane.plan] == ("its worker died", [0, 1])
    assert said[other][0] == "nobody comes"


def test_stuck_shards_are_retried_at_once_when_an_operator_asks(trial, sql, turn_clock):
    identifier = submit(a_stage(shards=2, fail={"1": 1}), constraints=DAY)
    work.work()
    assert work.work().shards == 0  # its time has not come
    reply = ask("POST", "/api/hxo/retry-stuck-shards", {})
    assert (reply.status, reply.json["retried"]) == (202, 1)
    work.work()
    assert get(f"/api/hxo/status/{identifier}")["status"] == "succeeded"
    reasons = [each["reason"] for each in get(f"/api/hxo/plan/{identifier}/healing-history")["actions"]]
    assert any("asked for it" in reason for reason in reasons)
    assert ask("POST", "/api/hxo/retry-stuck-shards", {"plan_id": NOBODY}).json["retried"] == 0
    assert pointers(ask("POST", "/api/hxo/retry-stuck-shards", {"plan_id": 7})) == ["/plan_id"]


def test_incomplete_plans_are_listed_and_rehydrated(trial, turn_clock):
    identifier = submit(a_stage(shards=4, concurrency=1))
    take()
    turn_clock(timedelta(seconds=31))
    found = get("/api/hxo/incomplete-plans")
    assert (found["count"], found["plans"][0]["plan_id"], found["plans"][0]["lanes_lapsed"]) == (1, identifier, 1)
    assert ask("POST", f"/api/hxo/rehydrate/{identifier}").status == 202
    assert ask("POST", "/api/hxo/rehydrate-all").json["count"] == 1
    work.work()
    assert ask("POST", f"/api/hxo/rehydrate/{identifier}").status == 409
    assert ask("POST", f"/api/hxo/rehydrate/{NOBODY}").status == 404


@pytest.mark.parametrize("value", [0, -1, "5", 1.5, True, 7 * 86_400_000 + 1])
def test_a_time_limit_of_a_stage_that_cannot_be_is_refused_with_its_pointer(database_url, value):
    reply = ask("POST", "/api/hxo/create-and-submit", plan({"id": "a", "kind": "noop", "timebox_ms": value}))
    assert pointers(reply) == ["/stages/0/timebox_ms"]


def test_a_stage_shows_its_time_limit(database_url):
    identifier = submit({"id": "a", "kind": "noop", "timebox_ms": 60_000})
    (stage,) = get(f"/api/hxo/status/{identifier}")["stages"]
    assert stage["deadline_at"] > stage["opened_at"]
