"""Syncs against the stand-in: nothing lost, nothing deleted that is there, cursors never past what was applied."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from common import db, entities
from common.errors import Invalid, Unavailable
from common.flows import plan_status, plan_verbs, process, schedules, sync, work
from common.outgoing import calls
from common.stores import refetches
from deploy.local.zoho import StandIn
from tests.conftest import ORGANIZATION
from tests.make import an_invoice, an_item, connection, send

SIZES = {
    "product": 450, "invoice": 60, "customer": 230, "vendor": 12, "user": 4, "price_list": 3, "stock_adjustment": 7, "payment": 9,
    "order": 11, "bill": 8, "credit_note": 6,
}  # fmt: skip


@pytest.fixture
def zoho(configured):
    with StandIn(sizes=SIZES) as standing:
        standing.limits.off()
        configured(**connection(standing))
        yield standing
        calls.close()


@pytest.fixture
def unlimited(sql):
    """Our own limiter out of the way: a source without a rate."""
    sql("update tidemark.settings set value = '1000000' where key in ('zoho.calls_per_minute', 'zoho.calls_per_day')")
    sql("update tidemark.settings set value = '100000' where key = 'zoho.burst'")


@pytest.fixture
def run(sql, turn_clock, unlimited):
    """Start a sync and work until it is over; the plan's status."""

    def go(mode="full", *labels, **asked):
        body = {"mode": mode, "entity_type": labels[0] if labels else "all", **asked}
        plan = sync.by_hand(body)[1]["plan_id"]
        return end(plan)

    def end(plan):
        for _ in range(12):
            work.work()
            found = plan_status.status(plan)
            if found["finished_at"]:
                return found
            turn_clock(timedelta(seconds=61))
            sql("update tidemark.source_limits set blocked_until = '-infinity'")  # its clock is the source's, which nobody turns
        return found

    go.end = end
    return go


def live(sql, table, column="source_id"):
    return {row[0] for row in sql(f"select {column} from erp.{table} where deleted_at is null")}


def cursor(sql, label):
    found = sql(f"select cursor_value::timestamptz, last_sync_status::text from tds_sync_cursors where entity_type = '{label}'")
    return found[0] if found else None


def stamp(record, key="last_modified_time"):
    return datetime.fromisoformat(record[key]).astimezone(UTC)


def test_a_full_sync_brings_every_record_of_every_entity(sql, zoho, run):
    found = run()
    assert found["status"] == "succeeded", json.dumps(found, default=str)
    for entity in entities.every():
        wanted = set(zoho.rows(entity.label)) - deleted_users(zoho, entity.label)
        assert live(sql, entity.table) == wanted, entity.label
    runs = sql(
        "select entity_type::text, status::text, total_events, processed_events, failed_events, pages from tds_sync_runs where entity_type is not null"
    )
    assert len(runs) == 11
    assert all(row[1] == "completed" and row[4] == 0 for row in runs)
    assert {row[0]: (row[2], row[5]) for row in runs}["product"] == (450, 3)
    (whole,) = sql("select status::text, total_events, mode from tds_sync_runs where entity_type is null")
    assert whole[0] == "completed"
    assert whole[1] >= sum(row[2] for row in runs)
    assert sql("select count(*) from tds_sync_logs where sync_run_id is not null")[0][0] >= sum(row[5] for row in runs)


def deleted_users(zoho, label):
    return {key for key, row in zoho.rows(label).items() if label == "user" and row.get("status") == "deleted"}


def test_the_cursor_stands_at_the_newest_record_and_never_beyond_the_sources_clock(sql, zoho, run):
    zoho.skew = timedelta(minutes=-30)  # its clock says it is earlier than it is, so the newest stamps lie ahead of it
    zoho.edit("product", 1)
    run("full", "product")
    newest = max(stamp(row) for row in zoho.rows("product").values())
    at, status = cursor(sql, "product")
    assert status == "completed"
    assert at < newest
    assert at <= datetime.now(UTC) - timedelta(minutes=29)


