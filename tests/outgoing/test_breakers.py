"""One breaker for every instance: who may call, who probes, what is counted, and who is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from common import db, log
from common.errors import Broken, Suspended, Throttled, Unavailable, Unknown
from common.flows import breakers as flow
from common.outgoing import breakers
from common.outgoing.breakers import guarded
from common.rules.breaker import LEASE
from tests.chaos.processes import eventually
from tests.house.tree import ROOT

MINUTE = timedelta(seconds=60)
NAME = "zoho"
STANDS = "select state, failures, successes, is_probing from tidemark.breakers where name = 'zoho'"
COUNTED = "select successful, failed, rejected, state_changes from tidemark.breakers where name = 'zoho'"
ALERTS = "select alert_type, severity::text, resolved from tds_alerts order by triggered_at"


@pytest.fixture(autouse=True)
def _as_if_started_anew(database_url):
    breakers._known.clear()
    breakers._untold.clear()


def another_instance() -> None:
    """Nothing is remembered from before."""
    breakers._known.clear()


def good(name: str = NAME) -> None:
    with guarded(name):
        pass


def bad(name: str = NAME, error: Exception | None = None) -> None:
    with pytest.raises(Unavailable) as refusal, guarded(name):
        raise error or Unavailable("It answered HTML with status 503.")
    assert not isinstance(refusal.value, Suspended)


def refused(name: str = NAME) -> int:
    """How long it says that one must wait, in seconds."""
    with pytest.raises(Suspended) as refusal, guarded(name):
        pytest.fail("the call was made")
    return refusal.value.retry_after_seconds


def open_it(name: str = NAME) -> None:
    for _ in range(5):
        bad(name)


# When it opens, and when it closes ------------------------------------------------------------------------------------


def test_after_five_failures_in_a_row_nobody_calls_for_a_minute(sql):
    open_it()
    assert refused() == 60
    another_instance()
    assert refused() == 60
    assert sql(STANDS) == [["open", 0, 0, False]]


def test_failures_of_several_instances_are_one_row_of_failures(sql):
    for _ in range(5):
        another_instance()
        bad()
    assert refused() == 60


def test_a_success_in_between_starts_the_row_anew(sql):
    for _ in range(2):
        for _ in range(4):
            bad()
        good()
    assert sql(STANDS) == [["closed", 0, 0, False]]


def test_a_success_of_a_call_that_lasted_longer_than_anything_is_remembered_counts_as_well(sql):
    for _ in range(4):
        bad()
    with guarded(NAME):
        another_instance()  # what was remembered is too old by now
    bad()
    assert sql(STANDS) == [["closed", 1, 0, False]]


def test_what_is_no_trouble_of_the_dependency_does_not_open_it(sql):
    for error in (Throttled(), Broken(), ValueError("a bug of ours"), Throttled()) * 3:
        with pytest.raises(type(error)), guarded(NAME):
            raise error
    breakers.flush()
    assert sql(STANDS) == [["closed", 0, 0, False]]
    assert sql(COUNTED) == [[6, 0, 0, 0]]


def test_two_probes_that_go_well_close_it_and_it_is_called_as_before(sql, turn_clock):
    open_it()
    turn_clock(MINUTE)
    good()
    assert sql(STANDS) == [["half_open", 0, 1, False]]
    good()
    assert sql(STANDS) == [["closed", 0, 0, False]]
    good()


def test_a_probe_that_fails_opens_it_for_another_minute(sql, turn_clock):
    open_it()
    turn_clock(MINUTE)
    good()
    bad()
    assert refused() == 60
    turn_clock(MINUTE)
    good()
    good()
    assert sql(STANDS) == [["closed", 0, 0, False]]


def test_what_is_rarely_called_needs_one_probe(sql, turn_clock):
    open_it("smtp")
    turn_clock(MINUTE)
    good("smtp")
    assert sql("select state from tidemark.breakers where name = 'smtp'") == [["closed"]]


def test_settings_say_how_much_it_takes(sql, turn_clock):
    sql("update tidemark.settings set value = '2' where key = 'breaker.failures'")
    sql("update tidemark.settings set value = '\"7\"' where key = 'breaker.open_seconds'")
    bad()
    bad()
    assert refused() == 7
    sql("update tidemark.settings set value = '0' where key = 'breaker.successes'")  # nonsense is one
    turn_clock(timedelta(seconds=7))
    good()
    assert sql(STANDS) == [["closed", 0, 0, False]]


def test_a_dependency_that_nobody_has_named_before_has_a_breaker_of_its_own(sql):
    open_it("render")
    assert refused("render") == 60
    good()


def test_looking_takes_no_probe_and_no_slot_of_anything(sql, turn_clock):
    breakers.check(NAME)
    open_it()
    with pytest.raises(Suspended):
        breakers.check(NAME)
    turn_clock(MINUTE)
    breakers.check(NAME)
    assert sql(STANDS) == [["open", 0, 0, False]]


# One probe at a time --------------------------------------------------------------------------------------------------


def test_of_many_who_come_when_the_minute_is_over_one_calls(database_url, sql, turn_clock):
    open_it()
    turn_clock(MINUTE)
    together, leave, inside = threading.Barrier(8), threading.Event(), []

    def call(number: int) -> str:
        together.wait()
        try:
            with guarded(NAME):
                inside.append(number)
                leave.wait(10)
        except Suspended as error:
            return f"told to come back in {error.retry_after_seconds}"
        return "called"

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call, number) for number in range(8)]
        eventually(lambda: sum(each.done() for each in calls) == 7, 10, "seven refusals")
        leave.set()
        assert sorted(future.result() for future in calls) == ["called"] + ["told to come back in 5"] * 7
    assert len(inside) == 1
    assert sql(STANDS) == [["half_open", 0, 1, False]]


def test_two_connections_that_ask_for_the_probe_at_the_same_moment_get_one(database_url, sql, turn_clock):
    open_it()
    turn_clock(MINUTE)
    other = db.Connection(db.Address(database_url))
    other.script("begin; select 1 from tidemark.breakers where name = 'zoho' for update")
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(breakers._permit, NAME) for _ in range(2)]
        waiting = (
            "select count(*) from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0"
        )
        eventually(lambda: sql(waiting) == [[2]], 10, "two that wait")
        other.script("commit")
        errors = [future.exception() for future in asked]
    other.close()
    assert sorted(error is None for error in errors) == [False, True]
    assert sql(STANDS) == [["half_open", 0, 0, True]]


@pytest.mark.process
def test_a_probe_whose_process_is_killed_lapses(sql, turn_clock):
    open_it()
    turn_clock(MINUTE)
    code = """
