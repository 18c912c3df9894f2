"""The books of an invented organization: records of every entity as Zoho's detail answers show them, and their history.

The same seed tells the same history, to the byte. What Zoho sends is reproduced with its oddities: ids beyond 2^53 as
text, "" where others say null, numbers as text, rendered copies of amounts, local time without a colon in its offset.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

Record = dict[str, Any]

START = datetime(2024, 6, 9, 6, 45, 44, tzinfo=UTC)
ZONE = timezone(timedelta(hours=3))
PEOPLE = ("Layla Haddad", "ليلى حداد", "José Núñez", "Søren Aagaard", "أحمد العلي", "Ana-Maria Pop", "李小龍", "Zoë O'Neill")
COMPANIES = ("BLUE DART ", "شركة النور للتجارة", "Müller & Söhne GmbH", "Al-Rashid / الرشيد", "Bowman and Co", 'Öl "Nord" AS')
GOODS = ("Lámp of brass", "مصباح مكتبي 💡", "Desk 160 x 80 cm", "Ribbed glass 🫙", "كرسي خشبي", "Cable <3 m> & plug", "Tea, 250 g")
REMARKS = ("call before delivery", "يُسلَّم صباحًا", "as agreed by phone ☎️", 'see \\ attached "list"', "line one\nline two")
CITIES = (("Baghdad", "بغداد", "10011"), ("Malmö", "", "211 20"), ("Pleasanton", "Suite 310", 94588))


@dataclass(frozen=True)
class Kind:
    """How Zoho names a record type: our label, the path of its webhook, its key in a payload, and its own keys."""

    label: str
    path: str
    wrapper: str
    id_key: str
    version_key: str | None  # None: its records do not say when they changed
    remark_key: str  # a text that each version has its own of
    word: str  # as it stands in the name of an event


KINDS = {
    kind.label: kind
    for kind in (
        Kind("user", "users", "user", "user_id", None, "photo_url", "user"),
        Kind("customer", "customers", "contact", "contact_id", "last_modified_time", "notes", "contact"),
        Kind("vendor", "vendors", "contact", "contact_id", "last_modified_time", "notes", "contact"),
        Kind("product", "products", "item", "item_id", "last_modified_time", "description", "item"),
        Kind("price_list", "prices", "pricebook", "pricebook_id", None, "description", "pricebook"),
        Kind("order", "orders", "salesorder", "salesorder_id", "last_modified_time", "notes", "salesorder"),
        Kind("invoice", "invoices", "invoice", "invoice_id", "last_modified_time", "notes", "invoice"),
        Kind("bill", "bills", "bill", "bill_id", "last_modified_time", "notes", "bill"),
        Kind("credit_note", "credit-notes", "creditnote", "creditnote_id", "last_modified_time", "notes", "creditnote"),
        Kind("payment", "payments", "payment", "payment_id", "updated_time", "description", "customerpayment"),
        Kind("stock_adjustment", "stock", "inventory_adjustment", "inventory_adjustment_id", None, "description", "adjustment"),
    )
}


@dataclass(frozen=True)
class Change:
    """One version of one record, or its end."""

    kind: Kind
    id: str
    operation: str  # create, update, delete
    at: datetime
    record: Record


class Books:
    """An organization at work: each call of `change` is the next thing that somebody did."""

    def __init__(self, seed: int, organization: str, *, labels: Sequence[str] = (), start: datetime = START) -> None:
        self.organization = organization
        self.now = start
        self._chance = random.Random(f"books {seed}")  # noqa: S311 - repeatable is the point
        self.labels = tuple(label for label in KINDS if not labels or label in labels)
        self._prefix = self._chance.randrange(100_000, 1_000_000)  # other seeds have other ids
        self._number = 0
        self._standing: dict[str, list[Change]] = {label: [] for label in KINDS}

    def change(self, *, delete: float = 0.02) -> Change:
        """A new record, an edit of a former one, or, with probability `delete`, its deletion."""
        self.now += timedelta(seconds=self._chance.randrange(1, 90))
        label = self._chance.choice(self.labels)
        standing = self._standing[label]
        if not standing or self._chance.random() < 0.45:  # noqa: PLR2004 - a little less than half is new
            return self._keep(self.create(label))
        position = self._chance.randrange(len(standing))
        if self._chance.random() < delete:
            return replace(standing.pop(position), operation="delete")  # Zoho sends the last version, under its own time
        former = standing.pop(position)
        return self._keep(self._saved(former) if self._chance.random() < 0.05 else self._edited(former))  # noqa: PLR2004 - a share

    def again(self, former: Change) -> Change:
        """Another edit of the same record in the same second: only the source knows which of the two came last."""
        standing = self._standing[former.kind.label]
        standing[:] = [each for each in standing if each.id != former.id]
        return self._keep(self._edited(former))

    def create(self, label: str) -> Change:
        """A new record that nothing else will happen to."""
        kind = KINDS[label]
        identifier = self.new_id()
        record = {kind.id_key: identifier, **_MAKERS[label](self), "created_time": self._stamp()}
        self._finish(kind, record)
        return Change(kind, identifier, "create", self.now, record)

    def _saved(self, former: Change) -> Change:
        """The same once more under a new time, as when somebody opens a record and saves it."""
        if former.kind.version_key is None:
            return self._edited(former)
        return Change(former.kind, former.id, "update", self.now, former.record | {former.kind.version_key: self._stamp()})

    def _edited(self, former: Change) -> Change:
        record = copy.deepcopy(former.record)
        for key in ("rate", "amount", "credit_limit"):
            if isinstance(record.get(key), (int, float)):
                record[key] = self.money()
        if "status" in record:
            record["status"] = self._chance.choice(("active", "inactive") if former.kind.id_key in _PEOPLE_AND_GOODS else _STATUSES)
        if record.get("line_items"):
            record["line_items"] = record["line_items"][: self._chance.randrange(1, 4)]
        self._finish(former.kind, record)
        return Change(former.kind, former.id, "update", self.now, record)

    def _finish(self, kind: Kind, record: Record) -> None:
        self._number += 1
        said = f"{self.one_of(REMARKS)} ({self._number})"
        record[kind.remark_key] = f"https://contacts.zoho.com/file?ID={self._number:08x}&fs=thumb" if kind.label == "user" else said
        if kind.version_key:
            record[kind.version_key] = self._stamp()

    def _keep(self, change: Change) -> Change:
        self._standing[change.kind.label].append(change)
        return change

    def new_id(self) -> str:
        """An id nobody else has: text, and too large for a double."""
        self._number += 1
        return f"{self._prefix}{self._number:012}"

    def _stamp(self) -> str:
        return self.now.astimezone(ZONE).strftime("%Y-%m-%dT%H:%M:%S%z")

    # What records are made of

    def one_of(self, things: Sequence[Any]) -> Any:
        """Any of `things`."""
        return self._chance.choice(things)

    def id_of(self, label: str) -> str:
        """The id of a record that stands; an invented one where there is none, as of a record we were never told of."""
        standing = self._standing[label]
        return self._chance.choice(standing).id if standing else self.new_id()

    def money(self) -> float | int:
        """An amount, whole now and then."""
        amount = self._chance.randrange(50, 500_000)
        return amount if amount % 4 == 0 else amount / 100

    def number(self, least: int, most: int) -> int:
        """A whole number."""
        return self._chance.randint(least, most)

    def day(self) -> str:
        """A day in the last month."""
        return (self.now - timedelta(days=self.number(0, 30))).strftime("%Y-%m-%d")

    def address(self) -> Record:
        """An address as details have it: `zip` is text or a number."""
        city, street2, code = self.one_of(CITIES)
        return {
            "attention": self.one_of(PEOPLE), "address": f"{self.number(1, 99)} Harbour Rd", "street2": street2, "city": city,
            "state": "", "zip": code, "country": "", "phone": "+46 40 123 456", "fax": "",
        }  # fmt: skip

    def money_of(self) -> Record:
        """The currency that a document is in; now and then the rate of exchange is missing, which Zoho writes as ""."""
        return {
            "currency_id": "982000000000190", "currency_code": self.one_of(("SEK", "USD", "IQD")),
            "exchange_rate": self.one_of((1, 1.0, 1300.5, "")), "price_precision": 2,
        }  # fmt: skip

    def custom(self) -> list[Record]:
        """Fields of the organization's own."""
        return [{"customfield_id": "982000000091001", "label": "Shelf", "value": f"B-{self.number(1, 40)}"}]

    def lines(self, **more: Any) -> list[Record]:
        """One to four lines of a document."""
        return [self._line(more) for _ in range(self.number(1, 4))]

    def _line(self, more: Record) -> Record:
        quantity, rate = self.number(1, 12), self.money()
        return {
            "line_item_id": self.new_id(), "item_id": self.id_of("product"), "name": self.one_of(GOODS), "sku": "",
            "description": "", "unit": self.one_of(("pcs", "m", "")), "quantity": quantity, "rate": rate,
            "discount": self.one_of((0, "5%", "")), "tax_id": "", "tax_percentage": self.one_of((0, 5, "15")),
            "item_total": round(quantity * rate, 2), "account_id": "982000000034003", "line_item_taxes": [], **more,
        }  # fmt: skip

    def document(self, number: str, party: str, **more: Any) -> Record:
        """What invoices, orders, bills and credit notes have in common."""
        lines = self.lines()
        total = round(sum(line["item_total"] for line in lines), 2)
        return {
            number: f"{number[:2].upper()}-{self.number(1, 99_999):05}", f"{party}_id": self.id_of(party),
            f"{party}_name": self.one_of(COMPANIES), "reference_number": "", "date": self.day(), "status": self.one_of(_STATUSES),
            "salesperson_id": self.one_of(("-1", "")), "salesperson_name": "Others", **self.money_of(),
            "discount": self.one_of((0, "10%", "")), "sub_total": total, "tax_total": 0, "total": total, "documents": [],
            "custom_fields": self.custom(), "page_width": "8.27in", "page_height": "11.69in", **more, "line_items": lines,
        }  # fmt: skip


