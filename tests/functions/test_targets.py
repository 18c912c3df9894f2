"""Targets over HTTP: what is kept, what is refused, and those that the environment names."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from common import db
from common.outgoing import egress
from common.rules.http import Request
from common.stores import targets
from deploy.local import gateway
from tests.conftest import OWNER
from tests.functions.shells import Reply, keeps_the_promises_of_a_refusal, wsgi

pytestmark = pytest.mark.usefixtures("database_url")
PATH = "/api/hxo/targets"
WEB = {"provider": "render", "config": {"service_id": "srv-1", "health_path": "/up"}}


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """Names of the open net: example.com is there, and whatever begins with `inside` leads inside."""

    def resolve(host: str, _port: int) -> list[str]:
        if host[0].isdigit():
            return [host]
        return ["10.0.0.1"] if host.startswith("inside") else ["93.184.216.34"]

    monkeypatch.setattr(egress.check, "__defaults__", (resolve,))


def ask(method: str, path: str, body: Any = None, token: str = OWNER) -> Reply:
    sent = b"" if body is None else json.dumps(body).encode()
    return wsgi(Request(method, path, "", (("authorization", f"Bearer {token}"),), sent), gateway.target_of(method, path))


def refused(reply: Reply, status: int) -> None:
    assert keeps_the_promises_of_a_refusal(reply)
    assert reply.status == status


def pointers(reply: Reply) -> list[str]:
    refused(reply, 422)
    return [error["pointer"] for error in reply.json["errors"]]


def test_a_target_is_made_looked_at_and_changed():
    made = ask("PUT", f"{PATH}/web", WEB)
    assert (made.status, made.json["version"], made.json["config"]) == (201, 1, WEB["config"])
    changed = ask("PUT", f"{PATH}/web", {**WEB, "config": {"service_id": "srv-2"}, "version": 1})
    assert (changed.status, changed.json["version"], changed.json["config"]) == (200, 2, {"service_id": "srv-2"})
    assert ask("GET", f"{PATH}/web").json == changed.json
    assert ask("GET", PATH).json == {"targets": [changed.json], "count": 1}
    assert {"restore", "freeze", "jobs"} <= set(changed.json["can"])


def test_who_changed_a_target_is_told_on_the_bus(sql):
    ask("PUT", f"{PATH}/web", WEB)
    ask("PUT", f"{PATH}/web", {**WEB, "version": 7})
    told = sql(
        "select payload ->> 'action', payload ->> 'target', payload ->> 'actor' from tidemark.notices where topic = 'hxo.audit'"
    )
    assert told == [["target.put", "web", "admiral"]]


def test_two_who_use_a_target_of_the_environment_at_once_make_one_row(configured, sql):
    configured(**NAMED)
    meeting = threading.Barrier(2)

    def use(_: int) -> int:
        with db.transaction("worker") as tx:
            assert targets.get(tx, "render") is None
            meeting.wait(10)
            return targets.ensure(tx, "render").version

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(use, range(2))) == [1, 1]
    assert sql("select count(*) from tidemark.targets") == [[1]]


def test_a_target_that_somebody_else_changed_is_not_overwritten():
    ask("PUT", f"{PATH}/web", WEB)
    ask("PUT", f"{PATH}/web", WEB)
    refused(ask("PUT", f"{PATH}/web", {**WEB, "version": 1}), 409)
    refused(ask("PUT", f"{PATH}/web", {**WEB, "version": 0}), 409)
    refused(ask("PUT", f"{PATH}/other", {**WEB, "version": 3}), 409)


def test_a_target_that_there_is_not_is_unknown():
    refused(ask("GET", f"{PATH}/web"), 404)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, ["/provider", "/config"]),
        ({"provider": "heroku", "config": {}}, ["/provider"]),
        ({"provider": ["render"], "config": {}}, ["/provider"]),
        ({**WEB, "version": "1"}, ["/version"]),
        ({**WEB, "extra": 1}, ["/extra"]),
        ({"provider": "render", "config": []}, ["/config"]),
        ({"provider": "render", "config": {"service_id": "srv-1", "api_key": "rnd_abc"}}, ["/config/api_key"]),
        ({"provider": "render", "config": {"service_id": "srv-1", "url": "http://web.example.com"}}, ["/config/url"]),
        ({"provider": "render", "config": {"service_id": "srv-1", "url": "https://inside.example.com"}}, ["/config/url"]),
        ({"provider": "render", "config": {"service_id": "srv-1", "url": "https://169.254.169.254"}}, ["/config/url"]),
        (
            {"provider": "render", "config": {"service_id": "srv-1", "public_url": "https://inside.example.com"}},
            ["/config/public_url"],
        ),
        (
            {"provider": "render", "config": {"service_id": "srv-1", "drain_url": "https://u:p@web.example.com"}},
            ["/config/drain_url"],
        ),
        (
            {"provider": "render", "config": {"service_id": "srv-1", "green": {"service_id": "srv-2", "url": "https://127.0.0.1"}}},
            ["/config/green/url"],
        ),
        ({"provider": "render", "config": {"deploy_hook": "RENDER_DEPLOY_HOOK"}}, ["/config/deploy_hook"]),
        ({"provider": "render", "config": {"deploy_hook": "ADMIRAL_TOKEN"}}, ["/config/deploy_hook"]),
    ],
)
def test_a_target_that_cannot_be_kept_is_told_with_the_place_of_each_fault(body, wrong):
    assert pointers(ask("PUT", f"{PATH}/web", body)) == wrong
    assert ask("GET", PATH).json["count"] == 0


def test_a_name_that_is_no_slug_is_refused():
    assert pointers(ask("PUT", f"{PATH}/Web_1", WEB)) == [""]


def test_a_hook_is_named_and_its_address_never_shown(configured):
    configured(RENDER_DEPLOY_HOOK="https://api.example.com/deploy/srv-1?key=do-not-show-this")
    made = ask("PUT", f"{PATH}/web", {"provider": "render", "config": {"deploy_hook": "RENDER_DEPLOY_HOOK"}})
    assert made.status == 201
    assert b"do-not-show-this" not in made.body + ask("GET", PATH).body
    configured(RENDER_DEPLOY_HOOK="https://inside.example.com/deploy/srv-1?key=do-not-show-this")
    answer = ask("PUT", f"{PATH}/web", {"provider": "render", "config": {"deploy_hook": "RENDER_DEPLOY_HOOK"}})
    assert pointers(answer) == ["/config/deploy_hook"]
    assert b"do-not-show-this" not in answer.body


# Those of the environment ----------------------------------------------------------------------------------------

NAMED = {
    "RENDER_SERVICE_ID": "srv-1",
    "RENDER_DEPLOY_HOOK": "https://api.example.com/deploy/srv-1?key=do-not-show-this",
    "RENDER_DEPLOY_HOOK_GREEN": "https://api.example.com/deploy/srv-2?key=do-not-show-this",
    "NETLIFY_SITE_ID": "site-1",
    "GITHUB_REPOSITORY": "team/api",
}


def test_targets_that_the_environment_names_are_there_without_a_row(configured, sql):
    configured(**NAMED)
    found = ask("GET", PATH)
    assert {each["name"]: each["config"] for each in found.json["targets"]} == {
        "github": {"repository": "team/api"},
        "netlify": {"site_id": "site-1"},
        "render": {"service_id": "srv-1"},
        "render-green": {"deploy_hook": "RENDER_DEPLOY_HOOK_GREEN"},
    }
    assert all(each["is_from_environment"] and each["version"] == 0 for each in found.json["targets"])
    assert b"do-not-show-this" not in found.body
    assert sql("select count(*) from tidemark.targets") == [[0]]


def test_a_hook_alone_makes_a_target_too(configured):
    configured(RENDER_DEPLOY_HOOK=NAMED["RENDER_DEPLOY_HOOK"])
    assert ask("GET", f"{PATH}/render").json["config"] == {"deploy_hook": "RENDER_DEPLOY_HOOK"}


def test_a_target_of_the_environment_gets_a_row_when_it_is_used_which_follows_the_environment(configured, sql):
    configured(**NAMED)
    with db.transaction("worker") as tx:
        made = targets.ensure(tx, "render")
        assert targets.ensure(tx, "render") == made
        assert targets.ensure(tx, "nothing") is None
    assert (made.version, made.config) == (1, {"service_id": "srv-1"})
    configured(**NAMED | {"RENDER_SERVICE_ID": "srv-9"})
    assert ask("GET", f"{PATH}/render").json["config"] == {"service_id": "srv-9"}
    with db.transaction("worker") as tx:
        assert targets.ensure(tx, "render").config == {"service_id": "srv-9"}
    assert sql("select name, version from tidemark.targets") == [["render", 2]]


def test_what_somebody_wrote_counts_more_than_the_environment(configured):
    configured(**NAMED)
    ask("PUT", f"{PATH}/render", WEB)
    with db.transaction("worker") as tx:
        assert targets.ensure(tx, "render").config == WEB["config"]
    shown = ask("GET", f"{PATH}/render").json
    assert (shown["config"], shown["is_from_environment"]) == (WEB["config"], False)


def test_that_a_target_is_frozen_is_kept_with_the_reason(configured):
    ask("PUT", f"{PATH}/web", WEB)
    with db.transaction("worker") as tx:
        targets.set_frozen(tx, "web", is_frozen=True, reason="rolled back")
    frozen = ask("GET", f"{PATH}/web").json
    assert (frozen["is_frozen"], frozen["frozen_reason"]) == (True, "rolled back")
    assert frozen["frozen_at"] is not None
    with db.transaction("worker") as tx:
        targets.set_frozen(tx, "web", is_frozen=False)
    thawed = ask("GET", f"{PATH}/web").json
    assert (thawed["is_frozen"], thawed["frozen_reason"], thawed["frozen_at"]) == (False, None, None)
