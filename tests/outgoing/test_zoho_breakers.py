"""What of Zoho's answers opens its breakers, and what an open one saves."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from common import entities
from common.clients import zoho as client
from common.errors import AppError, SourceRefused, Suspended, Throttled, Unavailable
from common.outgoing import breakers, calls, tokens
from common.rules.urgency import Urgency
from deploy.local.zoho import StandIn
from tests.make import connection

MINUTE = timedelta(seconds=60)


@pytest.fixture
def zoho(configured, sql):
    sql("update tidemark.settings set value = '1000000' where key in ('zoho.calls_per_minute', 'zoho.calls_per_day')")
    sql("update tidemark.settings set value = '100000' where key = 'zoho.burst'")
    with StandIn(sizes={"user": 4}) as standing:
        standing.limits.off()
        configured(**connection(standing))
        yield standing
        calls.close()


def read() -> int:
    page = client.page(
        entities.by_label()["user"], 1, since=None, urgency=Urgency.INTERACTIVE, until=time.monotonic() + 2
    )  # fmt: skip
    return len(page.ids)


def fail(times: int, kind: type[AppError]) -> None:
    for _ in range(times):
        with pytest.raises(kind) as refusal:
            read()
        assert not isinstance(refusal.value, Suspended)


def asked(zoho, path: str = "/users") -> int:
    return len([call for call in zoho.calls if path in call.path])


@pytest.mark.parametrize("fault", ["unavailable", "error", "failing", "truncated", "cut", "down"])
def test_trouble_of_the_source_opens_its_breaker_and_nobody_calls(zoho, sql, fault):
    read()
    zoho.faults.add(fault, path="/users")
    fail(5, Unavailable)
    before = asked(zoho), sql("select used from tidemark.source_limits")
    with pytest.raises(Suspended) as refusal:
        read()
    assert refusal.value.retry_after_seconds == 60
    assert (asked(zoho), sql("select used from tidemark.source_limits")) == before  # nor is a slot spent


def test_an_answer_that_does_not_come_in_time_is_trouble(zoho, sql, monkeypatch):
    read()
    monkeypatch.setattr("common.outgoing.zoho.Call", lambda *given: calls.Call(*given, seconds=0.05))
    zoho.faults.add("slow", path="/users", value=30.0)
    fail(5, Unavailable)
    assert sql("select state from tidemark.breakers where name = 'zoho'") == [["open"]]


@pytest.mark.parametrize(("fault", "kind"), [("minute", Throttled), ("daily", Throttled), ("unauthorized", SourceRefused)])
def test_being_too_many_or_not_allowed_is_no_trouble_of_the_source(zoho, sql, turn_clock, fault, kind):
    zoho.faults.add(fault, path="/users")
    for _ in range(7):
        fail(1, kind)
        sql("update tidemark.source_limits set blocked_until = '-infinity'")
        turn_clock(timedelta(minutes=10))
        tokens._known.clear()
    assert sql("select distinct state from tidemark.breakers") == [["closed"]]


def test_it_is_probed_once_a_minute_and_two_that_go_well_let_everybody_through(zoho, sql, turn_clock):
    zoho.faults.add("unavailable", path="/users")
    fail(5, Unavailable)
    for _ in range(3):
        turn_clock(MINUTE)
        fail(1, Unavailable)
    assert asked(zoho) == 8
    zoho.faults.clear()
    turn_clock(MINUTE)
    assert [read(), read(), read()] == [4, 4, 4]
    assert sql("select state from tidemark.breakers where name = 'zoho'") == [["closed"]]


def test_a_source_without_a_slot_opens_no_breaker_and_loses_no_probe(zoho, sql, turn_clock):
    zoho.faults.add("unavailable", path="/users")
    fail(5, Unavailable)
    zoho.faults.clear()
    turn_clock(MINUTE)
    sql("update tidemark.source_limits set blocked_until = clock_timestamp() + interval '1 hour'")
    fail(1, Throttled)
    assert sql("select state, is_probing from tidemark.breakers where name = 'zoho'") == [["open", False]]
    sql("update tidemark.source_limits set blocked_until = '-infinity'")
    assert read() == 4


# The accounts server has a breaker of its own --------------------------------------------------------------------------


def test_an_accounts_server_that_is_down_is_not_asked_by_everybody(zoho, sql, turn_clock):
    zoho.faults.add("unavailable", path="/oauth")
    for _ in range(5):
        fail(1, Unavailable)
        turn_clock(timedelta(seconds=11))  # the pause after a refresh that failed
    for _ in range(3):
        with pytest.raises(Suspended):
            read()
    assert (asked(zoho, "/oauth"), asked(zoho)) == (5, 0)
    assert sql("select name from tidemark.breakers where state <> 'closed'") == [["zoho_accounts"]]
    zoho.faults.clear()
    turn_clock(MINUTE)
    assert read() == 4
    assert sql("select distinct state from tidemark.breakers") == [["closed"]]


def test_a_token_that_still_counts_is_used_while_the_accounts_server_is_down(zoho, sql, turn_clock):
    read()
    sql("update tidemark.breakers set state = 'open', opened_at = app_now(), next_probe_at = app_now() + interval '1 hour'"
        " where name = 'zoho_accounts'")  # fmt: skip
    turn_clock(timedelta(minutes=56))  # about to end, so that it would be refreshed
    tokens._known.clear()
    breakers._known.clear()
    assert read() == 4
    assert asked(zoho, "/oauth") == 1


def test_credentials_that_are_refused_are_no_trouble_of_the_accounts_server(zoho, sql, configured, turn_clock):
    configured(ZOHO_REFRESH_TOKEN="1000.another-one")
    for _ in range(6):
        fail(1, SourceRefused)
        turn_clock(timedelta(minutes=11))
    assert sql("select distinct state from tidemark.breakers") == [["closed"]]
