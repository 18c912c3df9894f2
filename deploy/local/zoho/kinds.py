"""The kinds of record that Zoho has, as it names them, and the versions of a record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

Record = dict[str, Any]


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


def stamp(at: datetime, zone: timezone) -> str:
    """A time as Zoho writes it: the organization's, no fraction, no colon in the offset."""
    return at.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S%z")


class Standing:
    """The newest version of each record of one kind, by place and by id; whoever leaves is replaced by the last one."""

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._changes)

    def __getitem__(self, place: int) -> Change:
        return self._changes[place]

    def get(self, identifier: str) -> Change | None:
        """The newest version of a record."""
        place = self._places.get(identifier)
        return None if place is None else self._changes[place]

    def put(self, change: Change) -> None:
        """Take the place of the former version, or the next one."""
        place = self._places.setdefault(change.id, len(self._changes))
        if place == len(self._changes):
            self._changes.append(change)
        else:
            self._changes[place] = change

    def remove(self, change: Change) -> None:
        """Forget a record."""
        last = self._changes.pop()
        place = self._places.pop(change.id)
        if place < len(self._changes):
            self._changes[place] = last
            self._places[last.id] = place