def test_an_incremental_sync_reads_what_changed_and_no_more(sql, zoho, run):
    run("full", "product")
    edited = zoho.edit("product", 7)
    made = zoho.create("product", 2)
    before = len(zoho.calls)
    found = run("incremental", "product")
    assert found["status"] == "succeeded"
    rows, written = sql(f"select total_events, processed_events from tds_sync_runs where id = '{found['plan_id']}'")[0]
    assert written == 9
    assert rows < 450
    assert len([call for call in zoho.calls[before:] if call.path.endswith("/items")]) < 3
    stands = dict(sql("select source_id, source_modified_at from erp.products"))
    assert all(stands[each] == stamp(zoho.records("product")[each]) for each in [*edited, *made])


def test_an_unchanged_full_list_writes_no_record(sql, zoho, run):
    run("full", "product")
    before = sql("select source_id, updated_at, xmin::text from erp.products order by 1")
    found = run("full", "product")
    assert sql("select source_id, updated_at, xmin::text from erp.products order by 1") == before
    assert sql(f"select processed_events, skipped_events from tds_sync_runs where id = '{found['plan_id']}'") == [[0, 450]]


def test_what_is_gone_is_asked_for_by_its_id_and_then_deleted(sql, zoho, run, turn_clock):
    run("full", "product")
    age(sql)
    gone = set(zoho.delete("product", 5))
    run("full", "product")
    assert {row[0] for row in sql("select source_id from erp.products where deleted_at is not null")} == gone
    trail = sql("select distinct operation::text, change_source::text from tds_audit_trail where operation = 'delete'")
    assert trail == [["delete", "manual"]]
    assert sql("select count(*) from tidemark.refetches where reason = 'missing'") == [[0]]


def age(sql):
    """Make everything look as if it had been read an hour ago."""
    sql("update erp.products set created_at = created_at - interval '1 hour', observed_at = observed_at - interval '1 hour'")


def test_a_record_that_a_list_forgot_is_not_deleted(sql, zoho, run):
    run("full", "product")
    age(sql)
    sql("""insert into erp.products (organization_id, source_id, observed_at, created_at, provenance)
           select organization_id, 'unlisted', observed_at, created_at, provenance from erp.products limit 1""")
    zoho.late = 3600.0  # what changes now is invisible in every answer for an hour
    present = next(iter(zoho.records("product")))
    with db.transaction("worker") as tx:
        refetches.ask(tx, ORGANIZATION, [("product", present)], "missing")
    run("full", "product")
    assert live(sql, "products") == set(zoho.rows("product"))  # the one nobody knows is gone, the candidate is not


def test_too_many_missing_at_once_are_not_believed(sql, zoho, run):
    run("full", "product")
    age(sql)
    zoho.delete("product", 40)
    found = run("full", "product")
    assert found["status"] == "succeeded"
    assert sql("select count(*) from erp.products where deleted_at is not null") == [[0]]
    assert sql("select alert_type, affected_count from tds_alerts where alert_type like 'sync%'") == [["sync_too_many_missing", 40]]


def test_rows_that_move_between_pages_are_neither_lost_nor_deleted(sql, zoho, run):
    run("full", "product")
    age(sql)
    zoho.churn(every=1, edit=20, create=3, delete=1, label="product")
    run("full", "product")
    zoho.churn(every=1_000_000)
    run("incremental", "product")
    run("full", "product")
    assert live(sql, "products") == set(zoho.rows("product"))
    stands = dict(sql("select source_id, source_modified_at from erp.products where deleted_at is null"))
    assert stands == {key: stamp(row) for key, row in zoho.rows("product").items()}


def test_a_page_that_repeats_for_ever_ends_the_run_and_pins_the_cursor(sql, zoho, run):
    run("incremental", "product")
    before = cursor(sql, "product")
    zoho.faults.add("repeating", path="/items")
    found = run("full", "product")
    assert found["status"] == "failed"
    assert cursor(sql, "product") == [before[0], "failed"]
    assert sql("select alert_type from tds_alerts") == [["sync_failed"]]
    assert len(zoho.calls) < 60
    zoho.faults.clear()
    run("full", "product")
    assert sql("select resolved from tds_alerts") == [[True]]


