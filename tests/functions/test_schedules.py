"""Schedules and their fires over HTTP. The numbers in the ids are those of the list of bad inputs that the project keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from common import settings
from common.errors import Invalid
from common.flows import fires, tick
from common.rules import schedules as rules
from common.rules.http import Request
from deploy.local import gateway
from tests.conftest import OWNER
from tests.functions.shells import Reply, keeps_the_promises_of_a_refusal, wsgi
from tests.make import a_ring

Sql = Callable[..., list[list[Any]]]
NEW = {"name": "mine", "cron": "0 2 * * *", "time_zone": "Europe/Berlin", "function": "heal"}
JOBS = "/api/tds/monitoring/scheduler/jobs"

pytestmark = pytest.mark.usefixtures("database_url")


def ask(method: str, path: str, body: Any = None, token: str = OWNER) -> Reply:
    path, _, query = path.partition("?")
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {token}"} | (
        {"tidemark-token": a_ring(path[7:], sent)["tidemark-token"]} if path.startswith("/tasks/") else {}
    )
    return wsgi(Request(method, path, query, tuple(headers.items()), sent), gateway.target_of(method, path))


def task(body: Any, function: str = "heal") -> Reply:
    return ask("POST", f"/tasks/{function}", body, settings.load().task_key)


def pointers(reply: Reply) -> list[str]:
    assert keeps_the_promises_of_a_refusal(reply)
    return [error["pointer"] for error in reply.json["errors"]]


# What is refused ---------------------------------------------------------------------------------------------------

FIELDS: dict[str, tuple[str, Any]] = {
    "77 six fields": ("cron", "* * * * * *"),
    "77 a minute that no hour has": ("cron", "61 * * * *"),
    "77 @reboot": ("cron", "@reboot"),
    "77 four kilobytes": ("cron", "*" + ",*" * 2048 + " * * * *"),
    "77 chance": ("cron", "R R * * *"),
    "78 the 30th of February": ("cron", "0 0 30 2 *"),
    "79 a zone on Mars": ("time_zone", "Mars/Olympus"),
    "79 a path": ("time_zone", "../../etc"),
    "79 an absolute path": ("time_zone", "/etc/passwd"),
    "81 day zero": ("starts_at", "0000-00-00"),
    "81 the year 10000": ("ends_at", "10000-01-01T00:00:00Z"),
    "87 a field that there is not": ("owner", "me"),
    "88 a text for a number": ("catch_up_limit", "5"),
    "88 a list for an object": ("arguments", []),
    "88 a number for a text": ("cron", 5),
    "a function that answers no fire": ("function", "tick"),
    "a name that is a path": ("name", "../mine"),
    "a name with markup": ("name", "<img src=x onerror=alert(1)>"),
}


@pytest.mark.parametrize("bad", FIELDS)
def test_a_schedule_that_cannot_be_is_refused_with_a_pointer(bad):
    field, value = FIELDS[bad]
    reply = ask("POST", "/api/schedules", NEW | {field: value})
    assert (reply.status, pointers(reply)) == (422, [f"/{field}"])
    if field != "name":
        reply = ask("PATCH", "/api/schedules/auto_healing", {field: value})
        assert (reply.status, pointers(reply)) == (422, [f"/{field}"])


def test_every_fault_of_a_schedule_is_named_at_once():
    reply = ask("POST", "/api/schedules", {"cron": "61 * * * *", "time_zone": "Mars/Olympus", "other": 1})
    assert sorted(pointers(reply)) == ["/cron", "/function", "/name", "/other", "/time_zone"]


BACKFILLS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "80 a hundred years": ({"from": "1926-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, ["/from"]),
    "81 the end before the start": ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, ["/to"]),
    "81 day zero": ({"from": "0000-00-00", "to": "2026-01-01T00:00:00Z"}, ["/from"]),
    "81 the year 10000": ({"from": "2026-01-01T00:00:00Z", "to": "10000-01-01T00:00:00Z"}, ["/to"]),
    "the future": ({"from": "2026-01-01T00:00:00Z", "to": "2199-01-01T00:00:00Z"}, ["/to"]),
    "nothing": ({}, ["/from", "/to"]),
    "88 numbers": ({"from": 1, "to": True}, ["/from", "/to"]),
    "88 a text for a truth": ({"from": "2026-01-01", "to": "2026-01-02", "dry_run": "yes"}, ["/dry_run"]),
    "87 a field that there is not": ({"from": "2026-01-01", "to": "2026-01-02", "force": True}, ["/force"]),
}


@pytest.mark.parametrize("bad", BACKFILLS)
def test_a_backfill_that_cannot_be_is_refused_with_a_pointer(bad, sql: Sql):
    sql("update tidemark.schedules set cron = '* * * * *' where name = 'auto_healing'")
    body, expected = BACKFILLS[bad]
    reply = ask("POST", "/api/schedules/auto_healing/backfill", body)
    assert (reply.status, pointers(reply)) == (422, expected)
    assert sql("select count(*) from tidemark.fires") == [[0]]


def test_a_backfill_of_too_many_slots_says_how_many(sql: Sql):
    sql("update tidemark.schedules set cron = '* * * * *' where name = 'auto_healing'")
    reply = ask("POST", "/api/schedules/auto_healing/backfill", BACKFILLS["80 a hundred years"][0])
    assert reply.json["count"] == 36525 * 1440 + 1
    assert str(36525 * 1440 + 1) in reply.json["detail"]


@pytest.mark.parametrize("number", ["0", "-1", "101", "1e9", "abc", "", "٣"])
def test_50_a_preview_of_an_odd_number_is_refused(number):
    reply = ask("GET", f"/api/schedules/auto_healing/preview?next={number}")
    assert (reply.status, pointers(reply)) == (422, ["next"])


@pytest.mark.parametrize(
    ("query", "pointer"), [("state=gone", "state"), ("limit=0", "limit"), ("before=soon", "/before"), ("state=due;drop", "state")]
)
def test_49_an_odd_question_about_fires_is_refused(query, pointer):
    reply = ask("GET", f"/api/schedules/auto_healing/fires?{query}")
    assert (reply.status, pointers(reply)) == (422, [pointer])


@pytest.mark.parametrize(
    ("method", "verb"),
    [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/preview"), ("GET", "/fires")]
    + [("POST", verb) for verb in ("/run", "/pause", "/resume")],
)
def test_a_schedule_that_there_is_not_is_not_found(method, verb):
    for name in ("nobody", "%00", "x" * 200):
        reply = ask(method, f"/api/schedules/{name}{verb}", {} if method != "GET" else None)
        assert reply.status in ({404} if name != "%00" else {400, 404})
        assert keeps_the_promises_of_a_refusal(reply)


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"{", b"\xff", b'{"cron": NaN}', b"[" * 100_000, b'{"name": "\\u0000"}', b'{"name": "\\ud800"}']
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/schedules"), ("PATCH", "/api/schedules/auto_healing"), ("POST", "/api/schedules/auto_healing/pause")],
)
def test_a_body_that_is_no_object_is_refused(method, path, body):
    reply = ask(method, path, body)
    assert reply.status in {400, 422}
    assert keeps_the_promises_of_a_refusal(reply)


def test_text_that_postgres_has_no_form_for_is_refused():
    assert ask("POST", "/api/schedules", NEW | {"arguments": {"a": "\x00"}}).status == 422
    assert ask("POST", "/api/schedules/auto_healing/pause", {"reason": "\x00"}).status == 422
    assert ask("POST", "/api/schedules/auto_healing/pause", {"reason": "\ud800"}).status == 422


# What is done ------------------------------------------------------------------------------------------------------


def test_a_schedule_is_made_changed_and_deleted():
    made = ask("POST", "/api/schedules", NEW)
    assert (made.status, made.json["next_run"] is not None, made.json["created_by"]) == (201, True, "admiral")
    assert ask("POST", "/api/schedules", NEW).status == 409
    assert ask("GET", "/api/schedules/mine").json == made.json
    changed = ask("PATCH", "/api/schedules/mine", {"cron": "@Hourly", "version": 1}).json
    assert (changed["cron"], changed["version"], changed["function"]) == ("@hourly", 2, "heal")
    stale = ask("PATCH", "/api/schedules/mine", {"cron": "@daily", "version": 1})
    assert (stale.status, stale.json["version"]) == (409, 2)
    assert ask("PATCH", "/api/schedules/mine", {"name": "yours"}).status == 422
    assert ask("DELETE", "/api/schedules/mine").status == 200
    assert ask("GET", "/api/schedules/mine").status == 404


def test_a_seeded_schedule_is_not_deleted_as_it_would_come_back():
    assert ask("DELETE", "/api/schedules/auto_healing").status == 409
    assert ask("GET", "/api/schedules/auto_healing").status == 200


def test_schedules_are_listed_in_pages():
    first = ask("GET", "/api/schedules?limit=3").json
    second = ask("GET", f"/api/schedules?limit=3&after={first['next']}").json
    assert [each["name"] for each in first["schedules"] + second["schedules"]] == [
        "auto_healing", "daily_full_sync", "daily_statistics", "hourly_incremental_sync", "stock_sync_15min",
    ]  # fmt: skip
    assert (first["total"], second["count"], second["next"]) == (5, 2, None)


def test_a_preview_shows_the_wall_and_what_a_change_of_the_clock_does():
    ask("POST", "/api/schedules", NEW | {"cron": "30 2 25 10 *", "starts_at": "2026-12-01"})
    shown = ask("GET", "/api/schedules/mine/preview?next=100").json
    assert shown["count"] == 100
    assert shown["slots"][0] == {
        "at": "2027-10-25T00:30:00Z",
        "wall": "2027-10-25T02:30:00+02:00",
        "meant": "2027-10-25T02:30:00",
        "edge": None,
    }
    repeated = [each for each in shown["slots"] if each["edge"]]
    assert repeated[0]["at"] == "2037-10-25T00:30:00Z"
    assert {each["edge"] for each in repeated} == {"repeated_hour"}
    ask("PATCH", "/api/schedules/mine", {"cron": "30 2 28 3 *"})
    skipped = next(each for each in ask("GET", "/api/schedules/mine/preview?next=100").json["slots"] if each["edge"])
    assert skipped == {
        "at": "2027-03-28T01:00:00Z",
        "wall": "2027-03-28T03:00:00+02:00",
        "meant": "2027-03-28T02:30:00",
        "edge": "skipped_hour",
    }


def test_a_schedule_is_paused_run_and_resumed():
    paused = ask("POST", "/api/schedules/auto_healing/pause", {"reason": "stocktaking"}).json
    assert (paused["paused"], paused["paused_by"], paused["pause_reason"]) == (True, "admiral", "stocktaking")
    run = ask("POST", "/api/schedules/auto_healing/run")
    assert run.status == 202
    assert ask("POST", "/api/schedules/auto_healing/run").status == 409  # it may not overlap
    listed = ask("GET", "/api/schedules/auto_healing/fires").json["fires"]
    assert [(each["kind"], each["state"], each["requested_by"]) for each in listed] == [("manual", "due", "admiral")]
    assert ask("POST", "/api/schedules/auto_healing/resume").json["paused"] is False


def test_the_five_seeded_jobs_are_listed_with_what_is_known_of_them():
    for number in range(3):
        ask("POST", "/api/schedules", NEW | {"name": f"a{number}"})
    before = ask("GET", JOBS).json
    assert (before["count"], before["total"], before["scheduler_running"]) == (8, 8, False)
    assert [job["id"] for job in before["jobs"]][:5] == [
        "auto_healing", "daily_full_sync", "daily_statistics", "hourly_incremental_sync", "stock_sync_15min",
    ]  # fmt: skip
    tick.tick()
    after = ask("GET", JOBS).json
    assert after["scheduler_running"] is True
    job = after["jobs"][0]
    assert (job["name"], job["trigger"], job["paused"], job["success_rate"], job["missed"], job["last_run"]) == (
        "auto_healing", "cron[*/15 * * * *]", False, None, 0, None,
    )  # fmt: skip
    assert job["next_run"].endswith("Z")


def test_a_healing_pass_answers_its_fire_once_and_then_says_so():
    slot = ask("POST", "/api/schedules/auto_healing/run").json["slot"]
    body = {"schedule": "auto_healing", "slot": slot}
    first, second = task(body), task(body)
    assert (first.status, first.json["stuck_tasks_recovered"]) == (200, 0)
    assert (second.status, second.json["begun"]) == (200, False)
    assert ask("GET", JOBS).json["jobs"][0]["success_rate"] == 100.0


def test_a_healing_pass_may_be_run_by_hand():
    reply = task({})
    assert (reply.status, reply.json.keys()) == (
        200,
        {"stuck_tasks_recovered", "dlq_items_retried", "alerts_created", "timestamp", "healers"},
    )
    assert task(None).status == 200
    assert ask("GET", JOBS).json["jobs"][0]["success_rate"] is None


def test_processing_answers_a_fire():
    ask("POST", "/api/schedules", NEW | {"function": "process"})
    slot = ask("POST", "/api/schedules/mine/run").json["slot"]
    assert task({"schedule": "mine", "slot": slot}, "process").json["batches"] == 0
    assert [each["state"] for each in ask("GET", "/api/schedules/mine/fires").json["fires"]] == ["done"]


@pytest.mark.parametrize(
    "body",
    [{"schedule": "auto_healing"}, {"slot": "2026-01-01T00:00:00Z"}, {"schedule": 5, "slot": 5}, {"schedule": "a", "slot": "soon"}],
)
def test_a_task_that_is_half_a_fire_is_refused(body):
    reply = task(body)
    assert (reply.status, len(pointers(reply))) == (422, 1)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"{}", b'{"schedule": "mine"}'])
def test_a_task_that_only_schedules_send_must_name_its_fire(body):
    with pytest.raises(Invalid):
        fires.fire_of(body)
    assert fires.fire_of(b'{"schedule": "mine", "slot": "2026-01-01T00:00:00Z"}') == ("mine", datetime(2026, 1, 1, tzinfo=UTC))


def test_a_fire_that_there_is_not_is_answered_so_that_nobody_tries_again():
    assert task({"schedule": "nobody", "slot": "2026-01-01T00:00:00Z"}).json["begun"] is False


def test_a_schedule_names_only_tasks_that_answer_a_fire_and_all_of_them():
    tasks = {
        name for name, function in gateway.deployables().items() if any("httpApi" not in event for event in function["events"])
    }
    assert set(rules.FUNCTIONS) <= tasks
    assert tasks - set(rules.FUNCTIONS) <= {"tick", "shards"}  # nothing would answer: one fires, the other is rung by plans
