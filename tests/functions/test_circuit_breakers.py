"""Circuit breakers over HTTP: who sees them, and who lets calls through again."""

from __future__ import annotations

import json

import pytest

from common.errors import Unavailable
from common.outgoing import breakers
from common.rules.http import Request
from deploy.local import gateway
from tests.conftest import OWNER
from tests.functions.shells import Reply, keeps_the_promises_of_a_refusal, wsgi

PATH = "/api/bff/tds/circuit-breakers"


def ask(method: str, path: str) -> Reply:
    return wsgi(Request(method, path, "", (("authorization", f"Bearer {OWNER}"),), b""), gateway.target_of(method, path))


@pytest.fixture(autouse=True)
def _as_if_started_anew(database_url):
    breakers._known.clear()
    breakers._untold.clear()


def open_it() -> None:
    for _ in range(5):
        with pytest.raises(Unavailable), breakers.guarded("zoho"):
            raise Unavailable


def test_every_dependency_is_listed_before_it_was_ever_called():
    reply = ask("GET", PATH)
    assert (reply.status, reply.json["count"]) == (200, 4)
    assert [each["name"] for each in reply.json["circuit_breakers"]] == ["alert_webhook", "smtp", "zoho", "zoho_accounts"]
    assert {each["state"] for each in reply.json["circuit_breakers"]} == {"closed"}
    nothing = {"total": 0, "successful": 0, "failed": 0, "rejected": 0, "state_changes": 0}
    assert reply.json["circuit_breakers"][0]["statistics"] == nothing


def test_what_is_open_says_since_when_and_why_and_can_be_reset(capsys):
    open_it()
    shown = ask("GET", PATH).json["circuit_breakers"][2]
    assert (shown["state"], shown["last_failure"], shown["statistics"]["failed"]) == ("open", Unavailable().detail, 5)
    assert shown["opened_at"] < shown["next_probe_at"]
    reply = ask("POST", f"{PATH}/zoho/reset")
    assert (reply.status, reply.json["success"], reply.json["state"]) == (200, True, "closed")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (line,) = [line for line in lines if line["message"] == "breaker.reset"]
    assert (line["breaker"], line["operator"]) == ("zoho", "admiral")
    shown = ask("GET", PATH).json["circuit_breakers"][2]
    assert (shown["state"], shown["reset_by"], shown["opened_at"]) == ("closed", "admiral", None)


def test_what_there_is_not_cannot_be_reset():
    reply = ask("POST", f"{PATH}/unicorns/reset")
    assert reply.status == 404
    assert keeps_the_promises_of_a_refusal(reply)
