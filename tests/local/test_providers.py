"""The providers' stand-in as what it is: a server that people and tests in other processes steer over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import pytest

from deploy.local.providers import StandIn
from deploy.local.providers.faults import NAMES
from deploy.local.providers.world import FIRST

A = "a" * 40


@pytest.fixture
def providers():
    with StandIn() as standing:
        yield standing


def ask(method: str, url: str, document: Any = None, key: str = "") -> tuple[int, Any]:
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {key}"}, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()
        return error.code, json.loads(text) if text.startswith(b"{") else text


def test_every_place_runs_what_its_provider_says_is_live(providers):
    _, about = ask("GET", f"{providers.url}/_/")
    assert about["faults"] == NAMES
    assert about["places"].keys() == {"web", "green", "page", "api"}
    for place in about["places"].values():
        assert ask("GET", f"{place['url']}/version")[1]["version"] == place["live"] == place["running"] == FIRST
        assert ask("GET", f"{place['url']}/health/live") == (200, {"status": "ok"})


def test_a_commit_behaves_as_it_was_told_to(providers):
    assert ask("POST", f"{providers.url}/_/behave", {"commit": FIRST, "place": "web", "health": 503})[0] == 200
    assert ask("GET", f"{providers.site('web')}/health/live")[0] == 503
    assert ask("GET", f"{providers.site('page')}/health/live")[0] == 200
    assert ask("POST", f"{providers.url}/_/behave", {"commit": FIRST, "manner": 1})[0] == 400


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_hook_of_a_service_begins_a_deploy_only_for_who_knows_its_key(providers, method):
    assert ask(method, providers.hook("web") + "&ref=" + A)[0] == 200
    assert ask(method, providers.hook("web") + "x")[0] == 401
    assert providers.triggers("web") == 1
    assert [call["status"] for call in ask("GET", f"{providers.url}/_/journal")[1]] == [200, 401]


def test_the_hook_of_a_site_begins_a_build_with_its_title(providers):
    assert ask("POST", providers.hook("page") + "?trigger_title=key-1")[0] == 200
    assert providers.places["page"].deploys[-1].key == "key-1"


def test_nobody_is_answered_without_the_key(providers):
    for path in ("/v1/services/x", "/api/v1/sites/x", "/repos/team/api/deployments"):
        assert ask("GET", providers.url + path, key="wrong")[0] == 401


def test_faults_are_set_looked_at_and_forgotten_over_http(providers):
    url = f"{providers.url}/_/faults"
    assert ask("POST", url, {"name": "throttled", "calls": 2, "after": 1})[0] == 200
    assert ask("POST", url, {"name": "meteor"})[0] == 400
    assert [fault["name"] for fault in ask("GET", url)[1]] == ["throttled"]
    place, key = providers.places["web"], providers.environment()["RENDER_API_KEY"]
    asked = [ask("GET", f"{providers.url}/v1/services/{place.id}", key=key)[0] for _ in range(4)]
    assert asked == [200, 429, 429, 200]
    ask("POST", url, {"name": "error", "calls": None})
    ask("DELETE", url)
    assert ask("GET", url)[1] == []
    ask("DELETE", f"{providers.url}/_/journal")
    assert providers.journal == []


def test_a_push_deploys_where_that_happens_by_itself(providers):
    ask("POST", f"{providers.url}/_/place", {"name": "web", "is_automatic": True})
    ask("POST", f"{providers.url}/_/push", {"commit": A})
    assert [deploy.trigger for deploy in providers.places["web"].deploys] == ["manual", "new_commit"]
    assert len(providers.places["green"].deploys) == 1
    assert providers.places["green"].head == A
    assert providers.triggers("web") == 0


def test_time_moves_deploys_on_when_states_take_time():
    with StandIn(step=10) as providers:
        ask("POST", providers.hook("web") + "&ref=" + A)
        assert providers.places["web"].running == FIRST
        ask("POST", f"{providers.url}/_/turn", {"seconds": 100})
        assert providers.places["web"].running == A
        assert [deploy.word for deploy in providers.places["web"].deploys] == ["deactivated", "live"]


@pytest.mark.process
def test_it_runs_as_a_process_of_its_own_and_ends_when_it_is_told_to():
    command = [sys.executable, "-m", "deploy.local.providers", "--port", "0", "--step", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as process:
        url = process.stdout.readline().split("listens at ")[1].split(";")[0]
        assert ask("GET", f"{url}/sites/api/version")[1]["version"] == FIRST
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_port_that_is_taken_is_said_so(providers, capsys, monkeypatch):
    from deploy.local.providers import __main__

    monkeypatch.setattr(sys, "argv", ["providers", "--port", providers.url.rpartition(":")[2]])
    assert __main__.main() == 1
    assert "cannot serve" in capsys.readouterr().err
