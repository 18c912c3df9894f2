"""The Zoho stand-in's answers against recorded ones: where both have a field, it is of the same type."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

import pytest

from deploy.local.zoho import StandIn
from tests.local.zoho_facts import FIELDS, LINES

# What each answer must have of what was recorded: the fields that records are kept by.
NEEDED = {
    ("row", "customer"): "contact_id contact_name contact_type status created_time last_modified_time",
    ("row", "vendor"): "contact_id contact_name contact_type status created_time last_modified_time",
    ("detail", "customer"): "contact_id contact_name billing_address contact_persons last_modified_time credit_limit",
    ("row", "product"): "item_id name rate status item_type product_type created_time last_modified_time",
    ("row", "invoice"): "invoice_id invoice_number customer_id status date total balance last_modified_time updated_time",
    ("detail", "invoice"): "invoice_id line_items total sub_total billing_address created_time last_modified_time page_width",
    ("detail", "order"): "salesorder_number line_items custom_fields delivery_method",
    ("detail", "bill"): "bill_id bill_number vendor_id line_items total balance last_modified_time",
    ("detail", "credit_note"): "creditnote_id creditnote_number customer_id line_items total balance last_modified_time",
    ("detail", "payment"): "payment_id payment_number customer_id amount unused_amount invoices updated_time",
    ("row", "user"): "user_id role_id name email user_role status is_current_user photo_url",
    ("row", "price_list"): "pricebook_id name pricebook_items pricebook_type status currency_id",
    ("row", "stock_adjustment"): "inventory_adjustment_id date reason reason_id adjustment_type total custom_fields",
}


@pytest.fixture(scope="module")
def books():
    return StandIn(sizes=60)


def is_of(kind: str, value: object) -> bool:
    """Whether a value may stand where one of that type was recorded: Zoho writes "" for none, and numbers as text."""
    if value == "" or value is None:
        return True
    if kind == "N":
        return (isinstance(value, (int, float)) and not isinstance(value, bool)) or is_number(value)
    wanted = {"S": str, "B": bool, "L": list, "O": dict}[kind]
    return isinstance(value, wanted)


def is_number(value: object) -> bool:
    try:
        return isinstance(value, str) and Decimal(re.sub("%$", "", value)) is not None
    except InvalidOperation:
        return False


def types(facts: dict[str, str]) -> dict[str, str]:
    return {field: kinds for kinds, fields in facts.items() for field in fields.split()}


def strangers(records, facts):
    """Fields whose value is of another type than was recorded, once each."""
    known = types(facts)
    return {
        (field, str(value)[:40])
        for record in records
        for field, value in record.items()
        if field in known and not any(is_of(kind, value) for kind in known[field])
    }


@pytest.mark.parametrize(("form", "label"), FIELDS)
def test_fields_are_of_the_types_that_were_recorded(books, form, label):
    records = (books.rows(label) if form == "row" else books.records(label)).values()
    assert strangers(records, FIELDS[form, label]) == set()
    shared = set(types(FIELDS[form, label])) & set.intersection(*(set(record) for record in records))
    assert set(NEEDED[form, label].split()) <= shared


@pytest.mark.parametrize("label", LINES)
def test_lines_are_of_the_types_that_were_recorded(books, label):
    key = "invoices" if label == "payment" else "line_items"
    lines = [line for record in books.records(label).values() for line in record[key]]
    assert strangers(lines, LINES[label]) == set()
    assert len(set(types(LINES[label])) & set(lines[0])) >= 4


def test_a_row_has_most_of_what_was_recorded_of_a_row(books):
    for (form, label), facts in FIELDS.items():
        if form == "row":
            (row, *_) = books.rows(label).values()
            missing = set(types(facts)) - set(row)
            assert len(missing) <= len(types(facts)) * 0.2, (label, missing)


def test_a_field_of_another_type_would_be_found():
    facts = {"N": "total", "L": "tags", "S": "name"}
    assert strangers([{"total": "12.50", "tags": "", "name": "x", "more": 1}], facts) == set()
    assert strangers([{"total": "twelve", "tags": {}, "name": 3}], facts) == {("total", "twelve"), ("tags", "{}"), ("name", "3")}
