"""Tickets over HTTP: listed, acknowledged, resolved; and what cannot be asked of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from common.rules.http import Request
from deploy.local import gateway
from tests.conftest import OWNER
from tests.deploys import a_deployment
from tests.functions.shells import Reply, keeps_the_promises_of_a_refusal, wsgi

Sql = Callable[..., list[list[Any]]]

pytestmark = pytest.mark.usefixtures("database_url")


def ask(method: str, path: str, body: Any = None) -> Reply:
    path, _, query = path.partition("?")
    sent = b"" if body is None else json.dumps(body).encode()
    return wsgi(Request(method, path, query, (("authorization", f"Bearer {OWNER}"),), sent), gateway.target_of(method, path))


@pytest.fixture
def ticket(sql: Sql) -> int:
    rows = sql("""insert into tidemark.tickets (fingerprint, kind, title, message, count, target)
                  values ('f', 'deploy.trigger', 'It failed', 'as it did', 7, 'site') returning id""")
    return int(rows[0][0])


def test_a_ticket_is_shown_whole(ticket):
    listed = ask("GET", "/api/tickets").json
    assert (listed["count"], listed["next"]) == (1, None)
    shown = ask("GET", f"/api/tickets/{ticket}").json
    assert listed["tickets"] == [shown]
    assert shown | {"first_at": None, "last_at": None} == {
        "id": ticket, "kind": "deploy.trigger", "title": "It failed", "message": "as it did", "count": 7, "status": "open",
        "first_at": None, "last_at": None, "deployment": None, "plan": None, "target": "site", "acknowledged_at": None,
        "acknowledged_by": None, "resolved_at": None, "resolved_by": None, "note": None, "fingerprint": "f", "former": None,
    }  # fmt: skip


def test_acknowledging_twice_is_acknowledging_once(ticket):
    first = ask("POST", f"/api/tickets/{ticket}/acknowledge", {"note": "seen"})
    second = ask("POST", f"/api/tickets/{ticket}/acknowledge")
    assert (first.status, second.status) == (200, 200)
    assert second.json == first.json
    assert (first.json["ticket"]["acknowledged_by"], first.json["ticket"]["note"]) == ("admiral", "seen")
    assert [ask("GET", f"/api/tickets?status={each}").json["count"] for each in ("acknowledged", "open", "unresolved")] == [1, 0, 1]


def test_a_resolved_ticket_is_over_and_can_be_neither_resolved_nor_acknowledged_again(ticket):
    done = ask("POST", f"/api/tickets/{ticket}/resolve", {"note": "put right"})
    assert (done.status, done.json["ticket"]["resolved_by"], done.json["ticket"]["note"]) == (200, "admiral", "put right")
    for verb in ("resolve", "acknowledge"):
        again = ask("POST", f"/api/tickets/{ticket}/{verb}")
        assert (again.status, keeps_the_promises_of_a_refusal(again)) == (409, True)
    assert [ask("GET", f"/api/tickets?status={each}").json["count"] for each in ("unresolved", "resolved", "all")] == [0, 1, 1]


def test_tickets_are_read_page_by_page_and_by_deployment(ticket, sql: Sql):
    made = a_deployment(sql)
    sql("insert into tidemark.tickets (fingerprint, kind, title, message, deployment) values ('g', 'k', 't', 'm', :id)", id=made.id)
    first = ask("GET", "/api/tickets?limit=1").json
    assert [each["fingerprint"] for each in first["tickets"]] == ["g"]
    second = ask("GET", f"/api/tickets?limit=1&before={first['next']}").json
    assert [each["fingerprint"] for each in second["tickets"]] == ["f"]
    of_deployment = ask("GET", f"/api/tickets?deployment={made.id}").json
    assert [each["fingerprint"] for each in of_deployment["tickets"]] == ["g"]


@pytest.mark.parametrize("verb", ["acknowledge", "resolve"])
def test_a_ticket_that_there_is_not_is_not_found(verb):
    assert ask("POST", f"/api/tickets/987654/{verb}").status == 404
    assert ask("GET", "/api/tickets/987654").status == 404
    assert ask("POST", f"/api/tickets/nobody/{verb}").status == 422
    assert ask("POST", f"/api/tickets/{'9' * 19}/{verb}").status == 422
    assert ask("GET", "/api/tickets/-1").status == 422


@pytest.mark.parametrize("body", [{"note": 5}, {"note": "x" * 2001}, {"reason": "x"}, [], {"note": "\x00"}])
@pytest.mark.parametrize("verb", ["acknowledge", "resolve"])
def test_a_note_that_cannot_be_is_refused(verb, body, ticket, sql: Sql):
    reply = ask("POST", f"/api/tickets/{ticket}/{verb}", body)
    assert (reply.status, keeps_the_promises_of_a_refusal(reply)) == (422, True)
    assert sql("select status from tidemark.tickets") == [["open"]]


@pytest.mark.parametrize("query", ["status=gone", "limit=0", "limit=201", "before=soon", "deployment=mine", "status=open;drop"])
def test_an_odd_question_is_refused(query):
    reply = ask("GET", f"/api/tickets?{query}")
    assert (reply.status, keeps_the_promises_of_a_refusal(reply)) == (422, True)
