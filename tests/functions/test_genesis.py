"""The bus and the links over HTTP: what their routes answer, and to whom."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from common.rules import topics
from common.rules.http import Request
from common.rules.links import LINKS
from tests.conftest import OWNER
from tests.flows.test_bus import tell
from tests.functions.shells import Reply, wsgi
from tests.house.tree import routes

HOOK = {"topics": ["hxo.*"], "url": "https://8.8.8.8/hooks/genesis?key=abc"}  # an address, so that no name is looked up


def ask(method: str, address: str, given: dict[str, Any] | None = None) -> Reply:
    """What the owner is answered."""
    path, _, query = address.partition("?")
    owner = next(route.function for route in routes() if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route.path), path))
    headers = (("authorization", f"Bearer {OWNER}"),)
    return wsgi(Request(method, path, query, headers, json.dumps(given).encode() if given else b""), owner)


def test_events_are_read_on_by_their_cursor(sql):
    tell("hxo.plan", count=3)
    first = ask("GET", "/api/genesis/events?limit=2")
    assert (first.status, first.json["count"], first.json["gap"]) == (200, 2, False)
    second = ask("GET", f"/api/genesis/events?after={first.json['next']}&topic=hxo.*")
    assert [event["payload"]["number"] for event in second.json["events"]] == [2]
    assert ask("GET", "/api/logs/genesis?limit=1").json["events"] == second.json["events"]


def test_subscribing_to_a_topic_answers_what_is_there(sql):
    tell("tds.alert")
    found = ask("GET", "/api/genesis/subscribe/tds.alert")
    assert [event["topic"] for event in found.json["events"]] == ["tds.alert"]
    assert ask("GET", f"/api/genesis/subscribe/tds.*?wait=0&after={found.json['next']}").json["count"] == 0


@pytest.mark.parametrize(
    "path", ["/api/genesis/subscribe/hxo.nothing", "/api/genesis/events?topic=hxo.nothing", "/api/logs/genesis?topic=x"]
)
def test_an_unknown_topic_is_not_found_and_the_topics_are_listed(path, sql):
    found = ask("GET", path)
    assert (found.status, found.json["topics"]) == (404, sorted(topics.TOPICS))


@pytest.mark.parametrize("query", ["after=x", "limit=0", "limit=201", "after=99999999.1"])
def test_a_wrong_argument_is_422(query, sql):
    assert ask("GET", f"/api/genesis/events?{query}").status == 422


def test_a_subscription_is_made_listed_and_deleted(sql):
    made = ask("POST", "/api/genesis/subscriptions", HOOK)
    assert (made.status, made.json["url"]) == (201, "https://8.8.8.8/...")
    listed = ask("GET", "/api/genesis/subscriptions")
    assert [each["id"] for each in listed.json["subscriptions"]] == [made.json["id"]]
    assert "secret" not in listed.json["subscriptions"][0]
    path = f"/api/genesis/subscriptions/{made.json['id']}"
    assert ask("GET", path).json["topics"] == ["hxo.*"]
    assert [ask("DELETE", path).status, ask("DELETE", path).status, ask("GET", path).status] == [200, 404, 404]


def test_an_unknown_topic_cannot_be_subscribed(sql):
    found = ask("POST", "/api/genesis/subscriptions", HOOK | {"topics": ["hxo.*", "x"]})
    assert (found.status, [fault["pointer"] for fault in found.json["errors"]]) == (422, ["/topics/1"])


def test_metrics_tell_of_topics_and_subscriptions(sql):
    ask("POST", "/api/genesis/subscriptions", HOOK)
    tell("hxo.plan", count=2)
    tell("tds.alert")
    found = ask("GET", "/api/genesis/metrics").json
    assert (found["kept"], found["limit"], found["held_back"], found["refused"], found["trimmed"]) == (3, 10_000, 0, 0, 0)
    assert {each["topic"]: each["notices"] for each in found["topics"]} == {"hxo.plan": 2, "tds.alert": 1}
    assert [(each["lag"], each["lost"], each["told"]) for each in found["subscriptions"]] == [(2, 0, 0)]


def test_links_are_shown_all_or_one(sql):
    found = ask("GET", "/api/hxo/links/health")
    assert (found.status, found.json["links"].keys()) == (200, LINKS.keys())
    assert ask("GET", "/api/hxo/links/health/truth").json["status"] == "healthy"
    assert ask("GET", "/api/hxo/links/health/warp").status == 404
    assert ask("GET", "/api/hxo/status").json["engine_health"]["arie"] == "unknown"