import os, signal
from common.outgoing.breakers import guarded
with guarded("zoho"):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert refused() == 5
    turn_clock(LEASE)
    good()
    assert sql(STANDS) == [["half_open", 0, 1, False]]


@pytest.mark.parametrize("tell", [good, bad], ids=["good", "bad"])
def test_a_probe_that_comes_back_after_its_lease_has_no_say(sql, turn_clock, tell):
    open_it()
    turn_clock(MINUTE)
    late = breakers._permit(NAME)
    turn_clock(LEASE)
    other = breakers._permit(NAME)
    how = breakers._success if tell is good else breakers._failure(Unavailable())
    breakers._told(late, how)
    assert sql(STANDS) == [["half_open", 0, 0, True]]
    breakers._told(other, breakers._success)
    assert sql(STANDS) == [["half_open", 0, 1, False]]


def test_calls_that_were_under_way_when_it_opened_do_not_keep_it_open(sql, turn_clock):
    late = [breakers._permit(NAME) for _ in range(3)]
    open_it()
    turn_clock(timedelta(seconds=40))
    for permit in late:
        breakers._told(permit, breakers._failure(Unavailable("Too late.")))
    assert refused() == 20
    assert sql(COUNTED) == [[0, 8, 1, 1]]  # counted all the same: they did fail


def test_a_reset_during_a_probe_closes_it_whatever_the_probe_finds(sql, turn_clock):
    open_it()
    turn_clock(MINUTE)
    probe = breakers._permit(NAME)
    with log.bound(operator="Ann"):
        flow.reset(NAME)
    breakers._told(probe, breakers._failure(Unavailable()))
    assert sql(STANDS) == [["closed", 0, 0, False]]
    good()


def test_a_probe_that_is_interrupted_makes_room_for_the_next(sql, turn_clock):
    open_it()
    turn_clock(MINUTE)
    for interruption in (Throttled, KeyboardInterrupt):
        with pytest.raises(interruption), guarded(NAME):
            raise interruption
        assert sql(STANDS) == [["half_open", 0, 0, False]]
    good()