_STATUSES = ("draft", "sent", "open", "overdue", "paid", "void")
_PEOPLE_AND_GOODS = {"contact_id", "item_id", "user_id", "pricebook_id"}


def _user(books: Books) -> Record:
    return {
        "role_id": "982000000006005", "name": books.one_of(PEOPLE), "email": f"person{books.number(1, 9999)}@example.com",
        "user_role": "admin", "user_type": "zoho", "status": "active", "is_current_user": False, "is_customer_segmented": False,
    }  # fmt: skip


def _contact(books: Books, contact_type: str, **more: Any) -> Record:
    name = books.one_of(COMPANIES)
    return {
        "contact_name": name, "company_name": name.strip(), "contact_type": contact_type, "status": "active",
        "email": f"office{books.number(1, 9999)}@example.com", "phone": "", "mobile": "+964 770 123 4567", "website": "",
        **books.money_of(), "payment_terms": books.one_of((0, 15, "30", "")), "payment_terms_label": "Net 15",
        "billing_address": books.address(), "shipping_address": books.address(),
        "contact_persons": [{"contact_person_id": books.new_id(), "first_name": books.one_of(PEOPLE), "is_primary_contact": True}],
        "custom_fields": books.custom(), **more,
    }  # fmt: skip


def _customer(books: Books) -> Record:
    return _contact(
        books, "customer", customer_sub_type="business", credit_limit=books.money(), outstanding_receivable_amount=books.money(),
        unused_credits_receivable_amount=0, pricebook_id="",
    )  # fmt: skip


