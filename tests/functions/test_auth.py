"""Who may do what: every route of every deployable, asked by everybody."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from common import auth, settings
from common.auth import Role
from common.rules.http import Request
from tests.conftest import OWNER
from tests.functions.shells import Reply, asgi, keeps_the_promises_of_a_refusal, wsgi
from tests.house.tree import Declared, routes
from tests.make import a_request, a_ring, an_item, signed

Sql = Callable[..., list[list[Any]]]
VERDICTS = {401: "who are you", 403: "not you"}
ROLES = ("viewer", "operator", "owner")
STRANGERS = ("nobody", "expired", "revoked", "task", "Admiral", "of another database", "no token at all")


def ask(method: str, path: str, token: str | None = None, target: str | None = None, body: bytes = b"") -> Reply:
    headers = () if token is None else (("authorization", token if " " in token or token == "Admiral" else f"Bearer {token}"),)
    if path.startswith("/tasks/"):
        headers += (("tidemark-token", a_ring(path[7:], body)["tidemark-token"]),)
    owner = target or next(route.function for route in routes() if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route.path), path))
    return wsgi(Request(method, path, "", headers, body), owner)


def made(role: str, days: int = 1) -> tuple[str, str]:
    """A new token of a role, and its id."""
    reply = ask("POST", "/admin/tokens", OWNER, body=f'{{"name": "a {role}", "role": "{role}", "days": {days}}}'.encode())
    return reply.json["token"], reply.json["id"]


@pytest.fixture
def tokens(sql: Sql) -> dict[str, str | None]:
    """What each caller shows."""
    expired, expired_id = made("owner")
    sql("update tidemark.operator_tokens set expires_at = app_now() - interval '1 s' where id = :id", id=expired_id)
    revoked, revoked_id = made("owner")
    ask("DELETE", f"/admin/tokens/{revoked_id}", OWNER)
    known = {role: made(role)[0] for role in ROLES}
    return known | {
        "nobody": None,
        "expired": expired,
        "revoked": revoked,
        "task": settings.load().task_key,
        "Admiral": "Admiral",
        "of another database": auth.new_token()[0],
        "no token at all": "Bearer ",
    }


def expected(need: str) -> dict[str, str]:
    """What each caller is told by a route with this need."""
    if need == "open":
        return dict.fromkeys((*ROLES, *STRANGERS), "come in")
    if need == "task":
        return dict.fromkeys((*ROLES, *STRANGERS), "who are you") | {"task": "come in"}
    need = "VIEWER" if need == "page" else need  # without a page's token
    reach = {role: "come in" if Role[role.upper()] >= Role[need] else "not you" for role in ROLES}
    return dict.fromkeys(STRANGERS, "who are you") | reach


@pytest.mark.parametrize("route", routes(), ids=lambda route: f"{route.method} {route.path}")
def test_a_route_lets_in_only_those_it_is_for(route: Declared, tokens: dict[str, str | None]):
    path = re.sub(r"\{\w+\}", "0" * 32, route.path)
    replies = {caller: ask(route.method, path, token, route.function) for caller, token in tokens.items()}
    assert {caller: VERDICTS.get(reply.status, "come in") for caller, reply in replies.items()} == expected(route.need)
    assert not any(reply.status == 500 for reply in replies.values())
    assert all(keeps_the_promises_of_a_refusal(reply) for reply in replies.values() if reply.status in VERDICTS)


@pytest.mark.parametrize("shell", [wsgi, asgi])
def test_a_token_does_not_stand_in_for_a_webhooks_signature(shell, tokens, sql: Sql):
    request = a_request("products", an_item())
    replies = [shell(replace(request, headers=(("authorization", f"Bearer {token}"),))) for token in tokens.values()]
    assert {reply.status for reply in replies} == {401}
    assert sql("select count(*) from tds_inbox_events") == [[0]]


def test_46_a_viewer_cannot_replay(tokens):
    reply = ask("POST", f"/dashboard/dead-letter/{'0' * 32}/retry", tokens["viewer"])
    assert (reply.status, reply.json["type"]) == (403, "urn:tidemark:problem:insufficient-scope")


# The life of a token ----------------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_stored_as_a_hash(sql: Sql):
    token, identifier = made("viewer")
    listed = ask("GET", "/admin/tokens", OWNER)
    assert [(each["id"], each["role"], each["created_by"]) for each in listed.json["tokens"]] == [(identifier, "viewer", "admiral")]
    secret = token.rpartition("_")[2]
    assert secret.encode() not in listed.body
    assert secret not in str(sql("select t::text from tidemark.operator_tokens t"))


def test_a_token_counts_until_its_days_are_over(turn_clock):
    token, _ = made("viewer", days=2)
    turn_clock(timedelta(days=2, seconds=-1))
    before = ask("GET", "/queue/stats", token)
    turn_clock(timedelta(seconds=2))
    assert (before.status, ask("GET", "/queue/stats", token).status) == (200, 401)


def test_a_revoked_token_counts_no_more_and_cannot_be_revoked_twice(tokens):
    token, identifier = made("viewer")
    replies = [
        ask("GET", "/queue/stats", token),
        ask("DELETE", f"/admin/tokens/{identifier}", tokens["owner"]),
        ask("GET", "/queue/stats", token),
        ask("DELETE", f"/admin/tokens/{identifier}", tokens["owner"]),
    ]
    assert [reply.status for reply in replies] == [200, 200, 401, 404]


def test_a_token_with_one_letter_changed_is_none(tokens):
    token = str(tokens["owner"])
    other = token[:-1] + ("a" if token[-1] != "a" else "b")
    assert ask("GET", "/queue/stats", other).status == 401


@pytest.mark.parametrize("word", ["bearer", "BEARER"])
def test_the_word_before_a_token_may_be_written_in_any_case(word, tokens):
    assert ask("GET", "/queue/stats", f"{word} {tokens['viewer']}").status == 200


def test_the_first_owner_token_is_gone_once_it_is_unset(configured):
    configured(ADMIRAL_TOKEN="")
    assert [ask("GET", "/admin/tokens", token).status for token in (OWNER, "Bearer ", None)] == [401, 401, 401]


def test_the_task_key_of_the_previous_secret_key_counts_while_it_is_kept(configured):
    old = settings.load().task_key
    configured(SECRET_KEY="another-secret-key", SECRET_KEY_PREVIOUS="secret-key-of-the-tests")
    during = ask("POST", "/tasks/tick", old)
    configured(SECRET_KEY_PREVIOUS="")
    assert (during.status, ask("POST", "/tasks/tick", old).status) == (200, 401)


# How often ---------------------------------------------------------------------------------------------------------


def test_86_the_sixty_first_call_of_a_minute_has_to_wait_and_the_next_minute_is_free(tokens, turn_clock):
    viewer = tokens["viewer"]
    allowed = {ask("GET", "/health/diag", viewer).status for _ in range(60)}
    refused = ask("GET", "/health/diag", viewer)
    other = ask("GET", "/health/diag", tokens["operator"])
    turn_clock(timedelta(minutes=1))
    later = ask("GET", "/health/diag", viewer)
    assert (allowed, refused.status, other.status, later.status) == ({200}, 429, 200, 200)
    assert keeps_the_promises_of_a_refusal(refused)
    assert 0 < int(refused.headers["retry-after"]) <= 60


def test_the_limit_of_an_hour_outlasts_that_of_a_minute(tokens, sql: Sql, turn_clock):
    sql("update tidemark.settings set value = '2' where key = 'operator.calls_per_hour'")
    viewer = tokens["viewer"]
    allowed = [ask("GET", "/health/diag", viewer).status for _ in range(2)]
    turn_clock(timedelta(minutes=2))
    refused = ask("GET", "/health/diag", viewer)
    assert (allowed, refused.status) == ([200, 200], 429)
    assert 60 < int(refused.headers["retry-after"]) <= 3600


# What nobody may read ----------------------------------------------------------------------------------------------

CANARY = "canary-that-must-not-sing"


@pytest.mark.parametrize("shell", [wsgi, asgi])
def test_no_secret_reaches_a_log_line_a_refusal_or_a_stored_header(shell, configured, sql: Sql, capsys):
    configured(
        ZOHO_WEBHOOK_SECRETS=f"{CANARY}-1,shared_secret:{CANARY}-2", ADMIRAL_TOKEN=f"{CANARY}-3", SECRET_KEY=f"{CANARY}-4-long"
    )
    secretive = (
        ("authorization", f"Bearer {CANARY}-3"),
        ("cookie", f"session={CANARY}-5"),
        ("x-api-key", f"{CANARY}-6"),
        ("x-webhook-key", f"{CANARY}-2"),
        ("x-other", f"see {CANARY}-1"),
    )
    query = f"org=1&token={CANARY}-7&webhook_key={CANARY}-8&note={CANARY}-1"
    request = replace(a_request("products", an_item(name=f"{CANARY}-9"), query=query), headers=secretive)
    replies = [
        shell(request),
        shell(replace(request, headers=(("x-webhook-key", f"{CANARY}-wrong"),))),
        shell(replace(request, path=f"/webhooks/{CANARY}-1")),
        shell(signed(replace(request, headers=()), "wrong")),
        wsgi(Request("POST", "/admin/tokens", query, secretive, f'{{"secret": "{CANARY}-3"}}'.encode()), "admin"),
        wsgi(Request("GET", "/dashboard/recent-events", query, secretive), "status"),
    ]
    assert [reply.status for reply in replies] == [202, 401, 404, 401, 422, 200]
    assert CANARY not in capsys.readouterr().out
    assert not any(CANARY.encode() in reply.body for reply in replies)
    stored = sql("select query, webhook_headers::text, signed_by from tds_inbox_events")
    assert len(stored) == 1
    assert CANARY not in str(stored)