def test_a_page_that_cannot_be_read_pins_the_cursor_until_it_can(sql, zoho, run, turn_clock):
    run("full", "product")
    before = cursor(sql, "product")
    zoho.turn(seconds=3600)
    zoho.edit("product", 3)
    zoho.faults.add("failing", path="/items")
    found = run("incremental", "product")
    assert (found["status"], found["failed_shards"]) == ("running", 0)  # the source may come back, for as long as there is time
    turn_clock(timedelta(hours=1))
    plan_verbs.stop_overdue()
    assert plan_status.status(found["plan_id"])["status"] == "failed"
    assert sql("select alert_type from tds_alerts where not resolved order by 1") == [["breaker_open:zoho"], ["sync_failed"]]
    assert cursor(sql, "product") == [before[0], "failed"]
    zoho.faults.clear()
    assert run("incremental", "product")["status"] == "succeeded"
    assert cursor(sql, "product")[0] > before[0]


def test_what_is_read_again_after_a_list_was_over_does_not_begin_its_run_anew(sql, zoho, run):
    run("full", "order")
    assert sql("select count(*) from tds_sync_logs where source_entity_id like '% by id'") != [[0]], "nothing was read again"
    assert sql("select distinct status::text from tds_sync_runs where completed_at is not null") == [["completed"]]


@pytest.mark.parametrize("fault", ["unavailable", "error", "truncated", "cut", "minute", "busy", "unauthorized"])
def test_trouble_of_the_source_costs_time_and_nothing_else(sql, zoho, run, fault):
    zoho.faults.add(fault, calls=3)
    found = run("full", "product")
    assert found["status"] == "succeeded"
    assert found["failed_shards"] == 0
    assert live(sql, "products") == set(zoho.rows("product"))


def test_an_edit_that_becomes_visible_late_is_found_by_the_lookback(sql, zoho, run):
    run("full", "product")
    zoho.late = 120.0
    late = zoho.edit("product", 3)
    zoho.late = 0.0
    seen = zoho.edit("product", 1)
    run("incremental", "product")
    zoho.turn(seconds=130)
    run("incremental", "product")
    stands = dict(sql("select source_id, source_modified_at from erp.products"))
    assert all(stands[each] == stamp(zoho.records("product")[each]) for each in [*late, *seen])


def test_another_offset_of_the_organization_moves_no_moment(sql, zoho, run):
    run("full", "product")
    before = cursor(sql, "product")
    zoho.move("-0800")
    assert run("incremental", "product")["status"] == "succeeded"
    assert cursor(sql, "product")[0] == before[0]
    assert dict(sql("select source_id, source_modified_at from erp.products")) == {
        key: stamp(row) for key, row in zoho.rows("product").items()
    }


def test_given_ids_are_read_whatever_they_stand_at(sql, zoho, run):
    run("full", "product")
    quiet = zoho.edit_quietly("product", 3)
    found = run("incremental", "product", entity_ids=quiet)
    assert found["status"] == "succeeded"
    stands = dict(sql("select source_id, stock_on_hand from erp.products"))
    assert all(float(stands[each]) == float(zoho.records("product")[each]["stock_on_hand"]) for each in quiet)


def test_an_ambiguous_record_and_a_hint_are_settled_by_asking_the_source(sql, zoho, run):
    run("full", "product")
    identifier, record = next(iter(zoho.records("product").items()))
    send("products", an_item(identifier, record["last_modified_time"], name="one"))
    send("products", an_item(identifier, record["last_modified_time"], name="two"))
    process.process()
    assert sql("select reason from tidemark.refetches") == [["ambiguous"]]
    run("incremental", "product")
    assert sql(f"select name, ambiguous from erp.products where source_id = '{identifier}'") == [[record["name"], False]]
    assert sql("select count(*) from tidemark.refetches") == [[0]]


