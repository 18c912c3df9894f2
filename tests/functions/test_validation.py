"""/api/tds/data-validation/*: what is wrong with the data, found in a bounded look, and nothing said of what is right."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from common import entities
from common.flows import process, validation
from common.rules.http import Request
from common.rules.references import PARENTS
from tests.conftest import ORGANIZATION, OWNER
from tests.functions.shells import Reply, keeps_the_promises_of_a_refusal, wsgi
from tests.make import an_invoice, an_item, send


def read(topic: str, query: str = "") -> Reply:
    return wsgi(Request("GET", f"/api/tds/data-validation/{topic}", query, (("authorization", f"Bearer {OWNER}"),)), "status")


def found(topic: str, entity: str, query: str = "") -> dict[str, Any]:
    """What the checks of an entity found: the ids by the name of the check."""
    reply = read(topic, query)
    assert reply.status == 200, reply.body
    return {each["check"]: each["sample"] for each in reply.json["entities"][entity]["checks"]}


def add(sql: Any, table: str, identifier: str, **columns: Any) -> None:
    """A record as it stands; values are SQL."""
    given = {"organization_id": f"'{ORGANIZATION}'", "source_id": f"'{identifier}'"}
    if "line_no" not in columns:
        given |= {"observed_at": "app_now()", "provenance": "'zoho'", "detail_document": "'{}'"}
    given |= {name: str(value) for name, value in columns.items()}
    sql(f"insert into erp.{table} ({', '.join(given)}) values ({', '.join(given.values())})")


GOOD = {"name": "'Lamp'", "sku": "'own-' || gen_random_uuid()", "rate": 1, "stock_on_hand": 1, "status": "'active'"}


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        ("missing_name", {"name": "''"}),
        ("missing_name", {"name": "null"}),
        ("missing_sku", {"sku": "''"}),
        ("missing_rate", {"rate": "null"}),
        ("negative_rate", {"rate": -1}),
        ("negative_stock", {"stock_on_hand": "-0.5"}),
        ("inactive_with_stock", {"status": "'inactive'"}),
    ],
)
def test_a_product_with_something_wrong_is_found_and_a_good_one_is_not(check, wrong, sql):
    add(sql, "products", "good", **GOOD)
    add(sql, "products", "bad", **GOOD | wrong)
    add(sql, "products", "gone", **GOOD | wrong | {"deleted_at": "app_now()"})
    assert found("products", "product") == {check: ["bad"]}


def test_two_products_with_one_sku_are_both_found(sql):
    for identifier, sku in (("a", "'x'"), ("b", "'x'"), ("c", "'y'"), ("d", "''"), ("e", "''")):
        add(sql, "products", identifier, **GOOD | {"sku": sku})
    assert found("products", "product") == {"duplicate_sku": ["a", "b"], "missing_sku": ["d", "e"]}


def test_a_document_that_its_lines_contradict_is_found_beyond_what_rounding_does(sql):
    for identifier, total in (("exact", 20), ("rounded", "20.02"), ("off", "20.03"), ("unknown", "null")):
        add(sql, "invoices", identifier, sub_total=total)
        for line in range(2):
            add(sql, "invoice_lines", identifier, line_no=line, item_total=10)
    add(sql, "invoices", "stale", sub_total=99, detail_stale="true")
    add(sql, "payments", "p", amount=100, unused_amount=40)
    add(sql, "payment_allocations", "p", line_no=0, amount_applied=50)
    assert found("integrity", "invoice") == {"total_differs": ["off"]}
    assert found("integrity", "payment") == {"total_differs": ["p"]}


def test_lines_of_no_document_and_rows_that_cannot_be_are_found(sql):
    add(sql, "bill_lines", "nobody", line_no=0)
    add(sql, "customers", "future", source_modified_at="app_now() + interval '3 days'")
    add(sql, "customers", "old", source_modified_at="'1999-12-31'")
    add(sql, "customers", "reversed", source_modified_at="'2026-01-01'", created_time="'2026-02-01'")
    for identifier, age in (("waits", "1 hour"), ("stuck", "2 days")):
        add(sql, "vendors", identifier, detail_stale="true", ambiguous="true", observed_at=f"app_now() - interval '{age}'")
    assert found("integrity", "bill") == {"line_without_document": ["nobody"]}
    assert found("integrity", "customer") == {
        "created_after_modified": ["reversed"], "modified_in_future": ["future"], "modified_long_ago": ["old"]
    }  # fmt: skip
    assert found("integrity", "vendor") == {"ambiguous": ["stuck"], "stale_detail": ["stuck"]}


def test_every_reference_finds_its_orphans_and_no_others(sql):
    references = [each for entity in entities.every() for each in validation.references(entity)]
    expected: dict[str, dict[str, list[str]]] = {}
    for label in set(PARENTS.values()):
        table = entities.by_label()[label].table
        add(sql, table, f"{label}-stands")
        add(sql, table, f"{label}-gone", deleted_at="app_now()")
    for number, (entity, column, parent, is_of_lines) in enumerate(references):
        for state in ("stands", "gone", "never"):
            identifier, refers_to = f"{number}-{state}", f"'{parent.label}-{state}'"
            if is_of_lines:
                add(sql, entity.table, identifier)
                add(sql, entity.lines.table, identifier, line_no=0, **{column: refers_to})
            else:
                add(sql, entity.table, identifier, **{column: refers_to})
        own = expected.setdefault(entity.label, {})
        for check, state in ((f"deleted_{column}", "gone"), (f"missing_{column}", "never")):
            own[check] = sorted([*own.get(check, []), f"{number}-{state}"])
    shown = {label: found("orphans", label) for label in expected}
    assert {label: {check: sorted(ids) for check, ids in checks.items()} for label, checks in shown.items()} == expected
    assert len(references) >= 15


def test_events_that_lost_their_rows_are_found(sql):
    for number in range(6):
        send("products", an_item(str(number)))
    assert read("orphans").json["events"]["checks"] == []
    process.process()
    send("invoices", an_invoice())
    assert read("orphans").json["events"]["checks"] == []
    lost = {row[0]: str(row[1]) for row in sql("select source_entity_id, id from tds_inbox_events")}
    sql("delete from tds_sync_queue where source_entity_id = '0'")
    sql("delete from tds_sync_logs where source_entity_id = '1'")
    sql("delete from tidemark.ready_events")
    sql("insert into tidemark.ready_events values ('00000000-0000-0000-0000-000000000001', app_now())")
    sql("update tds_sync_queue set status = 'retry', completed_at = null where source_entity_id = '2'")
    sql("delete from tds_inbox_events where source_entity_id = '2'")
    sql(
        "insert into tds_dead_letter_queue (id, sync_queue_id, entity_type, source_entity_id, failure_reason, total_attempts, last_payload)"
        " values ('00000000-0000-0000-0000-000000000002', gen_random_uuid(), 'product', 'x', 'x', 1, '{}')"
    )
    checks = {each["check"]: each["sample"] for each in read("orphans").json["events"]["checks"]}
    assert checks == {
        "event_without_queue_row": [lost["0"]],
        "queue_row_without_log": [lost["1"]],
        "queue_row_without_event": [lost["2"]],
        "event_that_nobody_claims": [lost["7"]],
        "ready_without_event": ["00000000-0000-0000-0000-000000000001"],
        "dead_letter_without_queue_row": ["00000000-0000-0000-0000-000000000002"],
    }


def test_a_look_is_bounded_and_says_where_to_go_on(sql, monkeypatch):
    monkeypatch.setattr(validation, "PRODUCTS", 4)
    monkeypatch.setattr(validation, "RECORDS", 4)
    for number in range(10):
        add(sql, "products", f"p{number}", **GOOD | {"name": "''", "vendor_id": "'nobody'" if number == 9 else "null"})
    seen, looks, after = [], 0, ""
    while after is not None:
        body = read("products", f"after={after}").json
        seen += body["entities"]["product"]["checks"][0]["sample"]
        after, looks = body["entities"]["product"]["next"], looks + 1
        assert body["is_complete"] is (after is None)
    assert (seen, looks) == ([f"p{number}" for number in range(10)], 3)
    first = read("orphans", "entity=product").json["entities"]["product"]
    last = read("orphans", "entity=product&after=p7").json["entities"]["product"]
    assert (first["next"], first["found"], last["next"], last["found"]) == ("p3", 0, None, 1)


@pytest.mark.parametrize(
    ("query", "pointer"), [("entity=unicorn", "entity"), ("after=x", "after"), (f"entity=product&after={'x' * 201}", "after")]
)
def test_what_cannot_be_looked_at_is_refused(query, pointer, sql):
    reply = read("orphans", query)
    assert (reply.status, reply.json["errors"][0]["pointer"]) == (422, pointer)
    assert keeps_the_promises_of_a_refusal(reply)


def test_every_event_is_looked_at_once_an_hour_later_and_what_is_lost_raises_an_alert(sql, turn_clock, monkeypatch):
    monkeypatch.setattr(validation, "EVENTS", 2)
    for number in range(5):
        send("products", an_item(str(number)))
    process.process()
    sql("delete from tds_sync_queue where source_entity_id = '1'")
    sql("delete from tds_sync_logs where source_entity_id in ('1', '2')")
    early = validation.walk()
    turn_clock(timedelta(hours=2))
    send("products", an_item("too-young"))
    sql("delete from tidemark.ready_events")
    assert (early, validation.walk(), validation.walk()) == (0, 2, 0)
    lost = sql("select id::text from tds_inbox_events where source_entity_id in ('1', '2') order by 1")
    alert = sql("select affected_count, alert_metadata -> 'events' from tds_alerts where alert_type = 'lost_rows'")
    assert [(count, sorted(ids)) for count, ids in alert] == [(2, [row[0] for row in lost])]
    turn_clock(timedelta(hours=2))
    assert validation.walk() == 1
