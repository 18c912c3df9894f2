"""Syncs when the source, the clock, an operator or another sync does what it should not: nothing lost, nothing deleted that is there."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from common import db, entities
from common.flows import plan_status, plan_verbs, process, sync, work
from common.outgoing import calls, tokens
from common.stores import refetches, runs
from deploy.local.zoho import StandIn
from deploy.local.zoho.lists import Found
from tests.chaos import check
from tests.chaos.doomed import Doomed
from tests.chaos.processes import eventually
from tests.conftest import ORGANIZATION
from tests.make import an_invoice, connection, send

SIZES = {"product": 450, "customer": 30, "vendor": 12, "user": 4, "price_list": 3, "stock_adjustment": 7, "invoice": 5}


@pytest.fixture
def zoho(configured):
    with StandIn(sizes=SIZES) as standing:
        standing.limits.off()
        configured(**connection(standing))
        yield standing
        calls.close()


@pytest.fixture(autouse=True)
def _unlimited(sql):
    """Our own limiter out of the way: a source without a rate."""
    sql("update tidemark.settings set value = '1000000' where key in ('zoho.calls_per_minute', 'zoho.calls_per_day')")
    sql("update tidemark.settings set value = '100000' where key = 'zoho.burst'")


@pytest.fixture
def finish(sql, turn_clock):
    """Work until a plan is over; its status."""

    def until_over(plan, turns=12):
        for _ in range(turns):
            work.work()
            found = plan_status.status(plan)
            if found["finished_at"]:
                break
            turn_clock(timedelta(seconds=61))
            sql("update tidemark.source_limits set blocked_until = '-infinity'")  # its clock is the source's, which nobody turns
        return found

    return until_over


def start(mode="full", label="all", **asked):
    return sync.by_hand({"mode": mode, "entity_type": label, **asked})[1]["plan_id"]


def live(sql, table):
    return {row[0] for row in sql(f"select source_id from erp.{table} where deleted_at is null")}


def cursor(sql, label):
    return sql(f"select cursor_value::timestamptz, last_sync_status::text from tds_sync_cursors where entity_type = '{label}'")[0]


def stamps(zoho, label):
    return {key: datetime.fromisoformat(row["last_modified_time"]).astimezone(UTC) for key, row in zoho.rows(label).items()}


def stands(sql, table):
    return dict(sql(f"select source_id, source_modified_at from erp.{table} where deleted_at is null"))


def age(sql):
    """Make everything look as if it had been read an hour ago."""
    for entity in entities.every():
        sql(
            f"update erp.{entity.table} set created_at = created_at - interval '1 hour', observed_at = observed_at - interval '1 hour'"
        )


def list_nothing(zoho, monkeypatch, path):
    """This list answers 200 with zero rows, whatever there is."""
    lists = zoho._api._lists
    find = lists.find

    def found(module, query, *, is_filtered=True):
        answer = find(module, query, is_filtered=is_filtered)
        return Found([], answer.column, answer.order, answer.applied_filter) if module.path == path else answer

    monkeypatch.setattr(lists, "find", found)


# A sync that failed, and is tried again ------------------------------------------------------------------------------


def test_a_sync_that_is_tried_again_reads_what_lies_beyond_the_page_that_failed(sql, zoho, finish, database_url):
    zoho.faults.add("repeating", path="/items")
    plan = start("full", "product")
    assert finish(plan)["status"] == "failed"
    zoho.faults.clear()
    plan_verbs.act("retry", plan)
    assert finish(plan)["status"] == "succeeded"
    assert stands(sql, "products") == stamps(zoho, "product")
    assert check.plan_faults(database_url) == []


def test_a_sync_that_is_tried_again_and_goes_well_says_so_everywhere(sql, zoho, finish):
    zoho.faults.add("repeating", path="/items")
    plan = start("full", "product")
    finish(plan)
    zoho.faults.clear()
    plan_verbs.act("retry", plan)
    finish(plan)
    newest = max(stamps(zoho, "product").values())
    assert cursor(sql, "product") == [newest, "completed"]
    assert sql("select resolved from tds_alerts where alert_type = 'sync_failed'") == [[True]]
    assert sql("select distinct status::text, error_summary is null from tds_sync_runs") == [["completed", True]]


def test_a_sync_whose_time_was_over_goes_on_where_it_was_when_it_is_tried_again(sql, zoho, finish, turn_clock, database_url):
    zoho.faults.add("failing", path="/items", after=1)
    plan = start("full", "product")
    work.work()
    turn_clock(timedelta(hours=7))
    plan_verbs.stop_overdue()
    assert plan_status.status(plan)["status"] == "failed"
    zoho.faults.clear()
    plan_verbs.act("retry", plan)
    assert finish(plan)["status"] == "succeeded"
    assert stands(sql, "products") == stamps(zoho, "product")
    assert check.plan_faults(database_url) == []


def test_a_source_that_refuses_a_list_is_not_asked_for_page_after_page(sql, zoho, finish):
    zoho.faults.add("unauthorized", path="/items")
    found = finish(start("full", "product"), turns=6)
    assert found["status"] == "failed"
    assert len([call for call in zoho.calls if call.path.endswith("/items")]) < 40
    assert sql("select alert_type from tds_alerts where not resolved") == [["sync_failed"]]


# The source is away --------------------------------------------------------------------------------------------------


def test_a_source_that_is_down_for_an_hour_costs_the_hour_and_no_record(sql, zoho, finish, turn_clock):
    plan = start("full", "product")
    zoho.faults.add("down")
    for _ in range(12):
        work.work()
        turn_clock(timedelta(minutes=5))
    found = plan_status.status(plan)
    assert (found["status"], found["failed_shards"]) == ("running", 0)
    zoho.faults.clear()
    zoho.edit("product", 5)
    assert finish(plan)["status"] == "succeeded"
    assert stands(sql, "products") == stamps(zoho, "product")


def test_a_source_that_is_down_is_called_five_times_and_then_once_a_minute_until_it_is_up_and_the_work_goes_on(
    sql, zoho, finish, turn_clock, database_url
):
    plan = start("full", "product")
    zoho.faults.add("unavailable")
    for _ in range(60):  # ten minutes
        work.work()
        turn_clock(timedelta(seconds=10))
    asked = len([call for call in zoho.calls if not call.path.startswith("/oauth")])
    assert 5 < asked <= 5 + 10
    assert sql("select state, failed from tidemark.breakers where name = 'zoho'") == [["open", asked]]
    assert sql("select alert_type from tds_alerts where not resolved") == [["breaker_open:zoho"]]
    found = plan_status.status(plan)
    assert (found["status"], found["failed_shards"]) == ("running", 0)
    zoho.faults.clear()
    assert finish(plan)["status"] == "succeeded"  # nobody reset anything
    assert stands(sql, "products") == stamps(zoho, "product")
    assert sql("select state from tidemark.breakers where name = 'zoho'") == [["closed"]]
    assert sql("select count(*) from tds_alerts where not resolved") == [[0]]
    assert check.plan_faults(database_url) == []


def test_the_end_of_the_days_calls_stops_every_sync_and_no_webhook(sql, zoho, finish, turn_clock):
    zoho.limits.daily = 1
    first = start("full", "product")
    second = start("full", "customer", priority=9)  # so that it is the first that gets the one call
    work.work()
    spent = len(zoho.calls)
    for _ in range(3):
        turn_clock(timedelta(minutes=5))
        work.work()
    assert len(zoho.calls) == spent  # nobody asks again before the source's day is over
    assert {plan_status.status(plan)["status"] for plan in (first, second)} == {"running"}
    assert {plan_status.status(plan)["failed_shards"] for plan in (first, second)} == {0}
    send("invoices", an_invoice("late", "2026-06-09T09:45:44+0000"))
    process.process()
    assert "late" in live(sql, "invoices")
    zoho.turn(seconds=86_400)
    sql("update tidemark.source_limits set blocked_until = '-infinity', resets_at = clock_timestamp(), day_limit = null")
    zoho.limits.off()
    turn_clock(timedelta(hours=25))
    plan_verbs.stop_overdue()
    for plan in (first, second):
        assert plan_status.status(plan)["status"] == "failed"  # its time was over before the day was: tried again it goes on
        plan_verbs.act("retry", plan)
        assert finish(plan)["status"] == "succeeded"
    assert stands(sql, "products") == stamps(zoho, "product")


def test_our_own_limit_of_the_day_gives_the_work_back_and_says_when_it_goes_on(sql, zoho):
    sql("update tidemark.settings set value = '2' where key = 'zoho.calls_per_day'")
    plan = start("full", "product")
    work.work()
    assert len([call for call in zoho.calls if not call.path.startswith("/oauth")]) <= 2
    found = plan_status.status(plan)
    assert (found["status"], found["failed_shards"]) == ("running", 0)
    waits = sql("select max(ready_at) - app_now() > interval '1 hour' from tidemark.lanes")
    assert waits == [[True]]
    assert sql("select status::text from tds_sync_runs where entity_type = 'product'") == [["processing"]]


def test_workers_that_begin_at_once_get_one_token(database_url, zoho):
    plan = start("full")
    tokens._known.clear()
    doomed = Doomed(database_url)
    assert doomed.orders(["shards 100000"] * 4) == [0] * 4
    doomed.close()
    work.work()
    assert plan_status.status(plan)["status"] == "succeeded"
    assert len([call for call in zoho.calls if call.path.startswith("/oauth")]) == 1


# Lists that are not what they were -----------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["product", "invoice"])
def test_a_list_that_is_empty_by_mistake_deletes_nothing(sql, zoho, finish, monkeypatch, label):
    entity = entities.by_label()[label]
    finish(start("full", label))
    age(sql)
    before = live(sql, entity.table)
    list_nothing(zoho, monkeypatch, entity.pull.path)
    assert finish(start("full", label))["status"] == "succeeded"
    assert live(sql, entity.table) == before


def test_an_empty_list_of_what_cannot_be_read_by_id_is_not_believed(sql, zoho, finish, monkeypatch):
    finish(start("full", "price_list"))
    age(sql)
    before = live(sql, "price_lists")
    assert before
    list_nothing(zoho, monkeypatch, "pricebooks")
    finish(start("full", "price_list"))
    assert live(sql, "price_lists") == before
    alerted = sql("select alert_type, affected_count from tds_alerts where not resolved and alert_type like 'sync_%'")
    assert alerted == [["sync_too_many_missing", len(before)]]


def test_a_bulk_answer_without_any_of_the_records_is_not_believed(sql, zoho, finish, monkeypatch):
    finish(start("full", "product"))
    age(sql)
    some = sorted(live(sql, "products"))[:3]
    with db.transaction("worker") as tx:
        refetches.ask(tx, ORGANIZATION, [("product", each) for each in some], "missing")
    details = zoho._api._item_details
    monkeypatch.setattr(zoho._api, "_item_details", lambda _: details({"item_ids": "1"}))
    finish(start("incremental", "product"))
    assert set(some) <= live(sql, "products")


# Syncs that meet -----------------------------------------------------------------------------------------------------


def test_two_that_start_the_same_sync_at_once_start_one(sql, zoho):
    errors, started = [], []
    gate = threading.Barrier(4)

    def begin():
        gate.wait()
        try:
            started.append(start("full", "product"))
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(set(started)) == 1
    assert sql("select count(*) from tidemark.plans") == [[1]]


def fire(sql, schedule, slot):
    sql(
        "insert into tidemark.fires (schedule, slot, state, ready_at, rung_at, rings)"
        " values (:schedule, cast(:slot as timestamptz), 'due', app_now(), app_now(), 1)",
        schedule=schedule,
        slot=slot.isoformat(),
    )


def fires(sql):
    return sql("select state, plan_id is not null, message from tidemark.fires order by slot")


def test_a_slot_that_arrives_twice_starts_one_sync(sql, zoho):
    slot = datetime(2026, 6, 9, 10, tzinfo=UTC)
    fire(sql, "hourly_incremental_sync", slot)
    errors, gate = [], threading.Barrier(2)

    def arrive():
        gate.wait()
        try:
            sync.by_schedule("hourly_incremental_sync", slot)
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=arrive) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sql("select count(*) from tidemark.plans") == [[1]]
    assert sync.by_schedule("hourly_incremental_sync", slot)["message"] == "This slot was begun before."
    assert fires(sql) == [["started", True, None]]


def test_a_full_sync_that_runs_into_the_next_slot_is_not_begun_beside_itself(sql, zoho, finish):
    first, second = (datetime(2026, 6, day, 2, tzinfo=UTC) for day in (9, 10))
    fire(sql, "daily_full_sync", first)
    plan = sync.by_schedule("daily_full_sync", first)["plan_id"]
    fire(sql, "daily_full_sync", second)
    assert sync.by_schedule("daily_full_sync", second)["plan_id"] is None
    assert fires(sql) == [["started", True, None], ["done", False, sync.BUSY]]
    assert finish(plan)["status"] == "succeeded"
    assert fires(sql)[0] == ["done", True, None]


def test_syncs_of_entities_that_overlap_each_read_what_the_other_does_not(sql, zoho, finish):
    only = start("full", "product")
    every = start("full")
    read = sql(
        "select entity_type::text from tds_sync_runs where plan_id = cast(:plan as uuid) and entity_type is not null", plan=every
    )
    assert ["product"] not in read
    assert len(read) == 10
    assert {finish(only)["status"], finish(every)["status"]} == {"succeeded"}
    for entity in entities.every():
        if entity.label in SIZES and entity.label != "user":
            assert live(sql, entity.table) == set(zoho.rows(entity.label)), entity.label


def test_a_webhook_for_a_record_in_the_middle_of_a_page_that_is_being_merged_is_not_lost(sql, zoho, finish, monkeypatch):
    finish(start("full", "product"))
    zoho.turn(seconds=60)
    edited = zoho.edit("product", 30)
    arrived = []
    real = runs.log

    def meanwhile(tx, *given, **more):
        real(tx, *given, **more)
        if not arrived:
            arrived.append(edited[7])
            zoho.turn(seconds=30)
            zoho.edit("product", ids=[edited[7]], name="of the webhook")
            send("products", {"item": zoho.records("product")[edited[7]]})
            thread = threading.Thread(target=process.process)  # waits for the page, which holds the record
            threads.append(thread)
            thread.start()

    threads: list[threading.Thread] = []
    monkeypatch.setattr(runs, "log", meanwhile)
    finish(start("incremental", "product"))
    for thread in threads:
        thread.join()
    assert arrived
    assert sql(f"select name from erp.products where source_id = '{edited[7]}'") == [["of the webhook"]]
    assert stands(sql, "products") == stamps(zoho, "product")


def test_documents_that_come_while_stock_is_being_synced_have_their_products_read_by_the_next_one(sql, zoho, finish, turn_clock):
    finish(start("full"))
    sql("update erp.products set stock_read_at = stock_read_at - interval '1 hour'")
    turn_clock(timedelta(minutes=15))
    plan = start("stock")
    (quiet,) = zoho.edit_quietly("product", 1)
    invoice = an_invoice("inv-1", datetime.now(UTC).isoformat(timespec="seconds"))
    invoice["invoice"]["line_items"][0]["item_id"] = quiet
    send("invoices", invoice)
    process.process()
    turn_clock(timedelta(seconds=5))
    finish(plan)
    turn_clock(timedelta(minutes=15))
    finish(start("stock"))
    assert float(sql(f"select stock_on_hand from erp.products where source_id = '{quiet}'")[0][0]) == float(
        zoho.records("product")[quiet]["stock_on_hand"]
    )


def test_a_record_that_its_source_does_not_show_yet_is_not_deleted_for_that(sql, zoho, finish):
    finish(start("full", "product"))
    zoho.late = 600.0
    (made,) = zoho.create("product", 1)
    record = zoho._store.books.standing["product"].get(made).record
    send("products", {"item": dict(record)})
    process.process()
    with db.transaction("worker") as tx:
        refetches.ask(tx, ORGANIZATION, [("product", made)], "hint")
    finish(start("incremental", "product"))
    assert made in live(sql, "products")


def test_a_record_that_is_read_again_is_locked_before_its_refetch_as_webhooks_do(sql, zoho, finish, database_url):
    finish(start("full", "product"))
    identifier = min(live(sql, "products"))
    with db.transaction("worker") as tx:
        refetches.ask(tx, ORGANIZATION, [("product", identifier)], "asked")
    webhook = db.Connection(db.Address(database_url))
    webhook.script(f"begin; select 1 from erp.products where source_id = '{identifier}' for update")
    plan = start("incremental", "product")
    thread = threading.Thread(target=work.work)
    thread.start()
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0"
    eventually(lambda: sql(waiting) != [[0]], 20, "the wait for the record")
    free = webhook.script(f"select 1 from tidemark.refetches where source_entity_id = '{identifier}' for update skip locked")
    webhook.script("commit")
    webhook.close()
    thread.join()
    assert free == [[1]]  # else the webhook, which asks for a refetch last, and the refetch would wait for each other
    assert finish(plan)["status"] == "succeeded"
