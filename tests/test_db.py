"""The database layer against a real server: literals, connections that die, a pool that is full, errors by class."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as chances
from hypothesis import strategies as st

from common import db
from common.errors import Broken, Conflict, Invalid, Replayable, Unavailable

SHORT = timedelta(milliseconds=100)
STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


@chances(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STORABLE | st.text("'\\\"$;-/*\n:%?E", max_size=12))
def test_any_text_comes_back_from_its_literal_as_it_was(sql, text):
    assert sql(f"select {db.literal(text)}, 'after'") == [[text, "after"]]


@pytest.mark.parametrize(
    "text",
    ["'; drop table tds_alerts; --", "\\'; select 1; --", "E'\\x41'", "$$a$$", "''", "\\", "'\\''", "\u2019", "\ufeff", "\x1b"],
)
def test_what_others_would_use_to_break_out_stays_inside(sql, text):
    assert sql(f"select {db.literal(text)}") == [[text]]


def test_a_nul_has_no_literal():
    with pytest.raises(Invalid):
        db.literal("a\x00b")


def test_half_a_surrogate_pair_is_refused_as_a_value(database_url):
    with pytest.raises(Invalid), db.transaction() as tx:
        tx.statement("select cast(:text as text)", {"text": "\ud800"})


# Connections that die ----------------------------------------------------------------------------------------------


def pid() -> int:
    with db.transaction() as tx:
        return int(tx.statement("select pg_backend_pid()", {})[0][0][0])


def test_a_connection_is_used_again(database_url):
    assert pid() == pid()


def test_a_connection_that_died_while_idle_is_replaced_without_an_error(sql):
    first = pid()
    sql("select pg_terminate_backend(:pid, 5000)", pid=first)
    assert pid() != first


def test_a_connection_that_dies_in_a_transaction_ends_it_as_unavailable_and_the_next_works(sql):
    def work() -> None:
        with db.transaction() as tx:
            sql("select pg_terminate_backend(:pid, 5000)", pid=tx.statement("select pg_backend_pid()", {})[0][0][0])
            tx.statement("select 1", {})

    with pytest.raises(Unavailable):
        work()
    assert pid()


def test_an_error_inside_a_block_undoes_it_and_gives_the_connection_up(sql):
    sql("create table public.seen (id integer)")

    def work() -> None:
        with db.transaction() as tx:
            tx.script("insert into public.seen values (1)")
            raise LookupError

    with pytest.raises(LookupError):
        work()
    assert sql("select count(*) from public.seen") == [[0]]
    assert db.pool().in_use == 0


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:9/x", "postgresql://nobody@/x?host=/nowhere"])
def test_a_server_that_is_not_there_is_unavailable(configured, url):
    configured(DATABASE_URL=url)
    with pytest.raises(Unavailable), db.transaction():
        pass


def test_a_server_that_says_nothing_is_unavailable_in_bounded_time(configured, monkeypatch):
    monkeypatch.setattr(db, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configured(DATABASE_URL=f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/x?sslmode=disable")
        started = time.monotonic()
        with pytest.raises(Unavailable), db.transaction():
            pass
    assert time.monotonic() - started < 5


def test_nagle_is_off_on_tcp(monkeypatch):
    class Listener(db.Socket):
        """What the driver's own connection is, without a server behind it."""

        def __init__(self, *_: object, host: str, port: int, **__: object) -> None:
            self._usock = socket.create_connection((host, port))
            self.parameter_statuses = {"standard_conforming_strings": "on"}

        def register_in_adapter(self, *_: object) -> None: ...

    monkeypatch.setattr(db, "Socket", Listener)
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = db.Connection(db.Address(f"postgresql://nobody@127.0.0.1:{server.getsockname()[1]}/x?sslmode=disable"))
        nodelay = connection.raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.raw.close()
    assert nodelay


# The pool ----------------------------------------------------------------------------------------------------------


def test_a_pool_that_stays_full_is_unavailable_in_bounded_time_and_says_when_to_come_back(configured, monkeypatch):
    monkeypatch.setattr(db, "CHECKOUT_SECONDS", 0.1)
    configured(DB_POOL="1")
    with db.transaction():
        with pytest.raises(Unavailable, match="All 1 database connections") as refusal, db.transaction():
            pass
        assert refusal.value.headers == {"Retry-After": "1"}
    assert pid()


def test_more_threads_than_connections_take_turns(configured):
    configured(DB_POOL="2")
    together = threading.Barrier(8)

    def ask(_: int) -> int:
        together.wait()
        return pid()

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(ask, range(8)))) <= 2


def test_an_old_connection_is_replaced(database_url, monkeypatch):
    first = pid()
    monkeypatch.setattr(db, "MAX_AGE_SECONDS", -1)
    assert pid() != first


# What is sent and what comes back ----------------------------------------------------------------------------------