def test_a_hint_is_settled_by_one_reading_although_its_kind_never_says_when_it_changed(sql, zoho, run):
    run("full", "user")
    identifier, record = next(iter(zoho.records("user").items()))
    send("users", {"user": record | {"name": "somebody"}})
    process.process()
    assert sql("select reason from tidemark.refetches") == [["hint"]]
    run("incremental", "user")
    assert sql("select count(*) from tidemark.refetches") == [[0]]
    assert sql(f"select name from erp.users where source_id = '{identifier}'") == [[record["name"]]]


def test_a_list_of_one_page_takes_one_call(sql, zoho, run):
    run("full", "user")
    assert [call.path for call in zoho.calls if call.path.endswith("/users")] == ["/books/v3/users"]


def test_the_lines_of_documents_come_with_their_details(sql, zoho, run):
    run("full", "invoice")
    stale = sql("select count(*) from erp.invoices where detail_document is null")[0][0]
    assert stale < 60
    done = {row[0] for row in sql("select source_id from erp.invoices where detail_document is not null")}
    for identifier in done:
        wanted = len(zoho.records("invoice")[identifier]["line_items"])
        assert sql(f"select count(*) from erp.invoice_lines where source_id = '{identifier}'") == [[wanted]]


def test_the_stock_sync_reads_the_products_that_documents_moved(sql, zoho, run):
    run("full")
    quiet = zoho.edit_quietly("product", 2)
    sql("update erp.products set stock_read_at = stock_read_at - interval '1 hour'")
    invoice = an_invoice("inv-1", datetime.now(UTC).isoformat(timespec="seconds"), lines=2)
    for line, item in zip(invoice["invoice"]["line_items"], quiet, strict=True):
        line["item_id"] = item
    send("invoices", invoice)
    process.process()
    assert run("stock")["status"] == "succeeded"
    stands = dict(sql("select source_id, stock_on_hand from erp.products"))
    assert all(float(stands[each]) == float(zoho.records("product")[each]["stock_on_hand"]) for each in quiet)


def test_a_webhook_and_a_page_end_at_the_same_record(sql, zoho, run):
    run("full", "product")
    (identifier,) = zoho.edit("product", 1)
    record = zoho.records("product")[identifier]
    send("products", {"item": record})
    process.process()
    by_webhook = sql(f"select name, rate, source_modified_at from erp.products where source_id = '{identifier}'")
    run("incremental", "product")
    assert sql(f"select name, rate, source_modified_at from erp.products where source_id = '{identifier}'") == by_webhook


def test_the_second_edit_of_a_second_is_not_lost_with_its_webhook(sql, zoho, run):
    (identifier,) = zoho.create("bill", 1)
    record = zoho.records("bill")[identifier]
    zoho.turn(seconds=30)
    send("bills", {"bill": record | {"bill_number": "as it was for half a second"}})
    process.process()
    run("full", "bill")
    assert sql(f"select bill_number from erp.bills where source_id = '{identifier}'") == [[record["bill_number"]]]


def test_a_settled_row_brings_what_a_webhook_lacks_though_it_came_in_the_second_of_the_reading(sql, zoho, run):
    (identifier,) = zoho.create("bill", 1)
    run("full", "bill")
    zoho.turn(seconds=60)
    zoho.edit("bill", ids=[identifier], status="void")
    zoho.turn(seconds=60)
    send("bills", {"bill": zoho.records("bill")[identifier]})
    process.process()
    sql("update erp.bills set observed_at = observed_at + interval '1 hour'")  # later than any page of today
    run("incremental", "bill")
    assert sql(f"select current_sub_status from erp.bills where source_id = '{identifier}'") == [["void"]]  # which no detail has


def test_a_row_brings_what_no_detail_has_though_the_detail_of_its_version_was_read_no_earlier(sql, zoho, run):
    (identifier,) = zoho.create("bill", 1)
    run("full", "bill")
    zoho.turn(seconds=60)
    zoho.edit("bill", ids=[identifier], status="void")
    zoho.turn(seconds=60)
    sync.by_hand({"entity_type": "bill", "entity_ids": [identifier]})
    work.work(holder="by id")
    assert sql(f"select status, settled from erp.bills where source_id = '{identifier}'") == [["void", True]]
    run("incremental", "bill")  # the stand-in's clock stands, so this is served in the same second
    assert sql(f"select current_sub_status from erp.bills where source_id = '{identifier}'") == [["void"]]