def test_what_a_call_says_is_not_lost_when_its_database_is(sql, monkeypatch, capsys):
    def away(*_given, **_more):
        raise Unavailable

    bad()
    with guarded(NAME):
        monkeypatch.setattr(breakers.db, "replayed", away)
    assert "breaker.not_told" in capsys.readouterr().out


# What it costs, and what is counted -----------------------------------------------------------------------------------


def test_while_all_is_well_a_call_costs_no_query(sql, monkeypatch):
    good()
    asked = []
    real = db.transaction
    monkeypatch.setattr(breakers.db, "transaction", lambda *given, **more: asked.append(1) or real(*given, **more))
    for _ in range(100):
        good()
    assert asked == []
    breakers._known[NAME] = breakers._known[NAME]._replace(until=0.0)  # a second later
    good()
    assert asked == [1]
    breakers.flush()
    assert sql(COUNTED) == [[102, 0, 0, 0]]


def test_a_closed_state_is_not_believed_for_more_than_a_second(sql):
    good()
    sql("update tidemark.breakers set state = 'open', token = 1, opened_at = app_now(), next_probe_at = app_now() + interval '1 m'")
    good()
    breakers._known[NAME] = breakers._known[NAME]._replace(until=0.0)
    assert refused() == 60
    assert breakers.REMEMBERED <= 1


def test_everything_that_is_shown_is_what_happened(sql, turn_clock):
    for _ in range(3):
        good()
    open_it()
    for _ in range(4):
        refused()
    turn_clock(MINUTE)
    good()
    good()
    breakers.flush()
    shown = next(each for each in flow.listed()["circuit_breakers"] if each["name"] == NAME)
    assert shown["statistics"] == {"total": 14, "successful": 5, "failed": 5, "rejected": 4, "state_changes": 3}
    assert (shown["state"], shown["last_failure"]) == ("closed", "It answered HTML with status 503.")
    assert sql("select tidemark.total('breaker_opened')") == [[1]]


def test_a_secret_in_a_failure_is_not_kept(sql, capsys):
    log.protect("1000.a-secret-of-somebody")
    for _ in range(5):
        bad(error=Unavailable("The token 1000.a-secret-of-somebody did not help."))
    kept = str(sql("select b::text from tidemark.breakers b")) + str(sql("select a::text from tds_alerts a"))
    assert "1000.a-secret-of-somebody" not in kept + capsys.readouterr().out
    assert "[redacted]" in kept


# Who is told ----------------------------------------------------------------------------------------------------------


def test_an_alert_is_open_as_long_as_it_is_not_closed(sql, turn_clock):
    for _ in range(4):
        bad()
    assert sql(ALERTS) == []
    bad()
    assert sql(ALERTS) == [["breaker_open:zoho", "warning", False]]
    open_it("smtp")
    turn_clock(timedelta(minutes=16))
    bad()  # the probe, a quarter of an hour later: this is no hiccup
    assert sql(ALERTS) == [["breaker_open:zoho", "error", False], ["breaker_open:smtp", "warning", False]]
    turn_clock(MINUTE)
    good()
    good()
    assert sql(ALERTS) == [["breaker_open:zoho", "error", True], ["breaker_open:smtp", "warning", False]]


def test_a_breaker_that_nobody_probes_is_told_of_until_somebody_does(sql, turn_clock):
    open_it()
    turn_clock(timedelta(minutes=90))
    assert flow.probe_due() == 0
    turn_clock(timedelta(minutes=2))
    assert [flow.probe_due(), flow.probe_due()] == [1, 1]
    assert sql(ALERTS) == [["breaker_open:zoho", "error", False]]
    good()
    assert flow.probe_due() == 0
    good()
    assert sql(ALERTS) == [["breaker_open:zoho", "error", True]]


# By hand --------------------------------------------------------------------------------------------------------------


def test_a_reset_lets_everybody_through_and_says_who_did_it(sql, capsys):
    open_it()
    with log.bound(operator="Ann"):
        assert flow.reset(NAME)["state"] == "closed"
    good()
    assert sql("select reset_by, reset_at is not null, state_changes from tidemark.breakers where name = 'zoho'") == [
        ["Ann", True, 2]
    ]
    assert sql(ALERTS) == [["breaker_open:zoho", "warning", True]]
    assert '"message":"breaker.reset"' in capsys.readouterr().out


def test_a_breaker_that_there_is_not_cannot_be_reset(database_url):
    with pytest.raises(Unknown), log.bound(operator="Ann"):
        flow.reset("unicorns")
