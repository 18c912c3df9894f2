"""health live, ready, diag: liveness touches nothing; readiness is the database, the schema, the drain and the required shards;
the diagnosis needs a role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from common import db
from tests.conftest import OWNER
from tests.deploys import a_deployment
from tests.functions.test_auth import ask

Sql = Callable[..., list[list[Any]]]


def test_with_the_database_down_live_is_200_and_ready_is_503(database_url, configured):
    configured(DATABASE_URL=database_url + "_is_gone")
    try:
        live, ready = ask("GET", "/health/live"), ask("GET", "/health/ready")
        assert (live.status, live.json) == (200, {"status": "ok", "alive": True})
        assert (ready.status, ready.json["status"], "retry-after" in ready.headers) == (503, "not_ready", True)
        assert "error" in ready.json
    finally:
        db.pool().discard()


def test_live_is_answered_without_a_connection_being_opened(database_url, configured, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(db, "pool", lambda: pytest.fail("the database was asked"))
        assert ask("GET", "/health/live").status == 200


def test_tde_x_fault_a_ready_is_503_until_the_shards_have_really_succeeded(sql: Sql):
    assert ask("GET", "/health/ready").json["status"] == "ready"  # no deploy recorded: database and schema suffice
    made = a_deployment(sql, stages={"bootstrap": "open", "runtime": "waiting"})
    first = ask("GET", "/health/ready")
    assert (first.status, first.json["status"]) == (503, "not_ready")
    assert "bootstrap is not finished" in first.json["error"]
    assert "runtime has not begun" in first.json["error"]
    sql("update tidemark.stages set status = 'succeeded' where kind = 'deploy.bootstrap'")
    second = ask("GET", "/health/ready")
    assert (second.status, "bootstrap" in second.json["error"]) == (503, False)
    sql("update tidemark.stages set status = 'succeeded'")
    third = ask("GET", "/health/ready")
    assert (third.status, third.json["status"], made.id in third.json["message"]) == (200, "ready", True)


@pytest.mark.parametrize("state", ["waiting", "open", "failed"])
def test_diagnostics_in_the_background_never_delay_readiness(state, sql: Sql):
    a_deployment(sql, background={"diagnostics": state})
    assert ask("GET", "/health/ready").status == 200


def test_a_schema_that_is_older_than_the_code_is_not_ready(sql: Sql):
    sql("delete from tds_schema_versions where version = (select max(version) from tds_schema_versions)")
    reply = ask("GET", "/health/ready")
    assert (reply.status, "The schema is at" in reply.json["error"]) == (503, True)


def test_the_diagnosis_needs_a_role_and_tells_of_tickets(sql: Sql):
    assert ask("GET", "/health/diag").status == 401
    assert ask("GET", "/health/diag", OWNER).json == {"status": "ok", "queue_depth": 0, "last_ticket": None, "ticket_count": 0}
    sql(
        "insert into tidemark.tickets (fingerprint, kind, title, message, count) values ('f', 'deploy.trigger', 'It failed', 'm', 3)"
    )
    found = ask("GET", "/health/diag", OWNER).json
    assert (found["status"], found["ticket_count"]) == ("degraded", 1)
    assert (found["last_ticket"]["title"], found["last_ticket"]["count"]) == ("It failed", 3)
