"""One access token for everybody: who refreshes it, who waits, who goes on with the old one, and how often at most."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from common import db, log
from common.errors import Broken, SourceRefused, Throttled, Unavailable
from common.outgoing import tokens
from common.outgoing.tokens import Access, Fresh
from common.stores import source_tokens
from deploy.local.zoho import StandIn
from tests.clients.conftest import environment
from tests.house.tree import ROOT

HOUR = 3600.0
NEAR_ITS_END = timedelta(minutes=56)
OVER = timedelta(minutes=61)
WINDOW = timedelta(minutes=10, seconds=1)


class Source:
    """Gives tokens t1, t2, …; before each it does what the test wants."""

    def __init__(self, act=lambda: None) -> None:
        self.calls = 0
        self.act = act

    def __call__(self) -> Fresh:
        self.calls += 1
        number = self.calls
        self.act()
        return Fresh(f"access-{number}", "https://www.zohoapis.eu", HOUR)


def current(source: Source, *, credentials: str = "c", seconds: float = 5, forget: bool = True) -> str:
    """The token that another process would get now: nothing is remembered from before."""
    if forget:
        tokens._known.clear()
    return tokens.current("zoho", credentials, source, time.monotonic() + seconds).access_token


def refuse(token: str) -> None:
    tokens.refused("zoho", Access(token, None))


def test_a_token_is_got_once_and_used_by_everybody_until_it_is_about_to_end(database_url, turn_clock):
    source = Source()
    assert [current(source) for _ in range(3)] == ["access-1"] * 3
    turn_clock(timedelta(minutes=54))
    assert current(source) == "access-1"
    turn_clock(timedelta(minutes=2))
    assert [current(source) for _ in range(2)] == ["access-2"] * 2


def test_a_process_remembers_its_token_without_asking_the_database(database_url, sql):
    source = Source()
    current(source)
    sql("delete from tidemark.source_tokens")
    assert current(source, forget=False) == "access-1"
    assert current(source) == "access-2"


def test_twenty_at_once_make_one_refresh(database_url):
    source = Source(act=lambda: threading.Event().wait(0.1))
    together = threading.Barrier(20)

    def one() -> str:
        together.wait()
        return tokens.current("zoho", "c", source, time.monotonic() + 10).access_token

    tokens._known.clear()
    with ThreadPoolExecutor(20) as pool:
        got = [future.result() for future in [pool.submit(one) for _ in range(20)]]
    assert (set(got), source.calls) == ({"access-1"}, 1)


@pytest.mark.process
def test_processes_at_once_make_one_refresh_and_all_can_read(configured):
    code = """
