"""/api/status: small whatever happens, changed only when something did, for the page's token, and for no other origin."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from common import db
from common.flows import process, tick
from common.rules.http import Request
from common.stores import alerts
from tests.conftest import OWNER
from tests.functions.rich import everything
from tests.functions.shells import Reply, keeps_the_promises_of_a_refusal, wsgi
from tests.kinds import a_stage, submit
from tests.make import an_item, send

PAGE = "page-token-of-the-tests"
SITE = "https://status.example.com"
PREVIEWS = "https://deploy-preview-*--tidemark.netlify.app"
LARGEST = 4096


def read(query: str = "", token: str = OWNER, method: str = "GET", path: str = "/api/status", **headers: str) -> Reply:
    given = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return wsgi(
        Request(method, path, query, (("authorization", f"Bearer {token}"), *given)), "admin" if "admin" in path else "status"
    )


@pytest.fixture
def shared(configured) -> None:
    configured(PAGE_TOKEN=PAGE, CORS_ORIGINS=f"{SITE},{PREVIEWS},http://127.0.0.1:5173")


# What it holds ------------------------------------------------------------------------------------------------------


def test_it_is_small_and_says_how_many_it_leaves_out(sql, turn_clock, configured, trial):
    everything(sql, turn_clock, configured, folds="halfway")
    sql(
        "insert into tds_sync_cursors (source_type, entity_type, last_sync_at) select 'zoho', e, app_now() - interval '1 year'"
        " from unnest(enum_range(null::tds_entity_type)) e on conflict do nothing"
    )
    sql(
        "insert into tidemark.schedules (name, cron, function, next_slot, created_by, updated_by)"
        " select 'a-schedule-with-a-name-of-a-length-that-nobody-likes-' || n, '0 0 * * *', 'process', app_now(), 'x', 'x'"
        " from generate_series(1, 300) n"
    )
    sql(
        "insert into tds_alerts (alert_type, severity, title, message) select 'alert-' || n || repeat('x', 80), 'critical', repeat('ŵ\"\n', 80), ''"
        " from generate_series(1, 300) n"
    )
    sql(
        "insert into tidemark.deltas (name, amount) select name, 12345678 from unnest('{received,completed,quarantined}'::text[]) name"
    )
    for number in range(12):
        submit(a_stage(shards=1000), name=f"{number} plan of a name that goes on and on")
    reply = read()
    body = reply.json
    assert (reply.status, len(reply.body) <= LARGEST) == (200, True)
    listed = {name: len(body[name]["items"]) + body[name]["more"] for name in ("entities", "plans", "schedules", "alerts")}
    truth = sql(
        "select 11, (select count(*) from tidemark.plans where finished_at is null), (select count(*) from tidemark.schedules),"
        " (select count(*) from tds_alerts where not resolved)"
    )[0]
    assert list(listed.values()) == truth
    assert all(len(body["sparkline"][name]) == 60 for name in ("received", "completed", "failed"))


def test_what_fits_is_there(sql, turn_clock, configured, trial):
    everything(sql, turn_clock, configured, folds="never")
    body = read().json
    assert {each["entity"] for each in body["entities"]["items"]} == {"product", "invoice", "customer"}
    assert next(each["last_run"] for each in body["entities"]["items"] if each["entity"] == "product") == "failed"
    assert [each["severity"] for each in body["alerts"]["items"]][:2] == ["critical", "error"]
    assert [(each["total_shards"], each["done_shards"], each["failed_shards"]) for each in body["plans"]["items"]] == [
        (27, 15 - 1, 1)
    ]
    assert body["schedules"]["items"][0]["name"] == "auto_healing"
    assert len(json.dumps(body, separators=(",", ":"))) <= LARGEST


def test_on_an_empty_database_nothing_is_made_up(sql):
    body = read().json
    assert (body["status"], body["queue"]["oldest_at"], body["queue"]["oldest_age_seconds"]) == ("healthy", None, None)
    assert body["entities"] == body["plans"] == body["alerts"] == {"items": [], "more": 0}


# Its entity tag -----------------------------------------------------------------------------------------------------


def stop_clock(sql: Any, into: str) -> None:
    """Let the database's time stand still, so far into the minute after this one."""
    at = sql(f"select (date_trunc('minute', now()) + interval '1 minute {into}')::text")[0][0]
    sql(f"create or replace function public.app_now() returns timestamptz language sql stable as $$ select timestamptz '{at}' $$")


