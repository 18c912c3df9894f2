"""The lease on a real Postgres: taken when free, kept while ours, lost by time or to a person, and its writes fenced."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from common import db, log
from common.errors import Conflict, LeaseLost, Passive, Unavailable
from common.flows import lease, migrate
from common.stores import holding, leases, migrations
from common.stores.holding import Held
from tests.flows.test_migrate import FIRST

SECOND, LEASE = timedelta(seconds=1), timedelta(seconds=150)
ROUNDS = 25


def blue() -> Held:
    return lease.held(holder="blue")


def green() -> Held:
    return lease.held(holder="green")


def fenced(sql):
    return sql("select tidemark.total('fenced')")[0][0]


def write(held: Held, sql) -> None:
    """A guarded write."""
    with db.transaction("worker") as tx:
        lease.guard(tx, held)
        tx.statement("insert into tidemark.deltas (name, amount) values (:name, 1)", {"name": held.holder})


def written(sql, holder):
    return sql("select count(*) from tidemark.deltas where name = :name", name=holder)[0][0]


def test_the_first_takes_it_and_the_second_is_told_who_has_it_and_for_how_long(sql):
    first = blue()
    with pytest.raises(Passive) as refused:
        green()
    assert refused.value.fields["holder"] == "blue"
    assert refused.value.headers == {"Retry-After": "150"}
    assert "'blue'" in refused.value.detail
    assert sql("select holder, token from tidemark.leases") == [["blue", first.token]]


def test_keeping_it_moves_its_end_and_leaves_its_token(sql, turn_clock):
    first = blue()
    turn_clock(60 * SECOND)
    second = blue()
    assert (second.token, second.expires_at - first.expires_at >= 60 * SECOND) == (first.token, True)
    assert sql("select heartbeat_at = expires_at - interval '150 s', acquired_at < heartbeat_at from tidemark.leases") == [
        [True, True]
    ]


def test_it_is_kept_without_a_write_while_it_was_heard_of_a_moment_ago(sql, turn_clock):
    blue()
    before = sql("select xmin::text from tidemark.leases")
    turn_clock(29 * SECOND)
    blue()
    assert sql("select xmin::text from tidemark.leases") == before
    turn_clock(2 * SECOND)
    blue()
    assert sql("select xmin::text from tidemark.leases") != before


def test_another_takes_it_over_when_it_has_expired_and_not_a_second_before(sql, turn_clock):
    first = blue()
    turn_clock(LEASE - SECOND)
    with pytest.raises(Passive):
        green()
    turn_clock(SECOND)
    second = green()
    assert second.token > first.token
    ((takeover, moment),) = sql("select takeover, acquired_at from tidemark.leases")
    assert takeover.keys() == {"from", "to", "at", "token", "expired_for_seconds"}
    assert (takeover["from"], takeover["to"], takeover["token"]) == ("blue", "green", second.token)
    assert 0 <= takeover["expired_for_seconds"] < 60
    assert datetime.fromisoformat(takeover["at"]) == moment
    with pytest.raises(Passive):
        blue()


def test_it_is_never_taken_from_a_holder_that_is_heard_of_however_idle_it_is(turn_clock):
    first = blue()
    for _ in range(20):
        turn_clock(LEASE - 2 * SECOND)
        assert blue().token == first.token  # has done nothing for a day, and keeps it
        with pytest.raises(Passive):
            green()


def test_an_expired_one_is_not_kept_but_taken_anew_with_a_higher_token(sql, turn_clock):
    first = blue()
    turn_clock(LEASE + SECOND)
    with pytest.raises(LeaseLost):
        write(first, sql)
    second = blue()
    assert second.token > first.token
    assert sql("select takeover, acquired_at = heartbeat_at from tidemark.leases") == [[None, True]]
    with pytest.raises(LeaseLost):
        write(first, sql)
    write(second, sql)
    assert (written(sql, "blue"), fenced(sql)) == (1, 2)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("expires_at = app_now() + interval '1 h'", "an_expired_lease_is_not_renewed"),
        ("holder = 'green'", "another_holder_has_another_token"),
        ("token = token - 1", "tokens_of_a_lease_only_grow"),
        ("expires_at = heartbeat_at - interval '1 s'", "lease_does_not_end_before_its_heartbeat"),
    ],
)
def test_the_row_itself_refuses_what_would_break_the_rules(sql, turn_clock, change, rule):
    blue()
    turn_clock(LEASE + SECOND)
    with pytest.raises(Exception, match=rule):
        sql(f"update tidemark.leases set {change}")


def test_the_row_itself_refuses_to_be_taken_before_it_has_expired(sql):
    blue()
    with pytest.raises(Exception, match="a_lease_is_taken_when_it_has_expired"):
        sql("update tidemark.leases set holder = 'green', token = nextval('tidemark.token')")


def test_every_time_it_is_taken_stays_in_its_history_and_no_two_overlap(sql, turn_clock):
    taken = []
    for take in (blue, green, green, blue):
        taken.append(take())
        turn_clock(LEASE + SECOND)
    rows = sql("select holder, token, former_holder, former_expires_at < acquired_at from tidemark.lease_history order by token")
    assert [row[:2] for row in rows] == [[held.holder, held.token] for held in taken]
    assert [row[2:] for row in rows] == [[None, None], ["blue", True], ["green", True], ["green", True]]


def test_the_history_keeps_the_newest_thousand(sql, turn_clock):
    blue()
    sql("insert into tidemark.lease_history (name, token, holder, holder_pid, acquired_at)"
        " select 'active', -n, 'old', 1, app_now() from generate_series(1, 1200) n")  # fmt: skip
    turn_clock(LEASE + SECOND)
    held = blue()
    assert sql("select count(*), max(token) from tidemark.lease_history") == [[1000, held.token]]


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_who_want_it_at_once_exactly_one_gets_it(sql, turn_clock, is_first):
    together = threading.Barrier(2)
    tokens = [0]

    def want(holder):
        together.wait()
        try:
            return lease.held(holder=holder)
        except Passive as passive:
            return passive

    with ThreadPoolExecutor(2) as threads:
        for _ in range(ROUNDS):
            if is_first:
                sql("delete from tidemark.leases")
            got = list(threads.map(want, ("blue", "green")))
            (winner,) = [each for each in got if isinstance(each, Held)]
            (loser,) = [each for each in got if isinstance(each, Passive)]
            assert loser.fields["holder"] == winner.holder
            assert winner.token > tokens[-1]
            tokens.append(winner.token)
            turn_clock(LEASE + SECOND)
    assert sql("select count(*) from tidemark.lease_history where name = 'active'") == [[ROUNDS]]


def test_all_instances_of_a_deployment_share_it(sql):
    together = threading.Barrier(8)

    def want(_):
        together.wait()
        return blue().token

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(want, range(8)))) == 1
    assert sql("select count(*) from tidemark.lease_history") == [[1]]


# Writing under it ------------------------------------------------------------------------------------------------


def test_an_old_holders_write_is_refused_and_counted_though_all_of_it_is_rolled_back(sql, turn_clock):
    first = blue()
    turn_clock(LEASE + SECOND)
    write(green(), sql)
    with pytest.raises(LeaseLost) as refused:
        write(first, sql)
    assert (refused.value.status, refused.value.slug, refused.value.retryable) == (503, "lease-lost", True)
    assert (written(sql, "blue"), written(sql, "green"), fenced(sql)) == (0, 1, 1)


def test_a_takeover_waits_for_a_write_under_the_lease_that_is_under_way(sql, turn_clock):
    first = blue()
    with db.transaction("worker") as writing:
        lease.guard(writing, first)
        turn_clock(LEASE + SECOND)
        with pytest.raises(Unavailable) as waited, db.transaction("worker", lock=timedelta(milliseconds=50)) as tx:
            lease.hold(tx, holder="green")
        assert waited.value.fields["sqlstate"] == "55P03"
    assert green().token > first.token


def test_a_write_waits_for_a_handing_over_that_is_under_way_and_is_then_refused(sql):
    first = blue()
    with ThreadPoolExecutor(1) as thread:
        with db.transaction("operator") as handing_over:
            leases.release(handing_over, lease.ACTIVE, actor="ann")
            writing = thread.submit(write, first, sql)
            while not sql("select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%leases%for share%'"):
                assert not writing.done()
        with pytest.raises(LeaseLost):
            writing.result(10)
    assert written(sql, "blue") == 0


def test_what_is_watched_is_asked_once_a_second_at_most(sql, monkeypatch, turn_clock):
    watch = lease.Watch(blue())
    turn_clock(LEASE + SECOND)
    green()
    with db.transaction("worker") as tx:
        watch.check(tx)  # not asked yet
    monkeypatch.setattr(lease.time, "monotonic", lambda: 1e12)
    with pytest.raises(LeaseLost), db.transaction("worker") as tx:
        watch.check(tx)
    assert (watch.is_lost, watch.stands(), fenced(sql)) == (True, False, 1)


# Handing it over -------------------------------------------------------------------------------------------------


def test_what_was_handed_over_goes_to_another_at_once_and_its_holder_is_fenced(sql):
    first = blue()
    with log.bound(operator="ann"):
        said = lease.release()
    assert (said["released_from"], said["token"]) == ("blue", first.token)
    with pytest.raises(LeaseLost):
        write(first, sql)
    with pytest.raises(Passive) as refused:
        blue()
    assert refused.value.fields["holder"] is None
    assert sql("select released_by from tidemark.leases") == [["ann"]]
    assert green().token > first.token
    assert sql("select takeover ->> 'from', released_at, released_by from tidemark.leases") == [["blue", None, None]]


def test_what_was_handed_over_and_nobody_took_goes_back_after_the_length_of_a_lease(turn_clock):
    first = blue()
    lease.release()
    turn_clock(LEASE - SECOND)
    with pytest.raises(Passive):
        blue()
    turn_clock(SECOND)
    assert blue().token > first.token


def test_what_nobody_holds_cannot_be_handed_over(turn_clock):
    with pytest.raises(Conflict):
        lease.release()
    blue()
    lease.release()
    with pytest.raises(Conflict):
        lease.release()


def test_its_length_is_a_setting(sql, turn_clock):
    sql("update tidemark.settings set value = '300' where key = 'lease.seconds'")
    blue()
    turn_clock(299 * SECOND)
    with pytest.raises(Passive):
        green()


# Migrations ------------------------------------------------------------------------------------------------------


def test_a_migrator_that_comes_back_after_another_deployment_migrated_is_refused(sql, configured, tmp_path, monkeypatch):
    """It stands still after its first migration; another deployment's runs to its end meanwhile."""
    for migration in migrate.migrations():
        (tmp_path / f"{migration.name}.sql").write_text(migration.text)
    number = len(migrate.migrations())
    for step in (1, 2):
        (tmp_path / f"{number + step:04}_step.sql").write_text(FIRST.replace("firsts", f"step_{step}"))
    none = tmp_path / "none"
    configured(DEPLOYMENT="blue")
    with db.transaction() as tx:
        held = holding.hold_to_migrate(tx)
    wanted = migrate.migrations(tmp_path)
    assert list(migrations._once(wanted[-2], wanted, held)) == [wanted[-2].name]
    sql("update tidemark.leases set expires_at = heartbeat_at, acquired_at = heartbeat_at where name = 'migrate'")
    configured(DEPLOYMENT="green")
    assert migrate.run(tmp_path, none) == [wanted[-1].name]
    assert sql("select holder, expires_at <= app_now() from tidemark.leases where name = 'migrate'") == [["green", True]]
    configured(DEPLOYMENT="blue")
    (tmp_path / f"{number + 3:04}_step.sql").write_text(FIRST.replace("firsts", "step_3"))
    wanted = migrate.migrations(tmp_path)
    with pytest.raises(LeaseLost):
        list(migrations._once(wanted[-1], wanted, held))
    assert sql("select to_regclass('public.step_3')") == [[None]]
    assert fenced(sql) == 1


def test_a_migrator_waits_its_turn_while_another_deployment_is_at_it(sql, configured):
    configured(DEPLOYMENT="blue")
    with db.transaction() as tx:
        held = holding.hold_to_migrate(tx)
    configured(DEPLOYMENT="green")
    with pytest.raises(Passive) as refused:
        migrate.run()
    assert refused.value.fields["holder"] == "blue"
    with db.transaction() as tx:
        holding.end_migrating(tx, held)
    assert migrate.run() == []
    assert sql("select former_holder from tidemark.lease_history where name = 'migrate' order by token") == [[None], ["blue"]]


def test_two_migrators_of_one_deployment_share_the_lease_and_the_first_to_end_does_not_stop_the_other(sql):
    with db.transaction() as tx:
        held = holding.hold_to_migrate(tx)
    assert migrate.run() == []
    with db.transaction() as tx:
        assert holding.hold_to_migrate(tx, held).token > held.token
