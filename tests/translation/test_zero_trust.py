"""zero trust: short-lived tokens for one audience, act and subject; what does not count is a 401 and a row of the audit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common import auth, settings
from common.errors import TokenRefused
from common.rules import capability
from common.rules.http import Request
from tests.conftest import OWNER
from tests.functions.shells import Reply, keeps_the_promises_of_a_refusal, wsgi
from tests.make import a_ring

Sql = Callable[..., list[list[Any]]]
pytestmark = pytest.mark.usefixtures("database_url")
SHARD = "plan/7/stage/0/shard/3/attempt/1"


def a_token(*, audience: str = "default", action: str = "drain", subject: str = SHARD, at: timedelta = timedelta()) -> str:
    claims = capability.claims(audience=audience, action=action, subject=subject, now=datetime.now(UTC) + at)
    return capability.signed(claims, settings.load().signing_keys[0])


def drain(token: str, name: str = "tidemark-token") -> Reply:
    return wsgi(Request("POST", "/api/hxo/graceful-shutdown", "", ((name, token),), b"{}", "10.0.0.7"), "plans")


def audit(sql: Sql) -> list[list[Any]]:
    return sql("select what, why from tidemark.refusals order by seq")


def test_a_token_lets_another_deployment_of_ours_in_once(sql):
    token = a_token()
    replies = [drain(token) for _ in range(3)]
    assert [reply.status for reply in replies] == [202, 401, 401]
    assert keeps_the_promises_of_a_refusal(replies[1])
    assert replies[1].json["reason"] == "replayed"
    assert audit(sql) == [["drain /api/hxo/graceful-shutdown", "replayed"]] * 2


def test_by_its_address_it_is_meant_for_this_deployment_as_well():
    assert drain(a_token(audience=settings.load().functions_url)).status == 202


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"audience": "green"}, "audience"),
        ({"action": "promote"}, "action"),
        ({"at": timedelta(seconds=-31)}, "expired"),
        ({"at": timedelta(minutes=5)}, "early"),
    ],
    ids=["wrong audience", "another act", "expired", "from the future"],
)
def test_what_does_not_count_is_a_401_and_a_row_of_the_audit(given, why, sql):
    reply = drain(a_token(**given))
    assert (reply.status, reply.json["reason"]) == (401, why)
    [[what, said, who, claimed]] = sql("select what, why, who, claimed from tidemark.refusals")
    assert (what, said) == ("drain /api/hxo/graceful-shutdown", why)
    assert who
    assert claimed["sub"] == SHARD


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "\x7f"])
def test_what_is_no_token_is_a_401_and_a_row_of_the_audit(token, sql):
    assert drain(token).status == 401
    assert len(audit(sql)) == 1


def test_a_token_for_another_shard_is_a_401_and_a_row_of_the_audit(sql):
    other = a_token(action="run", subject="plan/7/stage/0/shard/4/attempt/1")
    again = a_token(action="run", subject="plan/7/stage/0/shard/3/attempt/2")
    for token in (other, again):
        with pytest.raises(TokenRefused) as caught:
            auth.capability(Request("POST", "/x", "", (("tidemark-token", token),)), "run", SHARD)
        assert (caught.value.status, caught.value.reason) == (401, "subject")
    assert audit(sql) == [["run /x", "subject"]] * 2
    fitting = a_token(action="run")
    assert auth.capability(Request("POST", "/x", "", (("authorization", f"Bearer {fitting}"),)), "run", SHARD)["sub"] == SHARD


def test_fault_12_a_role_is_checked_and_a_word_is_no_token():
    """The origin's check was always true, and `Authorization: Admiral` a literal."""
    assert drain("Admiral", "authorization").status == 401
    assert drain("Bearer Admiral", "authorization").status == 401
    assert drain("Admiral").status == 401
    assert drain(f"Bearer {OWNER}", "authorization").status == 202


# Rings ---------------------------------------------------------------------------------------------------------------


def rung(function: str = "process", body: bytes = b"{}", **headers: str) -> int:
    given = a_ring(function, body) | headers
    return wsgi(Request("POST", f"/tasks/{function}", "", tuple(given.items()), body), function).status