def test_a_transaction_runs_as_its_role_within_its_limits_and_leaves_nothing_behind(database_url):
    asked = "select current_user::text, current_setting('statement_timeout'), current_setting('lock_timeout')"
    with db.transaction("worker", timeout=SHORT, lock=SHORT * 2) as tx:
        [inside], _ = tx.statement(asked, {})
    with db.transaction() as tx:
        [after], _ = tx.statement(asked, {})
    assert inside == ["tidemark_worker", "100ms", "200ms"]
    assert after[:2] == ["postgres", "10s"]


def test_a_role_that_is_not_ours_is_never_set(database_url):
    with pytest.raises(Broken), db.transaction("postgres"):
        pass


def test_a_read_only_transaction_cannot_write(database_url):
    with pytest.raises(Unavailable), db.transaction(read_only=True) as tx:
        tx.script("insert into tidemark.deltas (name, amount) values ('x', 1)")


def test_moments_come_back_in_utc_and_json_exactly(database_url):
    with db.transaction() as tx:
        [[moment, document, forever]], _ = tx.statement(
            "select '2026-06-09T12:00:00+03'::timestamptz, '{\"a\": 1.10}'::jsonb, 'infinity'::timestamptz", {}
        )
    assert moment == datetime(2026, 6, 9, 9, tzinfo=UTC)
    assert (str(document["a"]), forever) == ("1.10", "infinity")


@pytest.mark.parametrize(
    ("statement", "kind", "state"),
    [
        ("select 1/0", Invalid, "22012"),
        ("select 'x'::integer", Invalid, "22P02"),
        ("insert into tidemark.totals values ('a', 1), ('a', 1)", Conflict, "23505"),
        ("insert into tidemark.totals values ('a', null)", Conflict, "23502"),
        ("do $$ begin raise exception '' using errcode = '40001'; end $$", Replayable, "40001"),
        ("do $$ begin raise exception '' using errcode = '40P01'; end $$", Replayable, "40P01"),
        ("do $$ begin raise exception '' using errcode = '53300'; end $$", Unavailable, "53300"),
        ("do $$ begin raise exception '' using errcode = '57P01'; end $$", Unavailable, "57P01"),
        ("do $$ begin raise exception '' using errcode = '58030'; end $$", Unavailable, "58030"),
        ("do $$ begin raise exception '' using errcode = '08006'; end $$", Unavailable, "08006"),
        ("select pg_sleep(1)", Unavailable, "57014"),
        ("select nothing", Broken, "42703"),
        ("selec 1", Broken, "42601"),
    ],
)
def test_an_error_is_named_by_its_state(database_url, statement, kind, state):
    with pytest.raises(kind) as error, db.transaction(timeout=SHORT) as tx:
        tx.script(statement)
    assert (type(error.value), error.value.fields["sqlstate"]) == (kind, state)


def test_a_lock_that_is_not_given_in_time_is_unavailable(sql):
    with db.transaction() as holder:
        holder.script("lock table tidemark.totals")
        with pytest.raises(Unavailable, match="lock"), db.transaction(lock=SHORT) as tx:
            tx.script("lock table tidemark.totals")


@pytest.mark.parametrize(("failures", "runs"), [(0, 1), (2, 3)])
def test_work_that_met_another_transaction_is_done_again_whole(database_url, failures, runs):
    seen: list[int] = []

    def work(tx: db.Transaction) -> int:
        seen.append(1)
        if len(seen) <= failures:
            tx.script("do $$ begin raise exception '' using errcode = '40001'; end $$")
        return len(seen)

    assert db.replayed(work) == runs


def test_work_that_always_meets_another_transaction_is_given_up_after_three_times(database_url):
    seen: list[int] = []

    def work(tx: db.Transaction) -> None:
        seen.append(1)
        tx.script("do $$ begin raise exception '' using errcode = '40P01'; end $$")

    with pytest.raises(Replayable):
        db.replayed(work)
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("postgresql://u:p%40ss@h.example:6543/d", ("u", "p@ss", "h.example", 6543, "d", None, True)),
        ("postgresql+asyncpg://u@h.example/d", ("u", None, "h.example", 5432, "d", None, True)),
        ("postgresql://u@localhost/d", ("u", None, "localhost", 5432, "d", None, False)),
        ("postgresql://u@h.example/d?sslmode=disable", ("u", None, "h.example", 5432, "d", None, False)),
        ("postgresql://u@/d?host=/run/x", ("u", None, "/run/x", 5432, "d", "/run/x/.s.PGSQL.5432", False)),
        ("postgresql://u@%2Frun%2Fx/d", ("u", None, "/run/x", 5432, "d", "/run/x/.s.PGSQL.5432", False)),
        ("postgresql://h.example", ("postgres", None, "h.example", 5432, "postgres", None, True)),
    ],
)
def test_an_address_is_read_from_its_url(url, where):
    found = db.Address(url)
    assert (found.user, found.password, found.host, found.port, found.database, found.socket, found.tls) == where


def test_a_connection_that_comes_back_to_a_closed_pool_is_closed(database_url):
    pool = db.Pool(db.Address(database_url), 2)
    with pool.connection("select 1; commit", 5) as (connection, _):
        pool.close()
        assert connection.raw.fileno() != -1, "it is in use"
    assert connection.raw.fileno() == -1
