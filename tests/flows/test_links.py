"""Dependencies are looked at at the same time, within one limit, and judged by what is there; what is not known is unknown."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest

from common import db, settings
from common.errors import Unavailable, Unknown
from common.flows import heal, links, plan_status, seal, tick, work
from common.rules import links as rules
from common.rules.links import LINKS, ORIGINAL, Found, Status
from tests import horizon
from tests.flows.test_bus import read
from tests.kinds import a_stage, submit

WELL, BAD, GONE = Found(Status.HEALTHY), Found(Status.DEGRADED, "why"), Found(Status.DOWN, "why")


def statuses() -> dict[str, str]:
    horizon.passed()
    return {name: str(each.status) for name, each in links.look().items()}


def degraded() -> list[tuple[str, str, str | None]]:
    found = [event["payload"] for event in read(topic="hxo.alert", limit=200)["events"]]
    return [(each["link"], each["status"], each["was"]) for each in found if each["type"] == "federation.degraded"]


def all_as(monkeypatch, **found: Found) -> None:
    """Everything is well but what is given."""
    for name, each in (dict.fromkeys(LINKS, WELL) | found).items():
        monkeypatch.setitem(links.CHECKS, name, lambda _, each=each: each)


# What there is --------------------------------------------------------------------------------------------------------


def test_the_nine_links_of_the_origin_are_there_and_three_more():
    assert ORIGINAL == ("autonomy", "blueprint", "truth", "cascade", "federation", "parser", "leviathan", "arie", "envrecon")
    assert set(LINKS) - set(ORIGINAL) == {"database", "source", "queue"}
    assert links.CHECKS.keys() == LINKS.keys()
    assert all(name in (rules.__doc__ or "") for name in LINKS)


def test_one_link_says_what_it_is_and_what_is_lost_without_it(sql):
    found = links.health_of("database")
    assert (found["link"], found["status"], found["critical"]) == ("database", "healthy", True)
    assert found["what"]
    assert found["without"]
    with pytest.raises(Unknown) as error:
        links.health_of("engine")
    assert error.value.fields["links"] == list(LINKS)


def test_a_new_installation_knows_little_and_says_so(sql):
    found = statuses()
    assert {name for name, status in found.items() if status == "unknown"} == {
        "autonomy", "cascade", "parser", "leviathan", "arie", "envrecon", "source",
    }  # fmt: skip
    assert {name for name, status in found.items() if status == "healthy"} == {
        "blueprint",
        "truth",
        "federation",
        "database",
        "queue",
    }


def test_the_whole_has_every_link_and_the_limit(sql, configured):
    configured(HXO_FEDERATION_TIMEOUT="1234")
    found = links.health_of_all()
    assert found["links"].keys() == LINKS.keys()
    assert (found["status"], found["timeout_ms"]) == ("healthy", 1234)


# Each of them, made ill -------------------------------------------------------------------------------------------------


def test_autonomy_is_as_old_as_the_last_healing_pass(sql, turn_clock):
    heal.heal()
    assert statuses()["autonomy"] == "healthy"
    turn_clock(timedelta(minutes=31))
    assert statuses()["autonomy"] == "degraded"
    turn_clock(timedelta(minutes=31))
    assert statuses()["autonomy"] == "down"


def test_blueprint_is_down_when_the_schema_is_older_than_the_code_and_degraded_when_it_is_newer(sql, monkeypatch):
    real = links.migrate.wanted_version()
    monkeypatch.setattr(links.migrate, "wanted_version", lambda: real + 1)
    assert statuses()["blueprint"] == "down"
    monkeypatch.setattr(links.migrate, "wanted_version", lambda: real - 1)
    assert statuses()["blueprint"] == "degraded"


def test_truth_is_behind_while_plans_that_are_over_are_not_sealed(sql, trial, turn_clock):
    plan = submit(a_stage(shards=2))
    work.work()
    sql("update tidemark.plans set root = null")
    turn_clock(timedelta(minutes=6))
    assert statuses()["truth"] == "degraded"
    turn_clock(timedelta(hours=1))
    assert statuses()["truth"] == "down"
    seal.seal(plan)
    assert statuses()["truth"] == "healthy"


def a_breaker(sql, name: str, state: str, at: str) -> None:
    """One of a dependency that was called."""
    sql(
        f"insert into tidemark.breakers (name, state, opened_at, next_probe_at, successful) values ('{name}', '{state}', {at}, {at}, 1)"
        " on conflict (name) do update set state = excluded.state, opened_at = excluded.opened_at, successful = 1,"
        " next_probe_at = excluded.next_probe_at"
    )


@pytest.mark.parametrize(
    ("states", "status"), [("ccc", "healthy"), ("co", "degraded"), ("h", "degraded"), ("oo", "down"), ("", "unknown")]
)
def test_cascade_is_what_the_breakers_of_the_providers_say(states, status, sql, monkeypatch):
    monkeypatch.setattr(links.targets, "providers", lambda: ("render", "netlify", "github"))
    named = {"c": ("closed", "null"), "o": ("open", "app_now()"), "h": ("half_open", "app_now()")}
    a_breaker(sql, "smtp", *named["o"])
    for name, state in zip(("render", "netlify", "github"), states, strict=False):
        a_breaker(sql, name, *named[state])
    assert statuses()["cascade"] == status


def test_federation_is_degraded_by_one_subscriber_that_takes_nothing_and_down_when_none_does(sql):
    add = "insert into tidemark.subscriptions (topics, url, xid, seq, created_by, last_error) values ('[\"*\"]', 'https://example.com', '0', 0, 'x', {})"
    sql(add.format("'no'"))
    assert statuses()["federation"] == "down"
    sql(add.format("null"))
    assert statuses()["federation"] == "degraded"
    sql("update tidemark.subscriptions set last_error = null")
    assert statuses()["federation"] == "healthy"


def test_federation_is_degraded_while_a_long_transaction_holds_notices_back(sql, turn_clock):
    with db.transaction("worker") as slow:
        slow.statement("select pg_current_xact_id()", {})
        sql("insert into tidemark.notices (topic, source, kind, payload) values ('hxo.audit', 'x', 'fact', '{}')")
        turn_clock(timedelta(minutes=2))
        assert statuses()["federation"] == "degraded"
    assert statuses()["federation"] == "healthy"


@pytest.mark.parametrize(
    ("quarantined", "received", "status"),
    [(0, 100, "healthy"), (4, 100, "healthy"), (5, 100, "degraded"), (60, 100, "down"), (3, 5, "healthy"), (0, 0, "unknown")],
)
def test_parser_is_judged_by_the_share_that_could_not_be_read(quarantined, received, status, sql):
    sql(f"insert into tidemark.deltas (name, amount) values ('received', {received}), ('quarantined', {quarantined})")
    assert statuses()["parser"] == status


def test_leviathan_is_as_old_as_what_it_forecasts_from_and_unknown_when_it_is_switched_off(sql, turn_clock, configured):
    sql(
        "insert into tidemark.signals (name, minute, arrivals, completions) values ('queue', date_trunc('minute', app_now()), 1, 1)"
    )
    assert statuses()["leviathan"] == "healthy"
    turn_clock(timedelta(minutes=20))
    assert statuses()["leviathan"] == "degraded"
    turn_clock(timedelta(hours=1))
    assert statuses()["leviathan"] == "down"
    configured(HXO_PREDICTIVE_MODE="false")
    assert statuses()["leviathan"] == "unknown"


@pytest.mark.parametrize(("worst", "status"), [("critical", "degraded"), ("high", "degraded"), ("low", "healthy")])
def test_arie_is_what_the_last_scan_found(worst, status, sql):
    sql(
        "insert into tidemark.arie_runs (id, policy, dry_run, source, requested_by, summary) values"
        " (gen_random_uuid(), 'LINT_ONLY', true, '/', 'x', cast(:summary as jsonb))",
        summary=json.dumps({"findings_by_severity": {worst: 2}}),
    )
    assert statuses()["arie"] == status


def test_envrecon_is_how_the_last_comparison_ended_and_unknown_after_a_day(sql, turn_clock):
    links.report_configurations("drifted", "render lacks SECRET_KEY")
    assert links.look(["envrecon"])["envrecon"] == Found(Status.DEGRADED, "render lacks SECRET_KEY")
    links.report_configurations("same", "")
    assert statuses()["envrecon"] == "healthy"
    turn_clock(timedelta(days=1, minutes=1))
    assert statuses()["envrecon"] == "unknown"


def test_source_is_unknown_without_credentials_and_otherwise_what_its_breakers_say(sql, configured):
    configured(ZOHO_CLIENT_ID="a", ZOHO_CLIENT_SECRET="a-secret-of-tests", ZOHO_REFRESH_TOKEN="a-token-of-tests")
    assert statuses()["source"] == "unknown"
    a_breaker(sql, "zoho", "closed", "null")
    assert statuses()["source"] == "healthy"
    a_breaker(sql, "zoho", "open", "app_now()")
    assert statuses()["source"] == "down"


def test_queue_is_judged_by_how_long_an_event_has_been_ready(sql, turn_clock):
    sql("insert into tidemark.ready_events (id, rank) values (gen_random_uuid(), app_now())")
    assert statuses()["queue"] == "healthy"
    turn_clock(timedelta(minutes=6))
    assert statuses()["queue"] == "degraded"
    turn_clock(timedelta(minutes=30))
    assert statuses()["queue"] == "down"


# Time -----------------------------------------------------------------------------------------------------------------------


def test_a_table_that_is_locked_makes_its_link_down_within_the_limit_and_no_other(sql, configured):
    configured(HXO_FEDERATION_TIMEOUT="700")
    before = statuses()
    with db.transaction() as other:
        other.script("lock table tidemark.heartbeats in access exclusive mode")
        began = time.monotonic()
        during = statuses()
        took = time.monotonic() - began
    assert took < 0.9
    assert during == before | {"autonomy": "down"}
    assert statuses() == before


def test_a_check_that_never_answers_is_down_within_the_limit(sql, configured, monkeypatch):
    configured(HXO_FEDERATION_TIMEOUT="300")
    monkeypatch.setitem(links.CHECKS, "source", lambda _: time.sleep(2) or WELL)
    began = time.monotonic()
    found = links.look()
    assert time.monotonic() - began < 0.6
    assert found["source"] == Found(Status.DOWN, "it did not answer within 0.3 s")
    assert found["database"].status is Status.HEALTHY


def test_where_as_many_hang_as_are_asked_at_once_the_rest_is_unknown_and_not_down(sql, configured, monkeypatch):
    configured(HXO_FEDERATION_TIMEOUT="300")
    for name in list(LINKS)[: links.AT_ONCE]:
        monkeypatch.setitem(links.CHECKS, name, lambda _: time.sleep(2) or WELL)
    found = links.look()
    assert [found[name].status for name in LINKS] == ["down"] * links.AT_ONCE + ["unknown"] * (len(LINKS) - links.AT_ONCE)


def test_a_check_that_breaks_is_unknown_and_one_that_is_unavailable_is_down(sql, monkeypatch):
    def broken(_: float) -> Found:
        raise ZeroDivisionError

    def away(_: float) -> Found:
        raise Unavailable("gone")  # noqa: EM101

    monkeypatch.setitem(links.CHECKS, "source", broken)
    monkeypatch.setitem(links.CHECKS, "queue", away)
    found = links.look()
    assert (found["source"].status, found["queue"]) == (Status.UNKNOWN, Found(Status.DOWN, "gone"))


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({}, "healthy"),
        ({"arie": Found(Status.UNKNOWN)}, "healthy"),
        ({"arie": BAD}, "degraded"),
        ({"arie": GONE}, "degraded"),
        ({"database": GONE}, "down"),
        ({"database": BAD}, "degraded"),
        ({"database": Found(Status.UNKNOWN)}, "unknown"),
    ],
)
def test_the_whole_is_down_with_a_critical_link_and_unknown_is_not_healthy(found, status):
    assert rules.overall(dict.fromkeys(LINKS, WELL) | found) == status


# Telling --------------------------------------------------------------------------------------------------------------------


def test_a_link_that_becomes_worse_is_told_once_and_again_when_it_falls_further_or_anew(sql, monkeypatch):
    for found in (WELL, BAD, BAD, GONE, GONE, BAD, WELL, WELL, BAD):
        all_as(monkeypatch, source=found)
        links.watch()
    assert degraded() == [
        ("source", "degraded", "healthy"),
        ("source", "down", "degraded"),
        ("source", "degraded", "healthy"),
    ]


def test_what_is_not_known_is_not_told(sql, monkeypatch):
    all_as(monkeypatch, arie=Found(Status.UNKNOWN, "never"))
    links.watch()
    assert degraded() == []


def test_tick_keeps_what_it_found_and_status_shows_it_until_it_is_stale(sql, monkeypatch, turn_clock):
    assert set(plan_status.overview()["engine_health"].values()) == {"unknown"}
    all_as(monkeypatch, cascade=BAD)
    assert tick.tick().worse == 1
    assert tick.tick().worse == 0
    shown = plan_status.overview()["engine_health"]
    assert tuple(shown) == ORIGINAL
    assert {name for name, status in shown.items() if status != "healthy"} == {"cascade"}
    assert shown["cascade"] == "degraded"
    turn_clock(timedelta(seconds=rules.STALE_SECONDS + 1))
    assert set(plan_status.overview()["engine_health"].values()) == {"unknown"}


def test_since_when_a_link_is_as_it_is_stays_while_it_is(sql, monkeypatch, turn_clock):
    all_as(monkeypatch, source=BAD)
    links.watch()
    since = sql("select since from tidemark.links where name = 'source'")
    turn_clock(timedelta(minutes=1))
    links.watch()
    assert sql("select since from tidemark.links where name = 'source'") == since
    assert sql("select checked_at > since from tidemark.links where name = 'source'") == [[True]]


def test_a_look_takes_no_longer_than_its_slowest_check(sql):
    began = time.monotonic()
    links.look()
    assert time.monotonic() - began < settings.load().hxo_federation_timeout.total_seconds()