def _vendor(books: Books) -> Record:
    return _contact(books, "vendor", outstanding_payable_amount=books.money(), unused_credits_payable_amount="0.00")


def _product(books: Books) -> Record:
    stock = books.number(0, 500)
    return {
        "name": books.one_of(GOODS), "sku": books.one_of(("", f"SKU-{books.number(1, 9999)}")), "unit": "pcs", "status": "active",
        "source": "user", "item_type": "inventory", "product_type": "goods", "rate": books.money(), "purchase_rate": "81.20",
        "tax_id": "", "tax_percentage": books.one_of((5, "15", "70%")), "stock_on_hand": float(stock), "available_stock": stock,
        "actual_available_stock": max(stock - 7, 0), "reorder_level": books.one_of((10, "")), "manufacturer": "Tide & Co",
        "upc": "0812345678905", "ean": "", "vendor_id": books.id_of("vendor"), "custom_fields": books.custom(), "tags": [],
        "warehouses": [{"warehouse_id": "982000000038080", "warehouse_name": "المستودع", "warehouse_stock_on_hand": stock}],
    }  # fmt: skip


def _price_list(books: Books) -> Record:
    prices = [
        {
            "pricebook_item_id": books.new_id(), "item_id": books.id_of("product"), "pricebook_rate": books.money(),
            "pricebook_discount": books.one_of(("5%", "")), "pricing_scheme": "unit", "price_brackets": [],
        }
        for _ in range(books.number(1, 3))
    ]  # fmt: skip
    return {
        "name": "Flash sale ⚡", "status": "active", "pricebook_type": "per_item", "sales_or_purchase_type": "sales",
        "pricing_scheme": "unit", "percentage": "", "is_increase": books.one_of((True, False, "")), "is_default": False,
        "rounding_type": "round_to_dollar_minus_01", "decimal_place": 2, "currency_id": "982000000000190", "currency_code": "SEK",
        "pricebook_items": prices,
    }  # fmt: skip