def test_a_ring_with_its_token_is_let_in_and_may_come_twice():
    token = a_ring("process", b"{}")["tidemark-token"]
    assert [rung(**{"tidemark-token": token}) for _ in range(2)] == [200, 200]


def test_a_ring_without_a_token_for_another_function_for_another_body_or_expired_is_refused_and_written_down(sql):
    late = capability.ring("process", b"{}", settings.load().signing_keys[0], now=datetime.now(UTC) - timedelta(hours=1, seconds=1))
    tokens = {
        "missing": "",
        "audience": a_ring("shards", b"{}")["tidemark-token"],
        "subject": a_ring("process", b'{"empty":1}')["tidemark-token"],
        "key": a_ring("process", b"{}", secret="another-secret")["tidemark-token"],
        "expired": late,
    }
    for why, token in tokens.items():
        assert rung(**{"tidemark-token": token}) == 401
        assert audit(sql)[-1] == ["ring /tasks/process", why]


def test_a_token_alone_does_not_stand_in_for_the_callers_key(sql):
    assert rung(authorization="Bearer x") == 401
    assert audit(sql) == []  # a stranger is no caller of ours: nothing is written for each


def test_the_clock_calls_tick_alone_without_a_token_and_with_nothing_to_say(sql):
    key = {"authorization": f"Bearer {settings.load().task_key}"}
    statuses = [
        wsgi(Request("POST", path, "", tuple(key.items()), body), path.rpartition("/")[2]).status
        for path, body in (("/tasks/tick", b""), ("/tasks/tick", b'{"a":1}'), ("/tasks/process", b""), ("/tasks/heal", b""))
    ]
    assert statuses == [200, 401, 401, 401]


def test_without_zero_trust_the_callers_key_is_enough(configured):
    configured(HXO_ZERO_TRUST="false")
    assert rung(**{"tidemark-token": ""}) == 200
    assert rung(**{"tidemark-token": "", "authorization": "Bearer x"}) == 401


def test_a_ring_that_was_signed_before_a_rotation_still_counts_until_the_key_is_gone(configured):
    token = a_ring("process", b"{}", secret="seed-" * 8)["tidemark-token"]
    now = {"tidemark-token": token}
    configured(SEED_SECRET="next-" * 8, SEED_SECRET_PREVIOUS="seed-" * 8)
    assert rung(**now) == 200
    configured(SEED_SECRET_PREVIOUS="")
    assert rung(**now) == 401


# The audit -----------------------------------------------------------------------------------------------------------


def test_the_audit_is_bounded_and_forgets_what_is_long_past(sql, monkeypatch, turn_clock):
    monkeypatch.setattr("common.stores.refusals.MOST", 3)
    for _ in range(5):
        drain("x")
    assert len(audit(sql)) == 3
    turn_clock(timedelta(days=31))
    drain("x")
    assert len(audit(sql)) == 1


def test_spent_nonces_are_forgotten_once_nobody_would_take_their_tokens(sql, turn_clock):
    drain(a_token())
    assert sql("select count(*) from tidemark.nonces") == [[1]]
    turn_clock(timedelta(minutes=2))
    drain(a_token())
    assert sql("select count(*) from tidemark.nonces") == [[1]]


def test_no_secret_and_no_token_reaches_the_audit_or_the_log(sql, capfd):
    token = a_token()
    drain(token), drain(token), rung(**{"tidemark-token": token})
    said = capfd.readouterr().out + str(sql("select r::text from tidemark.refusals r"))
    assert token not in said
    assert token.rpartition(".")[2] not in said
    assert settings.load().signing_keys[0][1].hex() not in said


def test_an_operator_reads_the_audit_and_a_viewer_does_not(sql):
    from tests.functions.test_auth import ask, made

    drain("x")
    found = ask("GET", "/api/hxo/security/events", made("operator")[0]).json["events"]
    assert [(each["what"], each["why"]) for each in found] == [("drain /api/hxo/graceful-shutdown", "unreadable")]
    assert ask("GET", "/api/hxo/security/events", made("viewer")[0]).status == 403


def test_a_refusal_stands_though_the_audit_cannot_be_written(sql):
    sql("alter table tidemark.refusals rename to refusals_gone")
    assert drain("x").status == 401