def test_a_sync_of_what_is_being_synced_is_not_begun_twice(sql, zoho, unlimited):
    first = sync.by_hand({"mode": "full", "entity_type": "product"})[1]
    again = sync.by_hand({"mode": "incremental", "entity_type": "product"})[1]
    assert again["run_id"] == first["run_id"]
    forced = sync.by_hand({"mode": "incremental", "entity_type": "product", "force": True})[1]
    assert forced["run_id"] != first["run_id"]


def test_a_stopped_sync_says_so_everywhere(sql, zoho, unlimited):
    plan = sync.by_hand({"mode": "full"})[1]["plan_id"]
    plan_verbs.act("cancel", plan)
    assert sql("select distinct status::text from tds_sync_runs") == [["failed"]]
    assert sql("select count(*) from tds_sync_runs where completed_at is null") == [[0]]
    assert work.work().chunks == 0


@pytest.mark.parametrize(
    ("asked", "pointers"),
    [
        ({"entity_type": "nothing"}, ["/entity_type"]),
        ({"entity_type": 7}, ["/entity_type"]),
        ({"mode": "sideways"}, ["/mode"]),
        ({"entity_ids": ["1"]}, ["/entity_ids"]),
        ({"entity_type": "product", "entity_ids": []}, ["/entity_ids"]),
        ({"entity_type": "product", "entity_ids": [1]}, ["/entity_ids/0"]),
        ({"entity_type": "product", "entity_ids": ["' OR 1=1--"]}, ["/entity_ids/0"]),
        ({"entity_type": "product", "entity_ids": ["1"] * 1001}, ["/entity_ids"]),
        ({"priority": 11, "force": 1, "x": 1}, ["/x", "/force", "/priority"]),
    ],
)
def test_a_request_that_cannot_be_is_refused_with_pointers(database_url, asked, pointers):
    with pytest.raises(Invalid) as refused:
        sync.by_hand(asked)
    assert [fault["pointer"] for fault in refused.value.fields["errors"]] == pointers


def test_an_entity_goes_by_any_of_its_names(sql, zoho, unlimited):
    found = sync.by_hand({"entity_type": "items", "mode": "full"})[1]
    assert [run["entity_type"] for run in found["runs"]] == ["product"]


@pytest.mark.parametrize("arguments", [{"mode": "sideways"}, {"entities": ["nobody"]}, {"entities": "product"}, {"mode": ["full"]}])
def test_a_schedule_with_arguments_that_cannot_be_fails_its_fire_and_says_why(sql, zoho, unlimited, arguments):
    slot = fire(sql, arguments)
    answer = sync.by_schedule("hourly_incremental_sync", slot)
    assert (answer["success"], "its argument" in answer["message"]) == (False, True)
    assert sql("select state from tidemark.fires") == [["failed"]]


def test_a_slot_that_is_rung_twice_starts_one_sync(sql, zoho, unlimited):
    slot = fire(sql, {"mode": "incremental"})
    assert sync.by_schedule("hourly_incremental_sync", slot)["plan_id"]
    assert sync.by_schedule("hourly_incremental_sync", slot)["message"] == "This slot was begun before."
    assert sql("select count(*) from tidemark.plans") == [[1]]


def fire(sql, arguments):
    """A fire of a schedule that waits to be begun."""
    sql(
        "update tidemark.schedules set arguments = cast(:said as jsonb) where name = 'hourly_incremental_sync'",
        said=json.dumps(arguments),
    )
    schedules.run("hourly_incremental_sync", {})
    return sql("select slot from tidemark.fires")[0][0]


def test_without_a_source_a_sync_is_refused_and_says_what_to_set(database_url):
    with pytest.raises(Unavailable, match="ZOHO_REFRESH_TOKEN"):
        sync.by_hand({})