def test_its_tag_stays_while_only_the_clock_moves_and_changes_with_the_content(sql):
    stop_clock(sql, "10 seconds")
    send("products", an_item())
    first = read()
    stop_clock(sql, "11 seconds")
    again = read()
    process.process()
    changed = read()
    assert first.headers["etag"] == again.headers["etag"] != changed.headers["etag"]
    assert not first.headers["etag"].startswith("W/")
    assert {each.headers["cache-control"] for each in (first, again, changed)} == {"private, max-age=2"}


def test_who_has_it_already_is_told_so_in_no_bytes(sql):
    tag = read().headers["etag"]
    offers = [tag, f"W/{tag}", f'"other", {tag}', f'W/"a",W/{tag} ,"b"', "*"]
    replies = [read(if_none_match=offer) for offer in offers]
    assert [(reply.status, reply.body, reply.headers["etag"]) for reply in replies] == [(304, b"", tag)] * len(offers)
    assert [read(if_none_match=offer).status for offer in ('"other"', tag.strip('"'), "", tag[:-2] + '"')] == [200] * 4


def test_head_tells_the_same_without_a_body(sql):
    got, head = read(), read(method="HEAD")
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", got.headers["etag"])


# What happened since ------------------------------------------------------------------------------------------------


def test_since_a_moment_only_what_changed_is_listed_and_what_happened_is_told(sql, turn_clock, trial):
    with db.transaction("worker") as tx:
        alerts.raise_alert(tx, alert_type="early", severity="error", title="early", message="")
    sql("update tidemark.schedules set next_slot = app_now() + interval '1 day'")
    turn_clock(timedelta(minutes=5))
    moment = read().json["generated_at"]
    turn_clock(timedelta(minutes=5))
    with db.transaction("worker") as tx:
        alerts.raise_alert(tx, alert_type="late", severity="error", title="late", message="")
        alerts.resolve(tx, alert_type="early")
    sql(
        "insert into tidemark.fires (schedule, slot, state, finished_at) values ('daily_full_sync', app_now(), 'missed', app_now())"
    )
    body = read(f"since={moment}").json
    assert [each["type"] for each in body["alerts"]["items"]] == ["late"]
    assert body["schedules"] == {"items": [], "more": 5}
    told = {(each["what"], each["name"]) for each in body["notable"]["items"]}
    assert told >= {("alert opened", "late"), ("alert resolved", "early"), ("slot missed", "daily_full_sync")}
    later = read("since=2100-01-01T00:00:00%2B03:00").json
    assert (later["alerts"]["items"], later["notable"]["items"]) == ([], [])


def test_since_a_former_tag_is_as_if_none_match(sql):
    tag = read().headers["etag"]
    assert [read(f"since={text}").status for text in (tag.strip('"'), tag, f"W/{tag}")] == [304] * 3
    assert read(f"since={'0' * 20}").status == 200


@pytest.mark.parametrize(
    "text", ["", "yesterday", "12", "2026-13-01T00:00:00Z", "9999-01-01T00:00:00Z", "2026-06-09T09:45", "'; drop table", '"', "%00"]
)
def test_since_something_else_is_refused(text, sql):
    reply = read(f"since={text}")
    assert (reply.status, reply.json["errors"][0]["pointer"]) == (422, "since")
    assert keeps_the_promises_of_a_refusal(reply)


# Who may read it ----------------------------------------------------------------------------------------------------


def test_the_pages_token_reads_this_path_and_nothing_else(shared, sql):
    assert read(token=PAGE).status == 200
    others = ["/queue/stats", "/metrics", "/dashboard/metrics", "/api/tds/runs", "/admin/tokens"]
    assert {read(token=PAGE, path=path).status for path in others} == {401}
    assert {read(token=token).status for token in (PAGE + "x", PAGE[:-1], "", PAGE.upper())} == {401}


def test_without_a_pages_token_there_is_none(sql):
    assert [read(token=token).status for token in (PAGE, "")] == [401, 401]


# Other origins ------------------------------------------------------------------------------------------------------

