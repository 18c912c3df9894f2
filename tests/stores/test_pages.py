"""Merging pages: what is read by Postgres and what by Python is the same, newest wins, and nothing fails a whole page."""

from __future__ import annotations

import dataclasses
import itertools
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import encoding, entities
from common.errors import Invalid
from common.flows import process
from common.rules import keys
from common.rules.entity import Column, Entity, Kind
from common.rules.plain import is_plain
from common.rules.shapes import validate
from common.stores import pages, records
from tests.conftest import ORGANIZATION
from tests.make import an_invoice, an_item, send

EARLY = datetime(2026, 6, 9, 12, tzinfo=UTC)  # before any webhook of a test is received
RUN = uuid.UUID("00000000-0000-4000-8000-000000000001")
_numbers = itertools.count(1)


def entity(label: str) -> Entity:
    return entities.by_label()[label]


def a_page(key: str, *rows: Any) -> str:
    return json.dumps({"code": 0, "message": "success", key: rows, "page_context": {"page": 1, "has_more_page": False}})


def merge(
    label: str, page: str, *, served_at: datetime = EARLY, careful: bool = False, provenance: str = "scheduled"
) -> pages.Merged:
    key = {"product": "items", "invoice": "invoices", "user": "users", "price_list": "pricebooks", "customer": "contacts"}.get(
        label, label
    )

    def work(tx, with_care):
        return pages.merge(
            tx, entity(label), ORGANIZATION, page, key,
            served_at=served_at, provenance=provenance, run=RUN, careful=careful or with_care,
        )  # fmt: skip

    return pages.replayed(work, "worker")


def list_item(item_id: str = "1", at: str = "2026-06-09T09:45:44-0400", **fields: Any) -> dict[str, Any]:
    return {"item_id": item_id, "name": "Lamp", "item_name": "Lamp", "rate": 10, "last_modified_time": at, **fields}


def list_invoice(invoice_id: str = "7", at: str = "2026-06-09T10:00:00Z", **fields: Any) -> dict[str, Any]:
    return {
        "invoice_id": invoice_id,
        "invoice_number": f"INV-{invoice_id}",
        "customer_id": "9",
        "total": 12.5,
        "last_modified_time": at,
        **fields,
    }


def counts(merged: pages.Merged) -> dict[str, int]:
    """What is not zero."""
    names = ("inserted", "updated", "unchanged", "superseded", "resurrected", "stale", "quarantined")
    return {name: getattr(merged, name) for name in names if getattr(merged, name)}


# Which version wins ----------------------------------------------------------------------------------------------


@dataclass
class World:
    """What happens to one invoice, step by step."""

    sql: Callable[..., list[list[Any]]]
    said: list[str] = field(default_factory=list)

    @property
    def now(self) -> datetime:
        moment = self.sql("select app_now()")[0][0]
        assert isinstance(moment, datetime)
        return moment

    def list(self, hour: int | None, *, later: int | None = None, **fields: Any) -> None:
        """A page with the invoice as of `hour`, served at once after it, or `later` minutes from now."""
        served = EARLY.replace(hour=hour or 1) + timedelta(minutes=1) if later is None else self.now + timedelta(minutes=later)
        row = list_invoice(at=f"2026-06-09T{hour:02}:00:00Z" if hour else "", **fields)
        merged = merge("invoice", a_page("invoices", row), served_at=served)
        self.said.append(" ".join(counts(merged)))

    def hook(self, hour: int, **fields: Any) -> None:
        """A webhook with the invoice as of `hour`, with that many lines."""
        send("invoices", an_invoice(at=f"2026-06-09T{hour:02}:00:00Z", lines=hour, **fields))
        (outcome,) = process.process().outcomes
        self.said.append(outcome)

    def delete(self, hour: int) -> None:
        """A webhook that the invoice was deleted at `hour`."""
        send("invoices", an_invoice(at=f"2026-06-09T{hour:02}:00:00Z") | {"event_type": "invoice.deleted"})
        (outcome,) = process.process().outcomes
        self.said.append(outcome)

    def detail(self, hour: int, *, later: int = 30, **fields: Any) -> None:
        """The invoice as of `hour`, asked for by its id."""
        record = an_invoice(at=f"2026-06-09T{hour:02}:00:00Z", lines=hour, **fields)["invoice"]
        self.said.append(apply_detail("invoice", record, self.now + timedelta(minutes=later)))

    def gone(self, *, later: int = 30) -> None:
        """The source was asked for the invoice and does not have it."""
        self.said.append(apply_detail("invoice", None, self.now + timedelta(minutes=later), identifier="7"))

    def row(self) -> tuple[Any, ...]:
        """Status, hour of the version, stale, ambiguous, deleted, number of lines, and the hours that they tell of."""
        ((status, hour, *flags),) = self.sql(
            "select status, extract(hour from source_modified_at at time zone 'UTC')::int, detail_stale, ambiguous, deleted_at is not null from erp.invoices"
        )
        lines = self.sql("select name from erp.invoice_lines order by line_no")
        return (status, hour, *flags, len(lines), {line[11:13] for (line,) in lines})


