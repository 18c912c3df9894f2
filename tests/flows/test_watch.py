"""Watch: each condition that is put in opens one alert, and closes it when it is healed; without one, nothing is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from common import db
from common.flows import alerts, process, tick, watch
from common.rules.http import Request
from common.stores import alerts as store
from tests.conftest import ORGANIZATION
from tests.make import an_item, send

Sql = Callable[..., list[list[Any]]]
MINUTE = timedelta(minutes=1)
NOBODY = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def look(turn_clock):
    """Look once a minute, so many times; how many alerts were opened."""

    def look(times=1):
        opened = 0
        for _ in range(times):
            turn_clock(MINUTE)
            opened += watch.watch()
        return opened

    return look


def told(sql: Sql) -> list[list[Any]]:
    return sql("select alert_type, entity_type::text, severity::text from tds_alerts where not resolved order by 1, 2")


def count(sql: Sql, **amounts: int) -> None:
    for name, amount in amounts.items():
        sql("insert into tidemark.deltas (name, amount) values (:name, :amount)", name=name, amount=amount)


def bury(sql: Sql, letters: int) -> None:
    sql(f"""insert into tds_dead_letter_queue (sync_queue_id, entity_type, source_entity_id, failure_reason, total_attempts, last_payload)
            select gen_random_uuid(), 'product', n::text, 'poison', 3, '{{}}' from generate_series(1, {letters}) n""")


def unbury(sql: Sql) -> None:
    sql("update tds_dead_letter_queue set resolved = true, resolved_at = app_now()")


def be_in_step(sql: Sql, entity: str = "invoice") -> None:
    sql(f"""insert into tds_sync_cursors (source_type, entity_type, last_sync_at, cursor_value)
            values ('zoho', '{entity}', app_now(), app_now()::text)
            on conflict (source_type, entity_type) do update set last_sync_at = app_now()""")


def miss_slots(sql: Sql, *minutes: int) -> None:
    be_in_step(sql)
    sql("update tds_sync_cursors set last_sync_at = app_now() - interval '3 hours'")
    for ago in minutes:
        sql(f"""insert into tidemark.fires (schedule, slot, state, started_at, finished_at)
                values ('hourly_incremental_sync', app_now() - interval '{ago} minutes', 'failed', app_now(), app_now())""")


def call(sql: Sql, used: int, limit: int = 1000) -> None:
    sql(f"""insert into tidemark.source_limits (source, organization_id, used, day_limit, resets_at)
            values ('zoho', '{ORGANIZATION}', {used}, {limit}, clock_timestamp() + interval '3 hours 30 minutes')
            on conflict (source, organization_id) do update set used = {used}""")


def run_syncs(sql: Sql, pages: int) -> None:
    """The hourly sync has taken so many calls lately, and the others none."""
    sql(f"""with plan as (
                insert into tidemark.plans (name, status, definition, max_concurrency, shard_timeout, retry_budget, hash, seed, submitted_by,
                       deadline_at, finished_at)
                values ('s', 'succeeded', '{{}}', 1, '1 m', 1, 'sha3_256', '', 't', app_now(), app_now()) returning id
            ), ran as (
                insert into tds_sync_runs (id, plan_id, run_type, status, mode, pages, completed_at)
                select id, id, 'scheduled', 'completed', 'incremental', {pages}, app_now() from plan
            )
            insert into tidemark.fires (schedule, slot, state, started_at, finished_at, plan_id)
            select 'hourly_incremental_sync', app_now() - interval '1 minute', 'done', app_now(), app_now(), id from plan""")


def begin_a_long_list(sql: Sql) -> None:
    """A full list that has read 10 of 7,000 pages, at 95 a minute: it cannot be over within the hour."""
    call(sql, 10, 100_000)
    sql(f"""insert into tds_sync_runs (run_type, entity_type, status, mode, pages, started_at, completed_at)
            values ('scheduled', 'invoice', 'completed', 'full', 7000, app_now() - interval '1 day', app_now() - interval '23 hours');
            insert into tidemark.plans (id, name, definition, max_concurrency, shard_timeout, retry_budget, hash, seed, submitted_by, deadline_at)
            values ('{NOBODY}', 's', '{{}}', 1, '1 m', 1, 'sha3_256', '', 't', app_now() + interval '6 hours');
            insert into tds_sync_runs (plan_id, run_type, entity_type, status, mode, pages)
            values ('{NOBODY}', 'scheduled', 'invoice', 'processing', 'full', 10);
            insert into tidemark.fires (schedule, slot, state, started_at, plan_id) values ('daily_full_sync', app_now(), 'started', app_now(), '{NOBODY}');
            update tidemark.schedules set next_slot = app_now() + interval '1 hour' where name = 'hourly_incremental_sync';
            update tidemark.schedules set next_slot = app_now() + interval '1 day' where name = 'daily_full_sync'""")


def end_the_long_list(sql: Sql) -> None:
    sql(
        "update tidemark.plans set status = 'succeeded', finished_at = app_now(); update tds_sync_runs set completed_at = app_now()"
    )


def hours(sql: Sql, signal: str, *amounts: int, usual: int = 200) -> None:
    """The last hours had these amounts, and the same hours of the five weeks before the usual one, more or less."""
    sql("delete from tidemark.hours")
    for ago, amount in enumerate(reversed(amounts), 1):
        sql(f"""insert into tidemark.hours (signal, hour, amount)
                select '{signal}', date_trunc('hour', app_now()) - interval '{ago} hours' - k * interval '7 days',
                       case k when 0 then {amount} else {usual} + k end from generate_series(0, 5) k
                on conflict do nothing;
                insert into tidemark.hours (signal, hour, amount)
                select 'received', date_trunc('hour', app_now()) - interval '{ago} hours', 0 where '{signal}' <> 'received' on conflict do nothing""")


class Case(NamedTuple):
    """A condition: how it is put in, how it is healed, and the alert that it is."""

    inject: Callable[[Sql], Any]
    heal: Callable[[Sql], Any]
    alert: list[Any]
    looks: int = 1  # within which it must be told of


CASES = {
    "a backlog": Case(
        lambda sql: count(sql, waiting=1001), lambda sql: count(sql, waiting=-900), ["queue_backlog", None, "warning"], 2
    ),
    "a long backlog": Case(
        lambda sql: count(sql, waiting=5001), lambda sql: count(sql, waiting=-5000), ["queue_backlog", None, "critical"], 2
    ),
    "failures": Case(
        lambda sql: count(sql, dead_letter=2, completed=30),
        lambda sql: count(sql, completed=30),
        ["failure_rate", None, "error"],
        2,
    ),
    "dead letters": Case(lambda sql: bury(sql, 51), unbury, ["dead_letters", None, "warning"]),
    "many dead letters": Case(lambda sql: bury(sql, 101), unbury, ["dead_letters", None, "critical"]),
    "work that nobody does": Case(
        lambda sql: (
            send("products", an_item()),
            sql("update tds_inbox_events set received_at = app_now() - interval '15 minutes'"),
        ),
        lambda _: process.process(),
        ["waiting_too_long", None, "error"],
        2,
    ),
    "a late sync": Case(lambda sql: miss_slots(sql, 16), be_in_step, ["sync_lag", "invoice", "warning"]),
    "two late syncs": Case(lambda sql: miss_slots(sql, 76, 16), be_in_step, ["sync_lag", "invoice", "error"]),
    "a day with too few calls": Case(
        lambda sql: (call(sql, 800), run_syncs(sql, 100)), lambda sql: call(sql, 10), ["source_quota", None, "warning"]
    ),
    "a day without calls": Case(lambda sql: call(sql, 1000), lambda sql: call(sql, 10), ["source_quota", None, "error"]),
    "a run that is too long": Case(begin_a_long_list, end_the_long_list, ["run_overrun", None, "warning"]),
    "silence": Case(
        lambda sql: hours(sql, "received", 200, 0), lambda sql: count(sql, received=5), ["source_silence", None, "error"]
    ),
    "a list that became empty": Case(
        lambda sql: hours(sql, "synced:customer", 200, 0),
        lambda sql: hours(sql, "synced:customer", 200, 201),
        ["source_silence", "customer", "error"],
    ),
    "two odd hours": Case(
        lambda sql: hours(sql, "received", 700, 800), lambda sql: hours(sql, "received", 205, 210), ["anomaly", None, "warning"]
    ),
    "an old secret": Case(
        lambda sql: sql("insert into tidemark.webhook_secrets values ('zoho:1234', app_now() - interval '91 days', 'infinity')"),
        lambda sql: sql("update tidemark.webhook_secrets set not_after = app_now() - interval '1 s'"),
        ["secret_too_old", None, "warning"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_condition_opens_one_alert_and_healing_closes_it(name, sql, look):
    case = CASES[name]
    assert look(2) == 0
    case.inject(sql)
    assert look(case.looks) == 1
    assert look(3) == 0
    assert told(sql) == [case.alert]
    shown = sql("select threshold_value, actual_value, is_active, alert_metadata from tds_alerts")[0]
    assert (shown[1] > shown[0], shown[2]) == (True, True)
    assert shown[3]
    case.heal(sql)
    look(2)
    assert told(sql) == []
    assert sql("select count(*), bool_and(not is_active), max(resolved_by) from tds_alerts") == [[1, True, "tidemark"]]


@pytest.mark.parametrize("name", CASES)
def test_right_below_its_threshold_nothing_is_told(name, sql, look):
    below = {
        "a backlog": lambda: count(sql, waiting=1000),
        "failures": lambda: count(sql, dead_letter=1, completed=19),
        "dead letters": lambda: bury(sql, 50),
        "a late sync": lambda: miss_slots(sql, 5),
        "a day with too few calls": lambda: (call(sql, 600), run_syncs(sql, 100)),
        "silence": lambda: hours(sql, "received", 200, 1, usual=30),
        "two odd hours": lambda: hours(sql, "received", 205, 800),
        "an old secret": lambda: sql("insert into tidemark.webhook_secrets values ('zoho:1234', app_now() - interval '89 days', 'infinity')"),
    }  # fmt: skip
    if name in below:
        below[name]()
        assert look(4) == 0
        assert told(sql) == []


def test_a_quiet_hour_and_an_hour_of_work_open_nothing(sql, turn_clock):
    tick.tick()
    for minute in range(60):
        turn_clock(MINUTE)
        if minute % 2:
            for number in range(5):
                send("products", an_item(f"{minute}-{number}"))
            process.process()
        assert tick.tick().watched == 0
        sql("update tidemark.heartbeats set seen_at = app_now()")
    assert sql("select alert_type from tds_alerts where alert_type not in ('healing_stopped')") == []


def test_a_long_transaction_is_told_of_with_its_process_and_without_what_it_says(sql, look, database_url):
    sql("update tidemark.settings set value = '0.0001' where key = 'alerts.snapshot_minutes'")
    holder = db.Connection(db.Address(database_url))
    holder.script("begin; select 'a secret'; select pg_sleep(0.05)")
    pid = holder.script("select pg_backend_pid()")[0][0]
    assert look() == 1
    assert told(sql) == [["long_transaction", None, "warning"]]
    title, message, metadata = sql("select title, message, alert_metadata from tds_alerts")[0]
    assert f"process {pid}" in message
    assert "tidemark" in message
    assert "secret" not in f"{title}{message}{metadata}"
    assert metadata["transactions"][0]["pid"] == pid
    holder.close()
    look(2)
    assert told(sql) == []


# Hysteresis, on rows -----------------------------------------------------------------------------------------------


def test_a_backlog_that_gets_worse_is_the_same_alert_and_has_not_been_seen_yet(sql, look):
    count(sql, waiting=1500)
    look(2)
    sql("update tds_alerts set acknowledged = true, acknowledged_at = app_now(), acknowledged_by = 'ann'")
    look()
    assert sql("select severity::text, acknowledged_by, affected_count from tds_alerts") == [["warning", "ann", 1500]]
    count(sql, waiting=4000)
    look()
    assert sql("select severity::text, acknowledged_by, affected_count, actual_value from tds_alerts") == [
        ["critical", None, 5500, 5500]
    ]
    count(sql, waiting=-4000)
    look()
    assert sql("select severity::text, affected_count from tds_alerts") == [["critical", 1500]]


def test_a_value_that_swings_for_an_hour_has_one_row(sql, look):
    for minute in range(60):
        count(sql, waiting=900 if minute % 6 == 0 else -900 if minute % 6 == 3 else 0)
        if minute == 0:
            count(sql, waiting=200)
        look()
    assert sql("select count(*) from tds_alerts") == [[1]]
    assert sql("select flaps from tidemark.conditions where alert_type = 'queue_backlog'") == [[1]]


def test_what_was_forgotten_leaves_no_row(sql, look, turn_clock):
    count(sql, waiting=1500)
    look(2)
    count(sql, waiting=-1500)
    look(2)
    assert sql("select count(*) from tidemark.conditions") == [[1]]
    turn_clock(timedelta(hours=2))
    look()
    assert sql("select count(*) from tidemark.conditions") == [[0]]


def test_looking_twice_in_a_minute_is_looking_once(sql, turn_clock):
    sql("update turned.clock set skew = skew + (date_trunc('minute', app_now()) + interval '1 minute' - app_now())")
    count(sql, waiting=1500)
    assert [watch.watch() for _ in range(5)] == [0] * 5
    turn_clock(MINUTE)
    assert [watch.watch() for _ in range(5)] == [1, 0, 0, 0, 0]


def together(gate: threading.Barrier, opened: list[int]) -> None:
    gate.wait()
    opened.append(watch.watch())


def test_watchers_at_once_open_one_alert(sql, turn_clock):
    bury(sql, 60)
    for _ in range(5):
        turn_clock(MINUTE)
        opened: list[int] = []
        gate = threading.Barrier(4)
        threads = [threading.Thread(target=together, args=(gate, opened)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(opened) == 4
    assert sql("select count(*) from tds_alerts") == [[1]]


def test_a_watcher_leaves_the_writing_to_one_that_is_at_it(sql, look):
    bury(sql, 60)
    with db.transaction("worker") as tx:
        assert store.try_watch(tx)
        assert look() == 0
    assert look() == 1


def test_a_look_that_fails_leaves_its_alerts_alone_and_the_others_have_their_turn(sql, look):
    bury(sql, 60)
    call(sql, 2000)
    look()
    assert [row[0] for row in told(sql)] == ["dead_letters", "source_quota"]
    sql("alter table tidemark.ready_events rename to gone")
    call(sql, 1)
    for _ in range(3):
        with pytest.raises(db.AppError):
            look()
    assert [row[0] for row in told(sql)] == ["dead_letters"]


def test_alerts_of_others_close_when_their_cause_is_gone(sql, look):
    sql("update tidemark.schedules set paused_at = app_now(), paused_by = 'tick', pause_reason = 'x' where name = 'auto_healing'")
    with db.transaction("worker") as tx:
        for kind in ("schedule_stopped", "guardian.halt"):
            store.raise_alert(tx, alert_type=kind, severity="error", title=kind, message=kind)
    look()
    assert told(sql) == [["schedule_stopped", None, "error"]]
    sql("update tidemark.schedules set paused_at = null, paused_by = null")
    look()
    assert told(sql) == []


# Forecasts ---------------------------------------------------------------------------------------------------------


def grow(sql: Sql, look: Any, minutes: int, came: int, went: int) -> int:
    opened = 0
    for _ in range(minutes):
        count(sql, received=came, completed=went, waiting=came - went)
        opened += look()
    return opened


def test_a_backlog_that_grows_is_told_of_long_before_it_is_too_long(sql, look):
    assert grow(sql, look, 30, 100, 100) == 0
    assert grow(sql, look, 12, 130, 100) == 1
    assert told(sql) == [["backlog_forecast", None, "warning"]]
    seen = sql("select alert_metadata, threshold_value, affected_count from tds_alerts")[0]
    assert 10 < seen[0]["eta_minutes"] < 40
    assert seen[1] == 1000
    assert seen[2] <= 360
    grow(sql, look, 15, 60, 100)
    assert told(sql) == []


def test_when_the_forecast_has_come_true_the_backlog_is_what_is_told_of(sql, look):
    grow(sql, look, 45, 140, 100)
    assert told(sql) == [["queue_backlog", None, "warning"]]


def test_without_predictive_mode_there_are_no_forecasts(sql, look, configured):
    configured(HXO_PREDICTIVE_MODE="false")
    assert grow(sql, look, 12, 180, 100) == 0
    hours(sql, "received", 700, 800)
    run_syncs(sql, 100)
    call(sql, 900)
    assert look(2) == 0
    hours(sql, "synced:customer", 200, 0)
    assert (look(), told(sql)) == (1, [["source_silence", "customer", "error"]])


@pytest.mark.parametrize("often", ["every minute", "twice a minute", "after a gap"])
def test_averages_are_the_same_however_often_they_are_brought_up_to_date(often, sql, turn_clock):
    sql("update turned.clock set skew = skew + (date_trunc('hour', app_now()) + interval '1 hour' - app_now())")
    for minute in range(30):
        count(sql, received=minute * 7 % 50, completed=minute * 11 % 40)
        if often != "after a gap":
            watch.watch()
        if often == "twice a minute":
            watch.watch()
        turn_clock(MINUTE)
    watch.watch()
    expected = (0.0, 0.0)
    kept = 0.5 ** (1 / 8)
    for minute in range(30):
        expected = tuple(
            was + (1 - kept) * (now - was) for was, now in zip(expected, (minute * 7 % 50, minute * 11 % 40), strict=True)
        )
    assert sql("select arrivals, completions from tidemark.signals")[0] == pytest.approx(expected, abs=1e-9)


def test_hours_are_written_down_when_they_are_over_and_once(sql, turn_clock):
    sql("update turned.clock set skew = skew + (date_trunc('hour', app_now()) + interval '1 hour' - app_now())")
    start = sql("select date_trunc('hour', app_now())")[0][0]
    for _ in range(3):
        count(sql, received=7)
        tick.tick()
        turn_clock(timedelta(hours=1))
        watch.watch()
    turn_clock(timedelta(minutes=3))
    watch.watch()
    watch.watch()
    found = dict(sql("select hour, amount from tidemark.hours where signal = 'received'"))
    assert [found.get(start + timedelta(hours=hour)) for hour in range(4)] == [None, 7, 7, None]  # the first was not whole


def test_hours_of_syncs_are_those_that_had_one(sql, look, turn_clock):
    sql("update turned.clock set skew = skew + (date_trunc('hour', app_now()) + interval '65 minutes' - app_now())")
    look()
    for kind, rows in (("scheduled", 40), ("manual", 9000)):
        sql(f"""insert into tds_sync_runs (run_type, entity_type, status, total_events, started_at, completed_at, mode)
                values ('{kind}', 'customer', 'completed', {rows}, app_now(), app_now(), 'incremental')""")
    turn_clock(timedelta(hours=2))
    look()
    assert sql("select amount from tidemark.hours where signal = 'synced:customer'") == [[40]]


# What it costs -----------------------------------------------------------------------------------------------------


def test_a_sync_that_is_under_way_and_has_not_taken_too_long_is_not_late(sql, look):
    miss_slots(sql, 16)
    sql(
        """insert into tds_sync_runs (run_type, entity_type, status, mode, started_at) values ('scheduled', 'invoice', 'processing', 'incremental', app_now())"""
    )
    assert look(20) == 0
    assert look(15) == 1


def test_an_outage_of_our_own_is_no_lag_of_the_source(sql, look):
    miss_slots(sql, 76, 16)
    sql("update tidemark.fires set state = 'missed'")
    assert look(3) == 0


# What operators do -------------------------------------------------------------------------------------------------


def test_what_an_operator_resolves_while_it_goes_on_stays_quiet_until_it_was_false_once(sql, look):
    bury(sql, 60)
    look()
    alert = sql("select id::text from tds_alerts")[0][0]
    alerts.resolve(alert, {"note": "known"})
    assert look(30) == 0
    unbury(sql)
    look()
    bury(sql, 60)
    assert look() == 1
    assert sql("select resolved, resolution_notes from tds_alerts order by triggered_at") == [[True, "known"], [False, None]]


def test_what_an_operator_resolved_is_told_of_again_after_the_settings_time(sql, look, turn_clock):
    bury(sql, 60)
    look()
    alerts.resolve(sql("select id::text from tds_alerts")[0][0], {})
    turn_clock(timedelta(minutes=238))
    assert look() == 0
    assert look(2) == 1


def test_a_slow_stage_that_an_operator_resolved_stays_quiet_as_well(sql, turn_clock):
    def slow():
        with db.transaction("worker") as tx:
            store.raise_alert(tx, alert_type="stage_over_slo", severity="warning", title="t", message="m")

    slow()
    alerts.resolve(sql("select id::text from tds_alerts")[0][0], {})
    slow()
    assert told(sql) == []
    with db.transaction("worker") as tx:
        store.resolve(tx, alert_type="stage_over_slo")
    slow()
    assert told(sql) == [["stage_over_slo", None, "warning"]]


def test_alerts_are_read_on_from_where_a_page_ended(sql):
    sql("""insert into tds_alerts (alert_type, severity, title, message, resolved, acknowledged, entity_type)
           select 't' || n, case when n % 2 = 0 then 'error' else 'warning' end::tds_alert_severity, 't', 'm', n > 5, n > 3, 'bill'
             from generate_series(1, 9) n""")

    def asked(query):
        return alerts.listed(Request("GET", "/api/alerts", query))

    seen, after = [], ""
    while True:
        page = asked(f"state=all&limit=4&after={after}")
        seen += [each["alert_type"] for each in page["alerts"]]
        after = page["next"]
        if after is None:
            break
    assert sorted(seen) == [f"t{n}" for n in range(1, 10)]
    counts = {state: asked(f"state={state}")["count"] for state in alerts.STATES}
    assert counts == {"open": 5, "acknowledged": 2, "resolved": 4, "all": 9}
    assert asked("severity=error&entity_type=bill")["count"] == 2
    assert asked("entity_type=user")["count"] == 0
