"""Schedules on a real Postgres: fired by ticks, answered by functions, changed by people."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
from pg8000.exceptions import DatabaseError

from common import db
from common.errors import Conflict
from common.flows import fires, heal, schedules, tick
from common.queues import cloud_tasks
from common.rules.http import Request
from common.rules.schedules import decided
from common.stores import schedules as store

Sql = Callable[..., list[list[Any]]]
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOON = datetime(2031, 6, 9, 12, tzinfo=UTC)
BEFORE = NOON - 10 * MINUTE


@pytest.fixture
def at(sql: Sql) -> Callable[[datetime], None]:
    """Set this database's clock."""
    return lambda moment: sql("update turned.clock set skew = cast(:at as timestamptz) - now()", at=moment) and None


@pytest.fixture
def make(sql: Sql, at: Callable[[datetime], None]) -> Callable[..., str]:
    """Make a schedule, ten minutes before noon, in a database that has no others: `make("name", cron=..., overlap=...)`."""
    sql("delete from tidemark.schedules")
    at(BEFORE)

    def made(name: str = "mine", **fields: Any) -> str:
        schedules.create({"name": name, "cron": "0 * * * *", "function": "heal", **fields})
        return name

    return made


@pytest.fixture
def story(sql: Sql) -> Callable[..., list[list[Any]]]:
    """The fires of a schedule: hours after noon, and state."""

    def told(name: str = "mine") -> list[list[Any]]:
        rows = sql("select slot, state, ready_at = 'infinity' from tidemark.fires where schedule = :name order by slot", name=name)
        return [[round((slot - NOON) / HOUR, 2), "waits" if waits else state] for slot, state, waits in rows]

    return told


