"""The lists and details of the Zoho stand-in: routes, pages, sorts, and what each module filters by or silently does not."""

from __future__ import annotations

import collections
import re
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from urllib.parse import quote

import pytest

from deploy.local.zoho import StandIn
from deploy.local.zoho.kinds import KINDS
from deploy.local.zoho.modules import BOOKS, INVENTORY, MODULES
from tests.local.caller import NOW

EVERY = sorted(MODULES, key=str)
WITHOUT_SINCE = [(base, path) for base, path in EVERY if MODULES[base, path].since is None and path != "users"]
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}")


def at(record):
    return datetime.fromisoformat(record["last_modified_time"])


def middle(rows):
    """A time that some rows have, some came before and some after."""
    return sorted(row["last_modified_time"] for row in rows)[len(rows) // 2]


# Routes


def test_each_base_has_its_own_resources():
    paths = collections.defaultdict(set)
    for base, path in MODULES:
        paths[base].add(path)
    both = {"items", "contacts", "invoices", "salesorders", "bills", "creditnotes", "customerpayments", "users"}
    assert dict(paths) == {BOOKS: both, INVENTORY: both | {"inventoryadjustments", "pricebooks"}}
    assert {label for module in MODULES.values() for label in module.labels} == set(KINDS)


@pytest.mark.parametrize("path", ["inventoryadjustments", "pricebooks", "spaceships", "items/1/2", "", "inventoryadjustments/1"])
def test_what_books_does_not_have_is_a_bad_url(caller, path):
    reply = caller.get(path)
    assert (reply.status, reply.json) == (404, {"code": 5, "message": "Invalid URL Passed"})


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_can_only_be_read(caller, method):
    reply = caller.get("items", method=method)
    assert (reply.status, reply.code) == (405, 37)


@pytest.mark.parametrize(("base", "path"), EVERY)
def test_every_list_shows_every_record_and_its_details_are_found_by_id(caller, zoho, base, path):
    module = MODULES[base, path]
    rows = caller.walk(path, module.key, base=base)
    id_key = KINDS[module.labels[0]].id_key
    expected = {identifier: record for label in module.labels for identifier, record in zoho.records(label).items()}
    assert {row[id_key] for row in rows} == set(expected)
    assert len(rows) == len(expected)
    identifier = rows[0][id_key]
    reply = caller.get(f"{path}/{identifier}", base=base)
    if module.has_detail:
        assert reply.json == {"code": 0, "message": "success", module.detail_key: expected[identifier]}
    else:
        assert (reply.status, reply.code) == (404, 5)


@pytest.mark.parametrize(
    ("path", "detail"), [("invoices", "line_items"), ("salesorders", "line_items"), ("bills", "line_items"),
                         ("creditnotes", "line_items"), ("customerpayments", "invoices"), ("contacts", "contact_persons")],
)  # fmt: skip
def test_rows_are_poorer_than_details(caller, path, detail):
    module = MODULES[BOOKS, path]
    (row, *_) = caller.get(path).json[module.key]
    assert detail not in row
    assert caller.get(f"{path}/{row[KINDS[module.labels[0]].id_key]}").json[module.detail_key][detail]


def test_a_payment_says_last_modified_time_in_the_list_and_updated_time_by_id(caller):
    (row, *_) = caller.get("customerpayments").json["customerpayments"]
    payment = caller.get(f"customerpayments/{row['payment_id']}").json["payment"]
    assert payment["updated_time"] == row["last_modified_time"]
    assert "updated_time" not in row
    assert "last_modified_time" not in payment


@pytest.mark.parametrize(
    ("path", "named"),
    [("items", "Item"), ("contacts", "Contact"), ("invoices", "Invoice"), ("salesorders", "Sales Order"),
     ("customerpayments", "Payment")],
)  # fmt: skip
def test_a_record_that_is_gone_is_said_not_to_exist(caller, zoho, path, named):
    module = MODULES[BOOKS, path]
    (gone,) = zoho.delete(module.labels[0])
    reply = caller.get(f"{path}/{gone}")
    assert (reply.status, reply.json) == (404, {"code": 1002, "message": f"{named} does not exist."})
    assert gone not in {row[KINDS[module.labels[0]].id_key] for row in caller.walk(path, module.key)}


@pytest.mark.parametrize("base", [BOOKS, INVENTORY])
def test_item_details_come_a_hundred_at_a_time(caller, zoho, base):
    zoho.create("product", 90)
    records = zoho.records("product")
    ids = list(records)
    found = caller.get("itemdetails", base=base, item_ids=",".join([*ids[:99], "1"])).json["items"]
    assert found == [records[each] for each in ids[:99]]
    assert caller.get("itemdetails", base=base, item_ids=",".join(ids[:101])).code == 2
    assert caller.get("itemdetails", base=base).code == 2


# Pages


def test_a_page_has_two_hundred_rows_at_most_and_says_whether_there_is_another(caller, zoho):
    zoho.create("product", 430)
    pages = [caller.get("items", page=page, per_page=500).json for page in (1, 2, 3, 4)]
    assert [len(page["items"]) for page in pages] == [200, 200, 55, 0]
    assert [page["page_context"]["has_more_page"] for page in pages] == [True, True, False, False]
    assert len({item["item_id"] for page in pages for item in page["items"]}) == 455
    assert pages[1]["page_context"] == {
        "page": 2, "per_page": 200, "has_more_page": True, "report_name": "Items", "applied_filter": "Status.All",
        "custom_fields": [], "sort_column": "name", "sort_order": "A",
    }  # fmt: skip


def test_smaller_pages_are_as_asked_for(caller):
    assert len(caller.get("items", per_page=7).json["items"]) == 7
    assert len(caller.walk("items", "items", per_page=7)) == 25


@pytest.mark.parametrize("query", [{"page": "0"}, {"page": "x"}, {"per_page": "-1"}])
def test_a_page_that_is_no_number_is_refused(caller, query):
    reply = caller.get("items", **query)
    assert (reply.status, reply.code) == (400, 2)


def test_price_lists_have_no_page_context(caller):
    assert set(caller.inventory("pricebooks").json) == {"code", "message", "pricebooks"}


# Sorts


@pytest.mark.parametrize(
    ("path", "column", "order"),
    [
        ("contacts", "contact_name", "A"),
        ("items", "name", "A"),
        ("invoices", "created_time", "D"),
        ("customerpayments", "date", "D"),
    ],
)
def test_the_default_sort_is_the_recorded_one(caller, path, column, order):
    module = MODULES[BOOKS, path]
    answer = caller.get(path).json
    assert (answer["page_context"]["sort_column"], answer["page_context"]["sort_order"]) == (column, order)
    values = [row[column].casefold() for row in answer[module.key]]
    assert values == sorted(values, reverse=order == "D")
    assert len(set(values)) > 1


@pytest.mark.parametrize(
    ("base", "path", "is_allowed"),
    [(BOOKS, "contacts", True), (BOOKS, "salesorders", True), (INVENTORY, "items", True), (BOOKS, "items", False),
     (BOOKS, "invoices", False), (BOOKS, "bills", False), (INVENTORY, "salesorders", False)],
)  # fmt: skip
def test_only_some_lists_are_sorted_by_their_last_change_and_the_others_ignore_it(caller, base, path, is_allowed):
    module = MODULES[base, path]
    answer = caller.get(path, base=base, sort_column="last_modified_time", sort_order="D").json
    stamps = [at(row) for row in answer[module.key]]
    assert (stamps == sorted(stamps, reverse=True)) is is_allowed
    expected = "last_modified_time" if is_allowed else module.default_sort[0]
    assert answer["page_context"]["sort_column"] == expected


def test_amounts_are_sorted_as_numbers(caller):
    rates = [item["rate"] for item in caller.get("items", sort_column="rate").json["items"]]
    assert rates == sorted(rates)
    assert [str(rate) for rate in rates] != sorted(str(rate) for rate in rates)


# last_modified_time


@pytest.mark.parametrize(
    ("base", "path", "is_inclusive"),
    [(BOOKS, "invoices", False), (BOOKS, "salesorders", True), (BOOKS, "bills", True), (INVENTORY, "items", False)],
)
def test_four_lists_honour_the_time_of_the_last_change(caller, base, path, is_inclusive):
    module = MODULES[base, path]
    rows = caller.walk(path, module.key, base=base)
    since = middle(rows)
    found = caller.walk(path, module.key, base=base, last_modified_time=since)
    instant = datetime.fromisoformat(since)
    expected = [row for row in rows if at(row) > instant or (is_inclusive and at(row) == instant)]
    assert found == expected
    assert 0 < len(found) < len(rows)


@pytest.mark.parametrize(("base", "path"), WITHOUT_SINCE)
def test_all_other_lists_ignore_it_and_answer_everything_with_code_0(caller, base, path):
    module = MODULES[base, path]
    everything = caller.get(path, base=base).json
    assert caller.get(path, base=base, last_modified_time="2099-01-01T00:00:00+0000").json == everything
    assert everything[module.key]


def test_instants_are_compared_and_not_texts(caller):
    rows = caller.walk("bills", "bills")
    since = datetime.fromisoformat(middle(rows))
    elsewhere = since.astimezone(datetime.fromisoformat("2024-01-01T00:00:00-04:00").tzinfo).strftime("%Y-%m-%dT%H:%M:%S%z")
    assert {row["bill_id"] for row in caller.walk("bills", "bills", last_modified_time=elsewhere)} == {
        row["bill_id"] for row in rows if at(row) >= since
    }


@pytest.mark.parametrize(
    "text", ["2099-01-01T00:00:00+00:00", "2099-01-01T00:00:00Z", "2099-01-01T00:00:00.000+0000", "2099-01-01", "yesterday"]
)
def test_a_time_in_another_format_is_ignored_like_no_time_at_all(caller, text):
    assert len(caller.get("invoices", last_modified_time=text).json["invoices"]) == 25


def test_a_plus_that_is_not_encoded_is_a_blank_and_the_filter_is_lost(caller):
    caller.log_in()
    time = "2099-01-01T00:00:00+0300"
    assert len(caller.get("invoices", raw=f"&last_modified_time={time}").json["invoices"]) == 25
    assert caller.get("invoices", raw=f"&last_modified_time={quote(time)}").json["invoices"] == []


def test_a_parameter_that_nobody_knows_is_ignored(caller):
    assert caller.get("invoices", last_modifed_time="2099-01-01T00:00:00+0300", colour="red").json == caller.get("invoices").json


# Other filters


def test_contacts_are_customers_or_vendors_or_both(caller, zoho):
    for contact_type, labels in (("customer", ["customer"]), ("vendor", ["vendor"]), ("", ["customer", "vendor"])):
        query = {"contact_type": contact_type} if contact_type else {}
        found = {row["contact_id"] for row in caller.walk("contacts", "contacts", **query)}
        assert found == {identifier for label in labels for identifier in zoho.records(label)}


def test_inactive_records_are_listed_unless_only_the_active_ones_are_asked_for(caller, zoho):
    (inactive,) = zoho.edit("product", status="inactive")
    assert inactive in {row["item_id"] for row in caller.walk("items", "items")}
    active = caller.get("items", filter_by="Status.Active").json
    assert active["page_context"]["applied_filter"] == "Status.Active"
    assert {row["status"] for row in active["items"]} == {"active"}
    assert inactive in {row["item_id"] for row in caller.get("items", status="inactive").json["items"]}
    assert caller.get("items", filter_by="Colour.Red").json == caller.get("items").json


def test_deleted_users_are_still_listed_for_whoever_asks_for_them(caller, zoho):
    (gone,) = zoho.delete("user")
    assert gone not in {row["user_id"] for row in caller.walk("users", "users")}
    (tombstone,) = caller.get("users", filter_by="Status.Deleted").json["users"]
    assert (tombstone["user_id"], tombstone["status"]) == (gone, "deleted")


def test_invoices_are_found_by_the_day_they_were_made_both_ends_included(caller, zoho):
    zoho.create("invoice", 2)
    zoho.turn(86_400)
    zoho.create("invoice", 3)
    zoho.turn(86_400)
    zoho.create("invoice", 4)
    asked = {"created_date_start": "2026-03-05", "created_date_end": "2026-03-06"}
    caller.log_in()
    assert len(caller.get("invoices", **asked).json["invoices"]) == 5
    assert len(caller.get("invoices", created_date_after="2026-03-06").json["invoices"]) == 4


def test_invoices_can_be_counted_and_summed_in_one_call(caller, zoho):
    zoho.create("invoice", 300)
    records = zoho.records("invoice").values()
    counted = caller.get("invoices", response_option=2).json
    assert "invoices" not in counted
    assert (counted["page_context"]["total"], counted["page_context"]["total_pages"]) == (325, 2)
    assert "sum_total" not in counted["page_context"]
    summed = caller.get("invoices", response_option=3, filter_by="Status.Void").json["page_context"]
    void = [record for record in records if record["status"] == "void"]
    assert summed["total"] == len(void)
    assert Decimal(str(summed["sum_total"])) == sum(Decimal(str(record["total"])) for record in void)
    assert Decimal(str(summed["sum_balance"])) == sum(Decimal(str(record["balance"])) for record in void)
    assert len(caller.get("bills", response_option=2).json["bills"]) == 25, "no other list knows it"


# The data


def test_the_same_seed_makes_the_same_records_to_the_byte_and_another_one_others():
    def told(seed):
        one = StandIn(seed, sizes=12)
        return {label: [(row.row, row.detail) for row in rows.values()] for label, rows in one._store.rows.items()}

    assert told(5) == told(5)
    assert not set(told(5)["product"]) & set(told(6)["product"])


def test_sizes_are_for_each_entity():
    one = StandIn(sizes={"product": 7, "vendor": 2})
    assert {label: len(one.records(label)) for label in KINDS} == dict.fromkeys(KINDS, 0) | {"product": 7, "vendor": 2}
    with pytest.raises(ValueError, match="spaceship"):
        StandIn(sizes={"spaceship": 1})


def test_records_share_seconds_and_one_second_changed_many_of_them():
    rows = StandIn(sizes={"product": 2000}).rows("product").values()
    created = collections.Counter(row["created_time"] for row in rows)
    changed = collections.Counter(row["last_modified_time"] for row in rows)
    assert 1 < max(created.values()) < 10
    assert max(changed.values()) >= 200
    assert all(at(row) >= datetime.fromisoformat(row["created_time"]) for row in rows)


def test_stamps_are_the_organizations_own_time_without_a_colon(zoho):
    for label in KINDS:
        for record in zoho.rows(label).values():
            for key in ("created_time", "last_modified_time"):
                if key in record:
                    assert STAMP.fullmatch(record[key])
                    assert record[key].endswith("+0300")


def test_the_oddities_of_real_records_are_there(zoho):
    zoho.create("invoice", 50)
    zoho.create("customer", 30)
    invoices, customers = zoho.rows("invoice").values(), zoho.rows("customer").values()
    assert any(row["exchange_rate"] == "" for row in invoices)
    assert {row["salesperson_id"] for row in invoices} == {"-1", ""}
    assert {row["documents"] for row in invoices} == {""}
    assert all(record["documents"] == [] for record in zoho.records("invoice").values())
    assert all("zipcode" in row["billing_address"] and "zip" not in row["billing_address"] for row in invoices)
    assert all("zip" in record["billing_address"] for record in zoho.records("invoice").values())
    assert any(row["contact_name"].endswith(" ") for row in customers)
    assert any(re.search("[\u0600-\u06ff]", row["contact_name"]) for row in customers)
    assert len({row["contact_name"] for row in customers}) < len(customers)
    assert all(row["customer_name"] == row["vendor_name"] == row["contact_name"] for row in customers)
    assert any(row["sku"] == "" for row in zoho.rows("product").values())
    assert all(int(identifier) > 2**53 for identifier in zoho.records("product"))


def test_records_that_do_not_say_when_they_changed_do_not_say_it(zoho):
    for label in ("user", "price_list", "stock_adjustment"):
        for record in (*zoho.rows(label).values(), *zoho.records(label).values()):
            assert "last_modified_time" not in record


def test_a_row_is_written_once_and_not_for_every_page(caller, zoho):
    before = {identifier: row.row for identifier, row in zoho._store.rows["product"].items()}
    caller.get("items")
    assert all(zoho._store.rows["product"][identifier].row is text for identifier, text in before.items())


def test_pages_of_a_stable_sort_follow_each_other(caller, zoho):
    zoho.create("product", 40)
    rows = caller.walk("items", "items", base=INVENTORY, sort_column="created_time", sort_order="A", per_page=9)
    assert all(earlier["created_time"] <= later["created_time"] for earlier, later in pairwise(rows))
    assert len({row["item_id"] for row in rows}) == 65


def test_the_date_of_an_answer_is_the_stand_ins_own(caller, zoho):
    zoho.skew = timedelta(minutes=2)
    assert caller.get("items").headers["date"] == "Thu, 05 Mar 2026 09:32:00 GMT"
    assert zoho.now() == NOW
