"""Alerts over HTTP: listed, acknowledged, resolved; and what cannot be asked of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from common.rules.http import Request
from deploy.local import gateway
from tests.conftest import OWNER
from tests.functions.shells import Reply, keeps_the_promises_of_a_refusal, wsgi

Sql = Callable[..., list[list[Any]]]
NOBODY = "00000000-0000-0000-0000-000000000001"

pytestmark = pytest.mark.usefixtures("database_url")


def ask(method: str, path: str, body: Any = None) -> Reply:
    path, _, query = path.partition("?")
    sent = b"" if body is None else json.dumps(body).encode()
    request = Request(method, path, query, (("authorization", f"Bearer {OWNER}"),), sent)
    return wsgi(request, gateway.target_of(method, path))


@pytest.fixture
def alert(sql: Sql) -> str:
    rows = sql("""insert into tds_alerts (alert_type, severity, title, message, threshold_value, actual_value, alert_metadata, affected_count)
                  values ('dead_letters', 'warning', 'Sixty', 'Look', '50', '60', '{"unresolved": 60}', 60) returning id::text""")
    return str(rows[0][0])


def test_an_alert_is_shown_with_its_numbers(alert):
    shown = ask("GET", "/api/alerts").json
    assert (shown["count"], shown["next"]) == (1, None)
    assert shown["alerts"][0] | {"triggered_at": None} == {
        "id": alert, "alert_type": "dead_letters", "severity": "warning", "title": "Sixty", "message": "Look", "entity_type": None,
        "affected_count": 60, "threshold_value": 50, "actual_value": 60, "triggered_at": None, "acknowledged": False,
        "acknowledged_at": None, "acknowledged_by": None, "acknowledgement_note": None, "resolved": False, "resolved_at": None,
        "resolved_by": None, "resolution_notes": None, "metadata": {"unresolved": 60},
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/api/alerts", "/dashboard/alerts"])
def test_acknowledging_twice_is_acknowledging_once(path, alert):
    first = ask("POST", f"{path}/{alert}/acknowledge", {"note": "seen"})
    second = ask("POST", f"{path}/{alert}/acknowledge")
    assert (first.status, second.status) == (200, 200)
    assert second.json == first.json
    assert (first.json["alert"]["acknowledged_by"], first.json["alert"]["acknowledgement_note"]) == ("admiral", "seen")
    assert ask("GET", "/api/alerts?state=acknowledged").json["count"] == 1
    assert ask("GET", "/api/alerts?state=open").json["count"] == 1


def test_a_resolved_alert_is_over_and_can_be_neither_resolved_nor_acknowledged_again(alert, sql: Sql):
    done = ask("POST", f"/api/alerts/{alert}/resolve", {"note": "put right"})
    assert (done.status, done.json["alert"]["resolved_by"], done.json["alert"]["resolution_notes"]) == (200, "admiral", "put right")
    for verb in ("resolve", "acknowledge"):
        again = ask("POST", f"/api/alerts/{alert}/{verb}")
        assert again.status == 409
        assert keeps_the_promises_of_a_refusal(again)
    assert [ask("GET", f"/api/alerts?state={state}").json["count"] for state in ("open", "acknowledged", "resolved")] == [0, 0, 1]
    assert sql("select is_active, resolved from tds_alerts") == [[False, True]]


def test_an_alert_that_is_no_standing_condition_is_told_of_again_at_once(sql: Sql):
    made = sql(
        "insert into tds_alerts (alert_type, severity, title, message) values ('sync_failed', 'error', 't', 'm') returning id::text"
    )
    assert ask("POST", f"/api/alerts/{made[0][0]}/resolve").status == 200
    assert sql("select count(*) from tidemark.conditions") == [[0]]


@pytest.mark.parametrize("verb", ["acknowledge", "resolve"])
def test_an_alert_that_there_is_not_is_not_found(verb):
    assert ask("POST", f"/api/alerts/{NOBODY}/{verb}").status == 404
    assert ask("POST", f"/api/alerts/nobody/{verb}").status == 422


@pytest.mark.parametrize("body", [{"note": 5}, {"note": "x" * 2001}, {"reason": "x"}, [], {"note": "\x00"}])
@pytest.mark.parametrize("verb", ["acknowledge", "resolve"])
def test_a_note_that_cannot_be_is_refused(verb, body, alert, sql: Sql):
    reply = ask("POST", f"/api/alerts/{alert}/{verb}", body)
    assert reply.status == 422
    assert keeps_the_promises_of_a_refusal(reply)
    assert sql("select acknowledged or resolved from tds_alerts") == [[False]]


@pytest.mark.parametrize(
    "query",
    [
        "state=gone",
        "severity=bad",
        "entity_type=unicorn",
        "limit=0",
        "limit=201",
        "after=soon",
        f"after={NOBODY}",
        "state=open;drop",
    ],
)
def test_an_odd_question_is_refused(query):
    reply = ask("GET", f"/api/alerts?{query}")
    assert (reply.status, keeps_the_promises_of_a_refusal(reply)) == (422, True)