@pytest.fixture
def queue(configured: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What was rung: (path, body) as Cloud Tasks would post it."""
    rung: list[tuple[str, dict[str, Any]]] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            task = json.loads(self.rfile.read(int(self.headers["content-length"])))["task"]["httpRequest"]
            rung.append((task["url"].partition("/tasks/")[2], json.loads(base64.b64decode(task["body"]))))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    configured(TASKS_ENDPOINT=f"127.0.0.1:{server.server_port}")
    monkeypatch.setattr(cloud_tasks, "_local", threading.local())  # no connection that was kept from another test
    yield rung
    server.shutdown()
    server.server_close()


def begin(slot: datetime, name: str = "mine") -> dict[str, Any] | None:
    with db.transaction("worker") as tx:
        return store.begin(tx, name, slot)


def finish(slot: datetime, name: str = "mine", *, ok: bool = True) -> list[store.Rung]:
    with db.transaction("worker") as tx:
        return store.finish(tx, name, slot, ok=ok)


def shown(name: str = "mine") -> dict[str, Any]:
    return schedules.one(name)


# Firing ------------------------------------------------------------------------------------------------------------


def test_the_seeded_schedules_are_there_and_a_tick_computes_their_slots(sql: Sql):
    listed = "select name, cron, function, arguments, next_slot is null from tidemark.schedules order by name"
    wanted = [
        ["auto_healing", "*/15 * * * *", "heal", {}],
        ["daily_full_sync", "0 2 * * *", "sync", {"mode": "full"}],
        ["daily_statistics", "0 3 * * *", "reconcile", {}],
        ["hourly_incremental_sync", "0 * * * *", "sync", {"mode": "incremental"}],
        ["stock_sync_15min", "*/15 * * * *", "sync", {"mode": "stock"}],
    ]
    assert sql(listed) == [[*row, True] for row in wanted]
    assert tick.tick().fired.computed == 5
    assert sql(listed) == [[*row, False] for row in wanted]
    assert sql("select count(*) from tidemark.schedules where next_slot <= app_now()") == [[0]]


def test_a_slot_fires_once_however_often_one_ticks(make, at, story):
    make()
    assert fires.fire().due == 0
    at(NOON + SECOND)
    assert (fires.fire().rung, fires.fire().rung) == (1, 0)
    assert story() == [[0, "due"]]
    assert (shown()["next_run"], shown()["last_run"]) == (NOON + HOUR, NOON)


def test_two_ticks_at_the_same_time_have_different_schedules_in_hand(make, at):
    names = {make(f"s{number}") for number in range(5)}
    at(NOON)
    with db.transaction("worker") as one, db.transaction("worker") as two:
        first, second = store.lock_due(one, limit=3), store.lock_due(two, limit=100)
        store.advance(one, [(due, *decided(due)) for due in first])
    assert (len(first), len(second)) == (3, 2)
    assert {due.name for due in first + second} == names
    with db.transaction("worker") as tx:
        assert {due.name for due in store.lock_due(tx, limit=100)} == {due.name for due in second}


def test_a_tick_that_read_an_older_slot_records_nothing(make, at, story):
    make()
    at(NOON)
    with db.transaction("worker") as tx:
        (due,) = store.lock_due(tx, limit=1)
    fires.fire()
    with db.transaction("worker") as tx:
        late = NOON + 30 * MINUTE
        assert store.advance(tx, [(due, decided(due)[0], late)]) == []
    assert (story(), shown()["next_run"]) == ([[0, "due"]], NOON + HOUR)


def test_eight_ticks_at_once_fire_each_slot_once(make, at, sql: Sql):
    for number in range(40):
        make(f"s{number}")
    for hour in range(3):
        at(NOON + hour * HOUR)
        sql("update tidemark.fires set state = 'done', finished_at = app_now(), ready_at = null")
        with ThreadPoolExecutor(8) as threads:
            reports = [each.result() for each in [threads.submit(fires.fire) for _ in range(8)]]
        assert sum(report.rung for report in reports) == 40
    assert sql("select count(*), min(rings), max(rings) from tidemark.fires") == [[120, 1, 1]]


def test_a_ring_carries_the_schedule_and_the_slot_and_nothing_else(make, at, queue):
    make(arguments={"mode": "full"})
    at(NOON + SECOND)
    fires.fire()
    assert queue == [("heal", {"schedule": "mine", "slot": "2031-06-09T12:00:00Z"})]


def test_a_fire_that_nobody_begins_is_rung_again_a_minute_later(make, at, queue, monkeypatch):
    for number in range(3):
        make(f"s{number}")
    at(NOON)
    fires.fire()
    at(NOON + 59 * SECOND)
    assert fires.fire().rung == 0
    at(NOON + 61 * SECOND)
    begin(NOON, "s0")
    monkeypatch.setattr(fires, "MOST_AGAIN", 1)
    assert [fires.fire().rung for _ in range(3)] == [1, 1, 0]
    assert sorted(body["schedule"] for _, body in queue) == ["s0", "s1", "s1", "s2", "s2"]


def test_what_an_outage_swallowed_is_told_of(make, at, story):
    make()
    make("last", catch_up="last")
    make("all", catch_up="all", catch_up_limit=2)
    at(NOON + 3.5 * HOUR)
    report = fires.fire()
    assert (report.missed, report.rung, report.waiting) == (4 + 3 + 2, 2, 1)
    assert story() == [[hour, "missed"] for hour in range(4)]
    assert story("last") == [[0, "missed"], [1, "missed"], [2, "missed"], [3, "due"]]
    assert story("all") == [[0, "missed"], [1, "missed"], [2, "due"], [3, "waits"]]
    assert shown()["missed"] == 4
    listed = schedules.fires_of("mine", Request("GET", "/", "state=missed&limit=3"))
    assert [(fire["slot"] - NOON) / HOUR for fire in listed["fires"]] == [3, 2, 1]
    assert schedules.fires_of("mine", Request("GET", "/", f"before={listed['next']:%Y-%m-%dT%H:%M:%SZ}"))["count"] == 1


@pytest.mark.parametrize(("policy", "second"), [("skip", "skipped"), ("queue", "waits"), ("allow", "due")])
def test_a_slot_that_comes_while_the_one_before_it_is_not_over(policy, second, make, at, story):
    make(overlap=policy)
    at(NOON)
    fires.fire()
    begin(NOON)
    at(NOON + HOUR)
    fires.fire()
    assert story() == [[0, "started"], [1, second]]
    assert (begin(NOON + HOUR) is None) == (policy != "allow")


def test_one_that_waited_goes_on_when_the_one_before_it_is_over(make, at, story, queue):
    make(overlap="queue")
    for hour in range(3):
        at(NOON + hour * HOUR)
        fires.fire()
        begin(NOON)
    assert [(each.schedule, each.function, each.slot) for each in finish(NOON)] == [("mine", "heal", NOON + HOUR)]
    assert story() == [[0, "done"], [1, "due"], [2, "waits"]]
    begin(NOON + HOUR)
    with db.transaction("worker") as tx:  # a function that does not care for what finish() returns
        tx.run("schedules.finish", name="mine", slot=NOON + HOUR, ok=True, message=None)
    queue.clear()
    fires.fire()
    assert queue == [("heal", {"schedule": "mine", "slot": "2031-06-09T14:00:00Z"})]


def test_a_schedule_begins_and_ends_when_it_is_told_to(make, at, story):
    make(starts_at="2031-06-09T14:00:00Z", ends_at="2031-06-09T15:30:00Z")
    assert shown()["next_run"] == NOON + 2 * HOUR
    for hour in range(6):
        at(NOON + hour * HOUR)
        fires.fire()
        begin(NOON + hour * HOUR)
        finish(NOON + hour * HOUR)
    assert story() == [[2, "done"], [3, "done"]]
    assert shown()["next_run"] is None


def test_one_that_cannot_be_worked_with_is_stopped_and_the_others_go_on(make, at, story, sql: Sql):
    for name in ("good", "gone", "broken", "new"):
        make(name)
    sql("update tidemark.schedules set time_zone = 'Mars/Olympus' where name = 'gone'")
    sql("update tidemark.schedules set cron = '61 * * * *' where name = 'broken'")
    sql("update tidemark.schedules set time_zone = '../../etc', next_slot = null where name = 'new'")
    at(NOON)
    report = tick.tick().fired
    assert (report.rung, report.stopped, story("good"), story("gone")) == (1, 3, [[0, "due"]], [])
    assert (shown("gone")["paused_by"], shown("gone")["pause_reason"]) == ("tick", "there is no time zone Mars/Olympus")
    assert sql("select alert_type, severity::text, affected_count from tds_alerts") == [["schedule_stopped", "error", 3]]
    assert tick.tick().fired.stopped == 0
    changed = schedules.change("gone", {"time_zone": "Europe/Berlin"})
    assert (changed["paused"], changed["pause_reason"], changed["next_run"]) == (False, None, NOON + HOUR)


def test_a_part_of_a_tick_that_fails_does_not_keep_the_others_from_their_turn(make, at, story, sql: Sql):
    make()
    at(NOON)
    sql("drop table tidemark.receipts")
    with pytest.raises(Exception, match="receipts"):
        tick.tick()
    assert story() == [[0, "due"]]
    sql("insert into tidemark.deltas (name, amount) values ('applied', 1)")
    with pytest.raises(Exception, match="receipts"):
        tick.tick()
    assert sql("select count(*) from tidemark.deltas") == [[0]]


def test_whether_the_scheduler_runs_is_known_from_its_last_tick(sql: Sql, turn_clock):
    asked = Request("GET", "/")
    assert (schedules.jobs(asked)["scheduler_running"], schedules.jobs(asked)["last_tick"]) == (False, None)
    tick.tick()
    assert schedules.jobs(asked)["scheduler_running"] is True
    turn_clock(2 * MINUTE)
    assert schedules.jobs(asked)["scheduler_running"] is True
    turn_clock(MINUTE)
    assert schedules.jobs(asked)["scheduler_running"] is False


# Answering ---------------------------------------------------------------------------------------------------------


def test_a_fire_is_begun_once(make, at, story):
    make(arguments={"mode": "full"})
    at(NOON)
    fires.fire()
    assert [begin(NOON), begin(NOON), begin(NOON + HOUR), begin(NOON, "nobody")] == [{"mode": "full"}, None, None, None]
    finish(NOON, ok=False)
    finish(NOON)  # too late
    assert (story(), begin(NOON)) == ([[0, "failed"]], None)


def test_of_two_who_begin_at_the_same_time_one_has_it(make, at):
    make()
    at(NOON)
    fires.fire()
    with ThreadPoolExecutor(8) as threads:
        found = [each.result() for each in [threads.submit(begin, NOON) for _ in range(8)]]
    assert (found.count({}), found.count(None)) == (1, 7)


def test_a_begin_that_is_rolled_back_was_none(make, at, story):
    make()
    at(NOON)
    fires.fire()

    def work() -> None:
        with db.transaction("worker") as tx:
            store.begin(tx, "mine", NOON)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert story() == [[0, "due"]]


def test_a_fire_that_goes_on_as_a_plan_ends_with_it(make, at, story):
    make(overlap="queue")
    at(NOON)
    fires.fire()
    plan = uuid4()
    with db.transaction("worker") as tx:
        store.begin(tx, "mine", NOON)
        store.attach(tx, "mine", NOON, plan)
    at(NOON + HOUR)
    fires.fire()
    assert heal.heal()["healers"]["stranded_fires"] == 0  # a plan may take long
    with db.transaction("worker") as tx:
        assert store.finish_plan(tx, uuid4(), ok=True) == []
        assert [each.slot for each in store.finish_plan(tx, plan, ok=False, message="a stage failed")] == [NOON + HOUR]
    assert story() == [[0, "failed"], [1, "due"]]
    assert schedules.fires_of("mine", Request("GET", "/"))["fires"][1]["message"] == "a stage failed"


def test_work_is_done_once_for_a_fire_and_each_time_by_hand(make, at, story):
    make(arguments={"a": 1})
    at(NOON)
    fires.fire()
    given: list[Any] = []
    for body in (
        {"schedule": "mine", "slot": "2031-06-09T12:00:00Z"},
        {"schedule": "mine", "slot": "2031-06-09T12:00:00Z"},
        {},
        {},
    ):
        fires.answered(body, given.append)
    assert (given, story()) == ([{"a": 1}, {}, {}], [[0, "done"]])


def test_work_that_fails_ends_its_fire(make, at, story):
    make()
    at(NOON)
    fires.fire()

    def work(_: Any) -> None:
        message = "as asked"
        raise Conflict(message)

    with pytest.raises(Conflict):
        fires.answered({"schedule": "mine", "slot": "2031-06-09T12:00:00Z"}, work)
    assert story() == [[0, "failed"]]
    assert schedules.fires_of("mine", Request("GET", "/"))["fires"][0]["message"] == "as asked"
    assert shown()["success_rate"] == 0.0


# Healing -----------------------------------------------------------------------------------------------------------


def test_a_fire_whose_function_died_is_ended_so_that_the_next_one_is_not_kept_waiting(make, at, story):
    make()
    at(NOON)
    fires.fire()
    begin(NOON)
    at(NOON + 19 * MINUTE)
    assert heal.heal()["stuck_tasks_recovered"] == 0
    at(NOON + 21 * MINUTE)
    assert heal.heal()["stuck_tasks_recovered"] == 1
    at(NOON + HOUR)
    fires.fire()
    assert story() == [[0, "failed"], [1, "due"]]


def test_a_fire_that_nobody_begins_for_a_day_was_missed(make, at, story):
    make(cron="0 12 9 6 *")
    at(NOON)
    fires.fire()
    at(NOON + 23 * HOUR)
    assert heal.heal()["healers"]["unbegun_fires"] == 0
    at(NOON + 25 * HOUR)
    assert heal.heal()["healers"]["unbegun_fires"] == 1
    assert story() == [[0, "missed"]]


def test_old_fires_are_forgotten_but_for_those_that_are_not_over(make, at, story):
    make(overlap="allow")
    for hour in range(3):
        at(NOON + hour * HOUR)
        fires.fire()
    begin(NOON)
    finish(NOON)
    begin(NOON + HOUR)
    with db.transaction("worker") as tx:
        store.attach(tx, "mine", NOON + HOUR, uuid4())
    schedules.pause("mine", {})
    at(NOON + 91 * DAY)
    assert heal.heal()["healers"]["old_fires"] == 1
    assert story() == [[1, "started"], [2, "waits"]]


def test_a_healer_that_fails_does_not_keep_the_others_from_their_turn(make, at, story, sql: Sql):
    make()
    at(NOON)
    fires.fire()
    begin(NOON)
    at(NOON + HOUR)
    sql("drop table tidemark.receipts")
    with pytest.raises(Exception, match="expired_leases"):
        heal.heal()
    assert story() == [[0, "failed"]]


# Changing ----------------------------------------------------------------------------------------------------------


def test_a_change_counts_from_the_next_slot_on_without_a_deploy(make, at, story):
    make()
    assert schedules.change("mine", {"cron": "30 * * * *"})["next_run"] == NOON + 30 * MINUTE
    at(NOON + 31 * MINUTE)
    fires.fire()
    assert story() == [[0.5, "due"]]


def test_a_change_of_what_is_not_the_time_leaves_an_overdue_slot_alone(make, at, story):
    make()
    at(NOON + SECOND)
    schedules.change("mine", {"overlap": "queue", "arguments": {"b": 2}})
    fires.fire()
    assert (story(), begin(NOON)) == ([[0, "due"]], {"b": 2})


def test_of_two_who_change_the_same_version_one_is_told(make):
    make()
    assert schedules.change("mine", {"catch_up": "last", "version": 1})["version"] == 2
    with pytest.raises(Conflict) as refused:
        schedules.change("mine", {"catch_up": "all", "version": 1})
    assert (refused.value.fields["version"], shown()["catch_up"]) == (2, "last")


@pytest.mark.parametrize(("policy", "after"), [("none", []), ("last", [[0, "missed"], [1, "missed"], [2, "due"]])])
def test_what_came_due_during_a_pause_is_caught_up_with_only_if_the_schedule_says_so(policy, after, make, at, story):
    make(catch_up=policy)
    assert schedules.pause("mine", {"reason": "stocktaking"})["paused"] is True
    at(NOON + 2.5 * HOUR)
    assert (fires.fire().due, story(), shown()["next_run"]) == (0, [], None)
    assert schedules.resume("mine", {})["paused"] is False
    fires.fire()
    assert (story(), shown()["next_run"]) == (after, NOON + 3 * HOUR)


def test_a_fire_that_nobody_has_begun_is_not_begun_during_a_pause(make, at, story):
    make()
    at(NOON)
    fires.fire()
    schedules.pause("mine", {})
    assert begin(NOON) is None
    at(NOON + 2 * HOUR)
    assert (fires.fire().rung, story()) == (0, [[0, "waits"]])
    schedules.resume("mine", {})
    assert (fires.fire().rung, story()) == (0, [[0, "missed"]])


def test_a_fire_that_nobody_has_begun_is_not_rung_again_while_its_schedule_is_switched_off(make, at, story):
    make()
    at(NOON)
    fires.fire()
    schedules.change("mine", {"enabled": False})
    at(NOON + 2 * MINUTE)
    assert (fires.fire().rung, story()) == (0, [[0, "due"]])
    schedules.change("mine", {"enabled": True})
    assert fires.fire().rung == 1


def test_a_run_by_hand_is_fired_at_once_also_during_a_pause(make, at, story, queue):
    make()
    schedules.pause("mine", {})
    at(NOON + 30 * MINUTE)
    status, said = schedules.run("mine", {})
    assert (status, story(), len(queue)) == (202, [[0.5, "due"]], 1)
    assert begin(said["slot"]) == {}
    with pytest.raises(Conflict):
        schedules.run("mine", {})
    assert shown()["next_run"] is None


def test_a_backfill_fires_what_was_not_done_one_after_the_other(make, at, story, queue):
    make()
    at(NOON + SECOND)
    fires.fire()
    begin(NOON)
    finish(NOON)
    at(NOON + 3.5 * HOUR)
    fires.fire()
    assert story() == [[0, "done"], [1, "missed"], [2, "missed"], [3, "missed"]]
    queue.clear()
    wanted = {"from": "2031-06-09T11:00:00Z", "to": "2031-06-09T14:00:00Z"}
    assert schedules.backfill("mine", wanted | {"dry_run": True}) == (
        200,
        {"schedule": "mine", "slots": 4, "recorded": 0, "dry_run": True},
    )
    assert schedules.backfill("mine", wanted)[1]["recorded"] == 3
    assert story() == [[-1, "due"], [0, "done"], [1, "waits"], [2, "waits"], [3, "missed"]]
    for hour in (-1, 1, 2):
        assert begin(NOON + hour * HOUR) == {}
        fires.ring_for(finish(NOON + hour * HOUR))
    assert [body["slot"][11:13] for _, body in queue] == ["11", "13", "14"]


def test_a_backfill_of_a_schedule_that_may_overlap_fires_all_at_once(make, at, story):
    make(overlap="allow")
    at(NOON + 10 * MINUTE)
    schedules.backfill("mine", {"from": "2031-06-09T09:00:00Z", "to": "2031-06-09T11:00:00Z"})
    assert story() == [[-3, "due"], [-2, "due"], [-1, "due"]]


# The users' configuration ------------------------------------------------------------------------------------------

CONFIGURE = "update tds_configuration set config_value = to_jsonb(cast(:value as text)) where config_key = :key"
CRON, ENABLED = "reconciliation.schedule_cron", "reconciliation.enabled"


def configuration(sql: Sql) -> list[Any]:
    return [
        row[0]
        for row in sql("select config_value from tds_configuration where config_key like 'reconciliation.%' order by config_key")
    ]


def test_the_nightly_sync_follows_the_configuration_without_a_deploy(sql: Sql, at):
    at(BEFORE)
    tick.tick()
    sql(CONFIGURE, key=CRON, value="30 12 * * *")
    tick.tick()
    assert (shown("daily_full_sync")["cron"], shown("daily_full_sync")["next_run"]) == ("30 12 * * *", NOON + 30 * MINUTE)
    sql(CONFIGURE, key=ENABLED, value="false")
    at(NOON + 31 * MINUTE)
    tick.tick()
    assert sql("select count(*) from tidemark.fires where schedule = 'daily_full_sync'") == [[0]]
    sql(CONFIGURE, key=ENABLED, value="true")
    tick.tick()
    assert shown("daily_full_sync")["next_run"] == NOON + DAY + 30 * MINUTE


def test_a_change_of_the_nightly_sync_is_a_change_of_the_configuration(sql: Sql):
    schedules.change("daily_full_sync", {"cron": "0 4 * * *", "enabled": False})
    assert configuration(sql) == ["false", "0 4 * * *"]
    assert (shown("daily_full_sync")["version"], shown("daily_full_sync")["next_run"]) == (2, None)


def test_a_configuration_that_is_no_cron_stops_the_nightly_sync_until_it_is_put_right(sql: Sql):
    sql(CONFIGURE, key=CRON, value="at night")
    assert tick.tick().fired.stopped == 1
    assert shown("daily_full_sync")["paused_by"] == "tick"
    sql(CONFIGURE, key=CRON, value="0 5 * * *")
    tick.tick()
    assert (shown("daily_full_sync")["paused"], shown("daily_full_sync")["next_run"].hour) == (False, 5)


def test_schedules_without_a_time_zone_of_their_own_follow_the_setting(sql: Sql, at):
    at(BEFORE)
    schedules.change("daily_statistics", {"time_zone": "Asia/Kolkata"})
    tick.tick()
    sql("update tidemark.settings set value = '\"Europe/Berlin\"' where key = 'schedules.time_zone'")
    tick.tick()
    assert shown("daily_full_sync")["next_run"] == NOON + 12 * HOUR  # 02:00 in summer
    assert (shown("daily_full_sync")["time_zone"], shown("daily_full_sync")["is_default_zone"]) == ("Europe/Berlin", True)
    assert (shown("daily_statistics")["time_zone"], shown("daily_statistics")["next_run"]) == ("Asia/Kolkata", NOON + 9.5 * HOUR)


def test_what_an_operator_changed_outlives_the_next_migration(sql: Sql):
    from common.flows import migrate

    schedules.change("auto_healing", {"cron": "*/5 * * * *"})
    schedules.change("daily_full_sync", {"cron": "0 4 * * *"})
    migrate.run()
    assert (shown("auto_healing")["cron"], shown("daily_full_sync")["cron"]) == ("*/5 * * * *", "0 4 * * *")


@pytest.mark.parametrize(
    "wrong",
    [
        "update tidemark.schedules set overlap = 'maybe'",
        "update tidemark.schedules set arguments = '[]'",
        "insert into tidemark.fires (schedule, slot, state) values ('auto_healing', now(), 'due')",
        "insert into tidemark.fires (schedule, slot, state) values ('auto_healing', now(), 'done')",
    ],
)
def test_a_row_that_makes_no_sense_is_refused(wrong, sql: Sql):
    with pytest.raises(DatabaseError):
        sql(wrong)