import sys, time
from common import entities, settings
from common.clients import zoho
from common.rules.urgency import Urgency
settings.load()
sys.stdin.readline()
page = zoho.page(entities.by_label()["user"], 1, since=None, urgency=Urgency.INTERACTIVE, until=time.monotonic() + 30)
print(len(page.ids))
"""
    with StandIn(sizes=1) as standing:
        configured(**environment(standing))
        command = [sys.executable, "-c", code]
        ran = [
            subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        for process in ran:
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=60)[0].splitlines()[-1] for process in ran]
        assert said == ["1"] * 4
        assert sum(call.path == "/oauth/v2/token" for call in standing.calls) == 1


def test_while_one_refreshes_the_others_go_on_with_the_old_token(database_url, turn_clock):
    inside, go_on = threading.Event(), threading.Event()
    current(Source())
    turn_clock(NEAR_ITS_END)
    slow = Source(act=lambda: (inside.set(), go_on.wait(10)))
    slow.calls = 1
    with ThreadPoolExecutor(1) as pool:
        refreshing = pool.submit(current, slow)
        assert inside.wait(10)
        others = Source()
        assert current(others, seconds=0) == "access-1"
        assert others.calls == 0
        go_on.set()
        assert refreshing.result() == "access-2"


def test_nobody_sits_in_a_transaction_while_the_source_is_asked(database_url, sql):
    held: list[int] = []

    def look() -> None:
        [[count]] = sql(
            "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'"
        )
        held.append(count)

    current(Source(act=look))
    assert held == [0]


def test_without_a_token_that_counts_somebody_elses_refresh_is_waited_for_but_not_for_ever(database_url):
    with db.transaction("worker") as tx:
        assert source_tokens.claim(tx, "zoho", "c") is not None
    began = time.monotonic()
    source = Source()
    with pytest.raises(Unavailable) as refusal:
        current(source, seconds=0.3)
    assert (source.calls, refusal.value.retry_after_seconds) == (0, 2)
    assert time.monotonic() - began < 3


def test_who_dies_while_refreshing_is_replaced_and_brings_nothing_when_it_comes_back(database_url, turn_clock):
    with db.transaction("worker") as tx:
        dead = source_tokens.claim(tx, "zoho", "c")
    turn_clock(source_tokens.LEASE + timedelta(seconds=1))
    source = Source()
    assert current(source) == "access-1"
    with db.transaction("worker") as tx:
        assert not source_tokens.store(tx, "zoho", dead, access_token="late", api_domain=None, seconds=HOUR)
    assert current(source) == "access-1"


def test_there_are_never_more_than_eight_refreshes_in_ten_minutes(database_url, turn_clock):
    source = Source()
    for _ in range(source_tokens.MOST):
        current(source)
        turn_clock(timedelta(seconds=1))
        with db.transaction() as tx:
            tx.script("update tidemark.source_tokens set expires_at = app_now()")
    with pytest.raises(Throttled) as refusal:
        current(source)
    assert source.calls == source_tokens.MOST
    assert refusal.value.retry_after_seconds == pytest.approx(592, abs=2)
    turn_clock(timedelta(seconds=refusal.value.retry_after_seconds + 1))
    assert current(source) == "access-9"


def test_a_token_that_was_refused_is_replaced_once_by_whoever_it_was_refused_to(database_url):
    source = Source()
    current(source)
    for _ in range(5):  # five calls were on their way with it
        refuse("access-1")
        assert current(source) == "access-2"
    assert source.calls == 2


def test_refusals_that_no_refresh_heals_do_not_use_up_the_refreshes(database_url, turn_clock):
    source = Source()
    for _ in range(20):
        refuse(current(source))
    assert source.calls == source_tokens.MOST_AFTER_REFUSALS
    turn_clock(WINDOW)
    refuse(current(source))
    assert current(source) == f"access-{source_tokens.MOST_AFTER_REFUSALS + 1}"


def test_after_a_refresh_that_failed_nobody_tries_for_a_while(database_url, turn_clock):
    def fail() -> None:
        message = "down"
        raise Unavailable(message, retry_after_seconds=20)

    failing, working = Source(act=fail), Source()
    with pytest.raises(Unavailable, match="down"):
        current(failing)
    with pytest.raises(Unavailable) as refusal:
        current(working)
    assert (working.calls, refusal.value.retry_after_seconds) == (0, 20)
    turn_clock(timedelta(seconds=21))
    assert current(working) == "access-1"


def test_a_refusal_is_told_to_everybody_until_it_is_worth_another_try_or_the_credentials_change(database_url, turn_clock):
    def refuse_all() -> None:
        message = "make a new refresh token"
        raise SourceRefused(message)

    source, working = Source(act=refuse_all), Source()
    for _ in range(3):
        with pytest.raises(SourceRefused, match="make a new refresh token"):
            current(source)
    assert source.calls == 1
    assert current(working, credentials="others") == "access-1"
    assert current(working, credentials="others") == "access-1"


def test_a_refusal_is_tried_again_after_a_minute(database_url, turn_clock):
    def refuse_all() -> None:
        message = "no"
        raise SourceRefused(message)

    source = Source(act=refuse_all)
    with pytest.raises(SourceRefused):
        current(source)
    turn_clock(timedelta(seconds=61))
    assert current(Source()) == "access-1"


def test_a_failed_refresh_does_no_harm_while_the_old_token_counts(database_url, turn_clock):
    def fail() -> None:
        raise Unavailable

    current(Source())
    turn_clock(NEAR_ITS_END)
    with pytest.raises(Unavailable):
        current(Source(act=fail))
    assert current(Source()) == "access-1"


def test_other_credentials_get_another_token_at_once(database_url):
    source = Source()
    assert [current(source, credentials=each) for each in ("a", "a", "b", "b")] == [
        "access-1", "access-1", "access-2", "access-2",
    ]  # fmt: skip


def test_a_token_never_stands_in_the_log(database_url, capsys):
    token = current(Source())
    log.info("something.said", text=f"with {token} in it")
    assert "access-1" not in capsys.readouterr().out


@pytest.mark.parametrize("role", ["status", "operator", "ingest", "migrate"])
def test_only_those_who_call_the_source_can_read_its_tokens(role, database_url):
    with pytest.raises(Broken) as refusal, db.transaction(role) as tx:
        tx.script("select access_token from tidemark.source_tokens")
    assert refusal.value.fields["sqlstate"] == "42501"