def apply_detail(label: str, record: dict[str, Any] | None, served_at: datetime, identifier: str = "") -> str:
    shape = entity(label)
    version = records.Version(
        id=identifier, event=str(uuid.uuid4()), path=(), operation="delete", stamp=None, settled=True, observed=served_at,
        hash="", tied=False, hinted=False, partial=True, columns={}, lines=None,
    )  # fmt: skip
    if record is not None:
        decoded = encoding.loads(json.dumps(record))
        valid = validate(shape, decoded)
        assert not isinstance(valid, list)
        stamp = next((decoded[key] for key in shape.version_keys if decoded.get(key)), None)
        version = dataclasses.replace(
            version, id=decoded[shape.id_keys[0]], operation="upsert", stamp=datetime.fromisoformat(stamp) if stamp else None, document=decoded,
            hash=keys.content_hash(json.loads(json.dumps(record)), shape.version_keys), partial=False, columns=valid.columns, lines=valid.lines,
        )  # fmt: skip
    from common import db

    with db.transaction("worker") as tx:
        return records.apply(tx, shape, ORGANIZATION, [version], "reconciliation")[version.id].outcome


CASES: dict[str, tuple[Callable[[World], None], list[str], tuple[Any, ...]]] = {
    # what happens: steps; what is said of each; status, hour, stale, ambiguous, deleted, lines, hours of the lines
    "a list row alone": (
        lambda w: w.list(3, status="a"),
        ["inserted stale"],
        ("a", 3, True, False, False, 0, set()),
    ),
    "the same page again": (
        lambda w: (w.list(3, status="a"), w.list(3, status="a", later=5)),
        ["inserted stale", "unchanged"],
        ("a", 3, True, False, False, 0, set()),
    ),
    "list, then the webhook of the same edit": (
        lambda w: (w.list(3, status="a"), w.hook(3, status="a")),
        ["inserted stale", "applied"],
        ("a", 3, False, False, False, 3, {"03"}),
    ),
    "list, then a webhook of another edit in the same second": (
        lambda w: (w.list(3, status="a"), w.hook(3, status="b")),
        ["inserted stale", "ambiguous"],
        ("a", 3, True, True, False, 0, set()),
    ),
    "list, then a newer webhook": (
        lambda w: (w.list(3, status="a"), w.hook(4, status="b")),
        ["inserted stale", "applied"],
        ("b", 4, False, False, False, 4, {"04"}),
    ),
    "list, then an older webhook": (
        lambda w: (w.list(3, status="a"), w.hook(2, status="b")),
        ["inserted stale", "superseded"],
        ("a", 3, True, False, False, 0, set()),
    ),
    "webhook, then a list row of the same edit": (
        lambda w: (w.hook(3, status="a"), w.list(3, status="a", later=5)),
        ["applied", "updated"],
        ("a", 3, False, False, False, 3, {"03"}),
    ),
    "webhook, then a first list row at the same stamp that differs: it is settled, so it leads": (
        lambda w: (w.hook(3, status="a"), w.list(3, status="b", later=5)),
        ["applied", "updated stale"],
        ("b", 3, True, False, False, 3, {"03"}),
    ),
    "webhook, then a newer list row": (
        lambda w: (w.hook(3, status="a"), w.list(4, status="b", later=5)),
        ["applied", "updated stale"],
        ("b", 4, True, False, False, 3, {"03"}),
    ),
    "webhook, then an older list row": (
        lambda w: (w.hook(3, status="a"), w.list(2, status="b", later=5)),
        ["applied", "superseded"],
        ("a", 3, False, False, False, 3, {"03"}),
    ),
    "webhook, then a list row of the same stamp that was served before it, but settled: that holds all of its second": (
        lambda w: (w.hook(3, status="a"), w.list(3, status="b")),
        ["applied", "updated stale"],
        ("b", 3, True, False, False, 3, {"03"}),
    ),
    "list, list with another status under the same stamp": (
        lambda w: (w.list(3, status="a"), w.list(3, status="b", later=5)),
        ["inserted stale", "updated"],
        ("b", 3, True, False, False, 0, set()),
    ),
    "the same two pages the other way round": (
        lambda w: (w.list(3, status="b", later=5), w.list(3, status="a")),
        ["inserted stale", "superseded"],
        ("b", 3, True, False, False, 0, set()),
    ),
    "list, webhook, list with another status under the webhook's stamp: that is news since": (
        lambda w: (w.list(2, status="a"), w.hook(3, status="b"), w.list(3, status="c", later=5)),
        ["inserted stale", "applied", "updated"],
        ("c", 3, False, False, False, 3, {"03"}),
    ),
    "delete, then an older list row served long before": (
        lambda w: (w.delete(3), w.list(2, status="a")),
        ["applied", "superseded"],
        (None, 3, False, False, True, 1, {"03"}),
    ),
    "delete, then a list row that still has it, served after": (
        lambda w: (w.delete(3), w.list(2, status="a", later=5)),
        ["applied", "resurrected stale"],
        ("a", 2, True, False, False, 1, {"03"}),
    ),
    "delete, then a newer list row, served before we knew": (
        lambda w: (w.delete(3), w.list(4, status="a")),
        ["applied", "resurrected stale"],
        ("a", 4, True, False, False, 1, {"03"}),
    ),
    "list, then a webhook that it was deleted": (
        lambda w: (w.list(2, status="a"), w.delete(3)),
        ["inserted stale", "applied"],
        ("a", 3, False, False, True, 1, {"03"}),
    ),
    "list, delete, the same list row again": (
        lambda w: (w.list(2, status="a"), w.delete(3), w.list(2, status="a", later=5)),
        ["inserted stale", "applied", "resurrected stale"],
        ("a", 2, True, False, False, 1, {"03"}),
    ),
    "list, then its detail": (
        lambda w: (w.list(3, status="a"), w.detail(3, status="a")),
        ["inserted stale", "applied"],
        ("a", 3, False, False, False, 3, {"03"}),
    ),
    "a detail beats a webhook at the same stamp": (
        lambda w: (w.hook(3, status="a"), w.detail(3, status="b")),
        ["applied", "applied"],
        ("b", 3, False, False, False, 3, {"03"}),
    ),
    "a webhook at the same stamp does not beat a detail": (
        lambda w: (w.detail(3, status="b", later=0), w.hook(3, status="a")),
        ["applied", "superseded"],
        ("b", 3, False, False, False, 3, {"03"}),
    ),
    "a detail settles what was ambiguous": (
        lambda w: (w.hook(3, status="a"), w.hook(3, status="b"), w.detail(3, status="b")),
        ["applied", "applied", "unchanged"],
        ("b", 3, False, False, False, 3, {"03"}),
    ),
    "a detail settles a webhook that disagrees with a list row": (
        lambda w: (w.list(3, status="a"), w.hook(3, status="b"), w.detail(3, status="c")),
        ["inserted stale", "ambiguous", "applied"],
        ("c", 3, False, False, False, 3, {"03"}),
    ),
    "a detail that says nothing new is new after a list row, whatever it hides": (
        lambda w: (w.detail(3, status="a", later=0), w.list(4, status="b", later=5), w.detail(4, later=9, status="a")),
        ["applied", "updated stale", "applied"],
        ("a", 4, False, False, False, 4, {"04"}),
    ),
    "a newer detail than any list row": (
        lambda w: (w.list(3, status="a"), w.detail(4, status="b"), w.list(3, status="a", later=60)),
        ["inserted stale", "applied", "unchanged"],
        ("b", 4, False, False, False, 4, {"04"}),
    ),
    "a verified deletion": (
        lambda w: (w.list(3, status="a"), w.gone()),
        ["inserted stale", "applied"],
        ("a", None, False, False, True, 0, set()),
    ),
    "a verified deletion, then a page that was served before it": (
        lambda w: (w.list(3, status="a"), w.gone(), w.list(3, status="b", later=5)),
        ["inserted stale", "applied", "superseded"],
        ("a", None, False, False, True, 0, set()),
    ),
    "a verified deletion, then a page that was served after it": (
        lambda w: (w.list(3, status="a"), w.gone(), w.list(3, status="b", later=60)),
        ["inserted stale", "applied", "resurrected stale"],
        ("b", 3, True, False, False, 0, set()),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_of_lists_webhooks_and_details_the_right_one_stands(sql, case):
    steps, said, row = CASES[case]
    world = World(sql)
    steps(world)
    assert world.said == said
    found = world.row()
    assert found[:1] + found[2:] == row[:1] + row[2:]
    if row[1] is not None:
        assert found[1] == row[1]


def test_a_late_first_row_brings_what_no_detail_has_but_no_figure_that_moved_since(sql):
    newer = "2026-06-09T15:00:00Z"
    later = EARLY + timedelta(hours=8)
    merge("product", a_page("items", list_item(stock_on_hand=1, sku="list only")), served_at=EARLY + timedelta(hours=5))
    apply_detail("product", {"item_id": "1", "name": "Lamp", "stock_on_hand": 3, "last_modified_time": newer}, later)
    row = list_item(at=newer, stock_on_hand=9, sku="news")
    assert counts(merge("product", a_page("items", row), served_at=later - timedelta(minutes=5))) == {"updated": 1}
    assert sql("select sku, stock_on_hand::int, observed_at from erp.products") == [["news", 3, later]]
    assert counts(merge("product", a_page("items", row | {"stock_on_hand": 8}), served_at=later - timedelta(minutes=4))) == {
        "superseded": 1
    }


def test_an_audit_says_what_changed_whoever_brought_it(sql):
    world = World(sql)
    world.hook(3, status="a")
    world.list(4, status="b", later=5)
    world.detail(4, status="c")
    world.list(5, status="d", later=60)
    rows = sql(
        "select operation::text, change_source::text, old_value ->> 'status', new_value ->> 'status' from tds_audit_trail order by coalesce(new_value ->> 'status', '')"
    )
    assert rows == [
        ["create", "zoho", None, "a"],
        ["update", "scheduled", "a", "b"],
        ["update", "reconciliation", "b", "c"],
        ["update", "scheduled", "c", "d"],
    ]


def test_a_list_row_changes_only_what_it_mentions(sql):
    world = World(sql)
    world.hook(3, status="a", reference_number="PO 5", sub_total=8)
    world.list(4, status="b", later=5)
    assert sql("select status, reference_number, sub_total::text, total::text from erp.invoices") == [["b", "PO 5", "8", "12.5"]]


# Counts and what is kept -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("database_url")
def test_every_row_of_a_page_is_counted_once():
    merge("product", a_page("items", *(list_item(str(number)) for number in range(6))))
    rows = [
        list_item("0"),
        list_item("1", rate=11),
        list_item("2", at="2026-06-09T09:45:43-0400"),
        list_item("new"),
        list_item("new"),
        list_item("new", at="2026-06-09T08:00:00-0400", rate=1),
        list_item("bad", rate="much"),
        {"name": "nobody"},
        "not a record",
    ]
    merged = merge("product", a_page("items", *rows), served_at=EARLY + timedelta(hours=9))
    assert counts(merged) == {"inserted": 1, "updated": 1, "unchanged": 2, "superseded": 2, "quarantined": 3}
    assert merged.rows == 9
    assert merged.ids == ["0", "1", "2", "bad", "new"]
    assert merged.newest == datetime(2026, 6, 9, 13, 45, 44, tzinfo=UTC)


def test_what_is_unchanged_is_neither_written_nor_locked(sql):
    page = a_page("items", *(list_item(str(number), created_time_formatted="9 June") for number in range(50)))
    merge("product", page)
    before = sql("select array_agg((ctid, xmin::text, xmax::text)::text order by source_id) from erp.products")
    noisy = page.replace("9 June", "09.06.")
    assert counts(merge("product", noisy, served_at=EARLY + timedelta(hours=9))) == {"unchanged": 50}
    assert sql("select array_agg((ctid, xmin::text, xmax::text)::text order by source_id) from erp.products") == before


@pytest.mark.parametrize(
    "page", ["", "[]", "{}", '{"items": null}', '{"items": {"a": 1}}', '{"items": [{]}', "<html>", '{"items": "x"}', '{"item": []}']
)
@pytest.mark.usefixtures("database_url")
def test_a_page_that_is_none_is_refused_and_never_taken_for_an_empty_one(page):
    with pytest.raises(Invalid, match="not JSON with a list at 'items'"):
        merge("product", page)
    assert counts(merge("product", a_page("items"))) == {}


def test_a_bad_row_is_kept_once_and_the_others_are_merged(sql):
    page = a_page("items", list_item("1"), list_item("2", rate="much"), list_item("3"))
    for _ in range(2):
        assert merge("product", page).quarantined == 1
    assert sql("select source_id from erp.products order by 1") == [["1"], ["3"]]
    assert sql(
        "select source_type::text, source_entity_id, is_valid, validation_errors::text, raw_payload ->> 'rate', source_modified_at is not null from tds_inbox_events"
    ) == [["scheduled", "2", False, '[{"message": "should be an amount with at most 18 digits before the point and 20 after it", "pointer": "/rate"}]', "much", True]]  # fmt: skip
    assert sql("select tidemark.total('quarantined')") == [[1]]


@pytest.mark.parametrize(
    "stamp",
    [
        "infinity",
        "now",
        "today",
        "tomorrow",
        "epoch",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-06-11T00:00:00Z",
        20260609,
        True,
    ],
)
def test_a_stamp_that_would_win_for_ever_is_kept_out(sql, stamp):
    page = a_page("items", list_item("1", at=stamp), list_item("2"))
    assert counts(merge("product", page)) == {"inserted": 1, "quarantined": 1}
    assert sql("select source_id from erp.products") == [["2"]]


@pytest.mark.parametrize(
    "moment",
    [
        "infinity",
        "-infinity",
        "now",
        "today",
        "1899-01-01T00:00:00Z",
        "2201-01-01",
        "2026-02-30T00:00:00Z",
        "2026-06-09T24:00:00Z",
        "2026-06-09T10:00:00",
    ],
)
@pytest.mark.usefixtures("database_url")
def test_a_moment_that_postgres_would_understand_is_not_one_for_us(moment):
    assert counts(merge("product", a_page("items", list_item("1"), list_item("2", created_time=moment)))) == {
        "inserted": 1,
        "quarantined": 1,
    }


def test_what_postgres_cannot_store_is_replaced_and_what_nobody_can_read_is_kept(sql):
    rows = [
        json.dumps(list_item("1", name="a\0b", description="half \ud83d", purchase_description="\\u0000")),
        json.dumps(list_item("2")).replace('"rate": 10', '"rate": 1e400'),
        json.dumps(list_item("3")).replace('"rate": 10', '"rate": ' + "[" * 500 + "]" * 500),
        json.dumps(list_item("4")).replace('"rate": 10', '"rate": 12345678901234567890123'),
        json.dumps(list_item("5", unit="one\x1ftwo", brand="\\\0")),
    ]
    merged = merge("product", '{"code": 0, "items": [' + ",\n".join(rows) + "]}")
    assert counts(merged) == {"inserted": 2, "quarantined": 3}
    assert sql(
        "select name, description, list_document ->> 'purchase_description', brand, unit from erp.products order by source_id"
    ) == [
        ["a\ufffdb", "half \ufffd", "\\u0000", None, None],
        ["Lamp", None, None, "\\\ufffd", "one\x1ftwo"],
    ]


def test_a_row_of_the_other_contacts_is_left_alone(sql):
    rows = [
        {"contact_id": "1", "contact_name": "A", "contact_type": "customer"},
        {"contact_id": "2", "contact_name": "B", "contact_type": "vendor"},
    ]
    merged = merge("customer", a_page("contacts", *rows))
    assert (merged.rows, counts(merged), merged.ids) == (1, {"inserted": 1}, ["1"])
    assert sql("select source_id from erp.customers") == [["1"]]


# Records without a version, whole rows, lines, stock -------------------------------------------------------------


def test_of_records_without_a_version_the_later_reading_stands(sql):
    one, two = ({"user_id": "1", "name": name, "email": "a@b.c"} for name in ("Ann", "Anne"))
    assert counts(merge("user", a_page("users", one))) == {"inserted": 1}
    assert counts(merge("user", a_page("users", two), served_at=EARLY + timedelta(minutes=1))) == {"updated": 1}
    assert counts(merge("user", a_page("users", one))) == {"superseded": 1}
    send("users", {"user": {"user_id": "1", "name": "hint"}})
    assert process.process().outcomes == {"superseded": 1}
    assert sql("select name, detail_stale, settled from erp.users") == [["Anne", False, True]]
    assert sql("select reason from tidemark.refetches") == [["hint"]]


def test_a_whole_row_brings_its_lines(sql):
    def a_list(*rates: Any) -> str:
        items = [
            {"pricebook_item_id": n, "item_id": 17775000000227648, "pricebook_rate": rate, "pricebook_discount": "5%"}
            for n, rate in enumerate(rates)
        ]
        return a_page("pricebooks", {"pricebook_id": 130426000002924000, "name": "List", "percentage": 4, "pricebook_items": items})

    assert counts(merge("price_list", a_list(22, 23.5))) == {"inserted": 1}
    assert counts(merge("price_list", a_list(24), served_at=EARLY + timedelta(minutes=1))) == {"updated": 1}
    assert counts(merge("price_list", a_list(22, 23.5))) == {"superseded": 1}
    assert sql("select source_id, line_no, item_id, rate::text, discount_percentage::text from erp.price_list_items") == [
        ["130426000002924000", 0, "17775000000227648", "24", "5"]
    ]
    assert sql("select detail_stale from erp.price_lists") == [[False]]


def test_stock_that_moved_without_a_stamp_is_taken_from_the_later_reading(sql):
    now = sql("select app_now()")[0][0]
    send("products", an_item(stock_on_hand=5, name="Lamp"))
    process.process()
    row = list_item(stock_on_hand=7, name="Torch")
    assert counts(merge("product", a_page("items", row), served_at=now + timedelta(minutes=5))) == {"updated": 1}
    assert sql(
        "select stock_on_hand::text, stock_read_at = source_read from (select *, observed_at as source_read from erp.products) p"
    ) == [["7", True]]
    assert counts(merge("product", a_page("items", row), served_at=now + timedelta(minutes=9))) == {"unchanged": 1}


def test_the_same_figure_read_again_counts_from_then_where_something_was_adjusted_since(sql):
    page = a_page("items", list_item("1", stock_on_hand=7), list_item("2", stock_on_hand=7))
    merge("product", page)
    sql("insert into erp.stock_adjustments (organization_id, source_id, adjustment_type, created_time, observed_at, provenance)"
        f" values ('{ORGANIZATION}', 'a', 'quantity', '{EARLY + timedelta(hours=1)}', app_now(), 'zoho');"
        "insert into erp.stock_adjustment_lines (organization_id, source_id, line_no, item_id, quantity_adjusted)"
        f" values ('{ORGANIZATION}', 'a', 0, '1', 3)")  # fmt: skip
    assert sql("select stock_on_hand::text from erp.stock order by item_id") == [["10"], ["7"]]
    assert counts(merge("product", page, served_at=EARLY + timedelta(hours=2))) == {"updated": 1, "unchanged": 1}
    assert sql("select stock_on_hand::text from erp.stock order by item_id") == [["7"], ["7"]]
    assert counts(merge("product", page, served_at=EARLY + timedelta(hours=3))) == {"unchanged": 2}


# Postgres and Python read the same -------------------------------------------------------------------------------

ODD: dict[Kind, list[Any]] = {
    Kind.ID: ["460000000026049", 460000000026049, "", None, -1, "TEST", 9_007_199_254_740_993, 1.5, True, [], "x" * 256],
    Kind.TEXT: ["Lamp", "", None, "BLUE DART ", "₹5,11,581.57", 94588, 10.5, "true", "[Old]", "{", "شركة", "a|b", True, {}],
    Kind.MONEY: [598, 149.97, "1.00", "", None, " 1.00 ", "₹5,11,581.57", "+5", ".5", "5.", -0.1, "-0", "00012.50", "1e5", 1e5, "NaN", "Infinity", "1_000", "0x10", "5%", 10**17, 10**19, True, "1|2"],
    Kind.NUMBER: ["5%", "70.5 %", "%", 5, 0.5, "", None, "5%%", "1.5", 1e-7, 123456789.123456789],
    Kind.WHOLE: [30, -2, "30", "", None, 30.0, "30.0", 10**18, "1e2", 1.5],
    Kind.FLAG: [True, False, 0, 1, "true", "FALSE", "", None, "1", "yes", "t", 2, 1.0],
    Kind.DAY: ["2026-06-09", "", None, "2026-02-30", "infinity", "today", "20260609", "2026-06-09T10:00:00Z", 20260609, " 2026-06-09", "2026-06-09|", "1899-12-31", "2200-12-31"],
    Kind.INSTANT: ["2026-06-09T09:45:44-0400", "2026-06-09T09:45:44+05:30", "2026-06-09T09:45:44Z", "", None, "2026-06-09", "2026-06-09T09:45:44.25Z", "2026-06-09T09:45:44", "2026-06-09T23:59:60Z", "2026-06-09T09:45:44+2500", "2026-06-09 09:45:44Z", "now"],
    Kind.JSON: [[], {}, "", None, {"zip": 94588, "city": "عمّان"}, [{"value": 1.5}], [{"value": "1.5"}], {"n": 1.0}, [2**70], "text", 5, {"deep": [[[{}]]]}],
}  # fmt: skip


def oddities(columns: dict[str, Column], *, usual: bool) -> st.SearchStrategy[dict[str, Any]]:
    fields = {}
    for name, column in columns.items():
        values = ODD[column.kind][:6] if usual else ODD[column.kind]
        for key in column.keys or (name,):
            fields[key] = st.sampled_from(values)
    return st.fixed_dictionaries({}, optional=fields)


@st.composite
def pages_of_oddities(draw):
    label = draw(
        st.sampled_from(["product", "customer", "invoice", "order", "payment", "bill", "user", "price_list", "stock_adjustment"])
    )
    shape = entity(label)
    rows = []
    for number in range(draw(st.integers(1, 5))):
        row = {shape.id_keys[0]: str(number), **draw(oddities(dict(shape.columns), usual=draw(st.booleans())))}
        if shape.version_keys:
            row["last_modified_time"] = "2026-06-09T09:45:44-0400"
        if shape.lines and draw(st.booleans()):
            row[shape.lines.key] = draw(
                st.one_of(
                    st.sampled_from(["", None, []]),
                    st.lists(oddities(dict(shape.lines.columns), usual=draw(st.booleans())), max_size=2),
                )
            )
        rows.append(row)
    return label, rows


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(pages_of_oddities())
def test_postgres_and_python_read_a_row_alike(sql, drawn):
    label, rows = drawn
    shape = entity(label)
    page = a_page(
        {"product": "items", "customer": "contacts", "invoice": "invoices", "user": "users", "price_list": "pricebooks"}.get(
            label, label
        ),
        *rows,
    )
    tables = [shape.table, *([shape.lines.table] if shape.lines else [])]
    found = []
    for careful in (False, True):
        merged = merge(label, page, careful=careful)
        kept = [
            sql(f"select (to_jsonb(t) - '{{created_at,updated_at}}'::text[])::text from erp.{table} t order by 1")
            for table in tables
        ]
        errors = sql("select source_entity_id, validation_errors::text from tds_inbox_events order by 1")
        found.append((merged, kept, errors))
        sql("truncate tds_inbox_events; " + "; ".join(f"truncate erp.{table}" for table in tables))
    assert found[0] == found[1]


def test_rows_as_they_usually_are_are_left_to_postgres():
    usual = {
        "product": list_item(rate=149.97, tax_percentage="5%", purchase_rate="81.20", reorder_level="", stock_on_hand=3, tax_id=11149000000061058,
                             description=None, custom_fields=[{"index": 1, "value": "B-12"}], created_time="2026-06-09T09:45:44-0400"),
        "invoice": list_invoice(date="2026-06-09", due_date="", exchange_rate=1, billing_address={"zipcode": "10001", "city": ""}, custom_fields=[]),
        "user": {"user_id": "1", "name": "Ann", "is_current_user": True},
    }  # fmt: skip
    assert [label for label, row in usual.items() if not is_plain(entity(label), row)] == []