def _order(books: Books) -> Record:
    record = books.document(
        "salesorder_number", "customer", order_status="confirmed", invoiced_status="not_invoiced", paid_status="unpaid",
        shipped_status="pending", shipment_date=books.one_of(("", books.day())), delivery_method="Air",
        billing_address=books.address(), shipping_address=books.address(),
    )  # fmt: skip
    for line in record["line_items"]:
        line |= {"quantity_packed": 0, "quantity_shipped": 0, "quantity_invoiced": ""}
    return record


def _invoice(books: Books) -> Record:
    return books.document(
        "invoice_number", "customer", salesorder_id=books.one_of(("", books.id_of("order"))), due_date=books.day(), payment_made=0,
        balance=books.money(), credits_applied="0.00", billing_address=books.address(), shipping_address=books.address(),
        invoice_url="https://books.zoho.com/portal/x/secure?CInvoiceID=2-9f", due_by_days="",
    )  # fmt: skip


def _bill(books: Books) -> Record:
    return books.document(
        "bill_number", "vendor", due_date=books.day(), payment_terms=books.one_of((15, "")), balance=books.money(), payment_made=0,
        billing_address=books.address(),
    )  # fmt: skip


def _credit_note(books: Books) -> Record:
    credited = [{"invoice_id": books.id_of("invoice"), "credited_amount": books.money()}]
    return books.document(
        "creditnote_number", "customer", invoice_id=books.one_of(("", books.id_of("invoice"))), balance=0,
        total_credits_used="0.00", total_refunded_amount=0, invoices_credited=credited,
    )  # fmt: skip


def _payment(books: Books) -> Record:
    invoices: list[Record] = [
        {
            "invoice_payment_id": books.new_id(), "invoice_id": books.id_of("invoice"), "invoice_number": f"INV-{number:05}",
            "amount_applied": books.money(), "tax_amount_withheld": 0, "discount_amount": 0, "apply_date": books.day(),
            "total": books.money(), "balance": "0.00", "installments": [],
        }
        for number in range(books.number(1, 3))
    ]  # fmt: skip
    return {
        "payment_number": str(books.number(1, 9999)), "customer_id": books.id_of("customer"),
        "customer_name": books.one_of(COMPANIES),
        "payment_mode": "check", "payment_status": "paid", "date": books.day(), "amount": books.money(), "unused_amount": 0,
        "bank_charges": "", "account_id": "982000000000358", "account_name": "Undeposited Funds", "reference_number": "",
        **books.money_of(), "invoice_numbers": "INV-00000", "custom_fields": [], "page_width": "8.27in", "invoices": invoices,
    }  # fmt: skip


def _stock_adjustment(books: Books) -> Record:
    lines = [
        {
            "line_item_id": books.new_id(), "item_id": books.id_of("product"), "name": books.one_of(GOODS), "unit": "pcs",
            "quantity_adjusted": books.number(-9, 9), "item_total": books.money(), "warehouse_id": "982000000038080",
            "adjustment_account_id": "982000000034003",
        }
        for _ in range(books.number(1, 3))
    ]  # fmt: skip
    return {
        "date": books.day(), "reason": "Damaged goods", "reason_id": "982000000044110",
        "reference_number": f"IA-{books.number(1, 999)}",
        "adjustment_type": "quantity", "status": "adjusted", "total": books.money(), "warehouse_id": "982000000038080",
        "warehouse_name": "المستودع", "custom_fields": [{"customfield_id": "", "label": "", "value": ""}], "line_items": lines,
    }  # fmt: skip


_MAKERS: dict[str, Callable[[Books], Record]] = {
    "user": _user,
    "customer": _customer,
    "vendor": _vendor,
    "product": _product,
    "price_list": _price_list,
    "order": _order,
    "invoice": _invoice,
    "bill": _bill,
    "credit_note": _credit_note,
    "payment": _payment,
    "stock_adjustment": _stock_adjustment,
}