STRANGERS = {
    "73 another site": "https://evil.app",
    "74 null": "null",
    "74 a host that goes on": "https://status.example.com.evil.com",
    "74 over http": "http://status.example.com",
    "another port": "https://status.example.com:8443",
    "before the host": "https://evil-status.example.com",
    "a user before it": "https://status.example.com@evil.app",
    "in other letters": "https://Status.example.com",
    "a path": "https://status.example.com/",
    "two": "https://status.example.com, https://evil.app",
    "a preview of another site": "https://deploy-preview-12--evil.netlify.app",
    "a preview that goes on": "https://deploy-preview-12--tidemark.netlify.app.evil.com",
    "a preview of no number": "https://deploy-preview-x--tidemark.netlify.app",
    "a preview of too many": "https://deploy-preview-1234567--tidemark.netlify.app",
    "the pattern itself": PREVIEWS,
    "a line more": "https://deploy-preview-12--tidemark.netlify.app%0a",
    "a dot that is none": "https://statusXexample.com",
    "empty": "",
}
FRIENDS = [SITE, "https://deploy-preview-12--tidemark.netlify.app", "http://127.0.0.1:5173"]


def told(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("access-control") or name == "vary"}


@pytest.mark.parametrize("origin", STRANGERS.values(), ids=STRANGERS)
def test_a_strange_origin_is_told_nothing_and_may_write_nothing(origin, shared, sql):
    assert told(read(origin=origin)) == told(read(origin=origin, method="OPTIONS")) == {"vary": "Origin"}
    write = read(method="POST", path="/admin/tokens", origin=origin)
    assert (write.status, told(write)) == (403, {})
    assert keeps_the_promises_of_a_refusal(write)


@pytest.mark.parametrize("origin", FRIENDS)
def test_a_configured_origin_may_read_refusals_as_well(origin, shared, sql):
    replies = [
        read(origin=origin),
        read(origin=origin, method="HEAD"),
        read(origin=origin, token="x"),
        read("since=x", origin=origin),
    ]
    assert [reply.status for reply in replies] == [200, 200, 401, 422]
    for reply in replies:
        assert (reply.headers["access-control-allow-origin"], reply.headers["vary"]) == (origin, "Origin")
        assert "access-control-allow-credentials" not in reply.headers
    assert told(read(origin=origin, path="/queue/stats")) == {}


@pytest.mark.parametrize("asked", ["GET", "DELETE", "POST"])
def test_75_a_preflight_is_told_get_and_head_whatever_it_asks_for(asked, shared, sql):
    reply = wsgi(Request("OPTIONS", "/api/status", "", (("origin", SITE), ("access-control-request-method", asked))), "status")
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["access-control-allow-methods"] == "GET, HEAD"
    assert reply.headers["access-control-max-age"] == "600"
    assert set(reply.headers["access-control-allow-headers"].split(", ")) == {"Authorization", "If-None-Match"}


def test_without_a_configured_origin_nobody_is_let_in(sql):
    assert told(read(origin=SITE)) == {"vary": "Origin"}
    assert told(read()) == {"vary": "Origin"}


def test_what_writes_may_come_from_no_page_from_a_configured_one_and_from_our_own(shared, sql):
    body = b'{"name": "one", "role": "viewer", "days": 1}'

    def write(*headers: tuple[str, str]) -> int:
        given = (("authorization", f"Bearer {OWNER}"), *headers)
        return wsgi(Request("POST", "/admin/tokens", "", given, body), "admin").status

    own = ("host", "fn.example.com")
    assert {write(), write(("origin", SITE)), write(own, ("origin", "https://fn.example.com"))} == {201}
    assert {write(own, ("origin", "http://fn.example.com")), write(("origin", FRIENDS[1])), write(own, ("origin", "null"))} == {403}


def test_what_a_tick_measures_is_written_down_once_a_minute(sql, turn_clock):
    send("products", an_item())
    process.process()
    first, second = tick.PARTS["measured"](), tick.PARTS["measured"]()
    turn_clock(timedelta(minutes=1))
    third = tick.PARTS["measured"]()
    assert (first > 10, second, third) == (True, 0, first)
    rows: dict[Any, Any] = dict(
        sql(
            "select coalesce(tags ->> 'outcome', tags ->> 'quantile', metric_name), value::text from tds_metrics order by recorded_at"
        )
    )
    assert (rows["applied"], rows["backlog"], rows["success_rate"], rows["dead_letters"]) == ("1", "0", "100.0", "0")
    assert 0 < float(rows["p50"]) <= float(rows["p95"])
