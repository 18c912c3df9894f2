"""What the lists of each module allow: its keys, its sorts, whether it honours a filter by time. Facts, one line each.

Read off the vendor's OpenAPI documents and off recorded traffic; where the two are silent, the least helpful is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

BOOKS = "/books/v3"
INVENTORY = "/inventory/v1"
# What a document's list may be sorted by in either product.
_DOCUMENT = ("customer_name", "date", "total", "created_time")


@dataclass(frozen=True)
class Module:
    """One resource of one base."""

    base: str
    path: str
    key: str  # of the rows
    detail_key: str
    labels: tuple[str, ...]  # whose records it lists
    named: str  # in messages: "Invoice does not exist."
    report: str  # page_context.report_name
    default_sort: tuple[str, str]
    sorts: tuple[str, ...] = ()
    since: str | None = None  # what last_modified_time means: "after", "from"; None: it is ignored
    has_context: bool = True
    has_detail: bool = True
    has_totals: bool = False  # response_option
    has_created_date: bool = False
    by_date: bool = False  # date, date_start, date_end, date_before, date_after
    matches: tuple[str, ...] = ()  # parameters that must equal the field of their name
    filters: tuple[str, ...] = ("Status",)  # families of filter_by


_CONTACTS = Module(
    BOOKS, "contacts", "contacts", "contact", ("customer", "vendor"), "Contact", "Contacts", ("contact_name", "A"),
    sorts=(
        "contact_name", "first_name", "last_name", "email", "outstanding_receivable_amount", "created_time", "last_modified_time",
    ),
    matches=("contact_type", "status"),
)  # fmt: skip
_ITEMS = Module(
    BOOKS, "items", "items", "item", ("product",), "Item", "Items", ("name", "A"), sorts=("name", "rate", "tax_name"),
    matches=("status",),
)  # fmt: skip
_INVOICES = Module(
    BOOKS, "invoices", "invoices", "invoice", ("invoice",), "Invoice", "Invoices", ("created_time", "D"),
    sorts=(*_DOCUMENT, "invoice_number", "due_date", "balance"), since="after", has_totals=True, has_created_date=True,
    by_date=True, matches=("status", "customer_id"),
)  # fmt: skip
_ORDERS = Module(
    BOOKS, "salesorders", "salesorders", "salesorder", ("order",), "Sales Order", "Sales Orders", ("created_time", "D"),
    sorts=(*_DOCUMENT, "salesorder_number", "shipment_date", "last_modified_time", "reference_number"), since="from",
    by_date=True, matches=("status", "customer_id"),
)  # fmt: skip
_BILLS = Module(
    BOOKS, "bills", "bills", "bill", ("bill",), "Bill", "Bills", ("created_time", "D"),
    sorts=("vendor_name", "bill_number", "date", "due_date", "total", "balance", "created_time"), since="from",
    by_date=True, matches=("status", "vendor_id"),
)  # fmt: skip
_CREDIT_NOTES = Module(
    BOOKS, "creditnotes", "creditnotes", "creditnote", ("credit_note",), "Credit Note", "Credit Notes", ("created_time", "D"),
    sorts=(*_DOCUMENT, "creditnote_number", "balance"), by_date=True, matches=("status", "customer_id"),
)  # fmt: skip
_PAYMENTS = Module(
    BOOKS, "customerpayments", "customerpayments", "payment", ("payment",), "Payment", "Customer Payments", ("date", "D"),
    sorts=("created_time", "date"), by_date=True, matches=("payment_mode", "customer_id"), filters=("PaymentMode",),
)  # fmt: skip
_USERS = Module(
    BOOKS, "users", "users", "user", ("user",), "User", "Users", ("name", "A"), sorts=("name", "email", "user_role", "status")
)  # fmt: skip
_STOCK = Module(
    INVENTORY, "inventoryadjustments", "inventory_adjustments", "inventory_adjustment", ("stock_adjustment",),
    "Inventory Adjustment", "Inventory Adjustments", ("date", "D"), filters=(),
)  # fmt: skip
_PRICES = Module(
    INVENTORY, "pricebooks", "pricebooks", "pricebook", ("price_list",), "Price List", "Price Lists", ("name", "A"),
    has_context=False, has_detail=False, filters=("SalesOrPurchaseType",),
)  # fmt: skip


def _in_inventory(module: Module, sorts: tuple[str, ...]) -> Module:
    """The same in Inventory, where only items have a filter by time."""
    return replace(module, base=INVENTORY, sorts=sorts, since=None, has_totals=False, has_created_date=False)


_GOODS = ("name", "sku", "rate", "purchase_rate", "created_time", "last_modified_time", "reorder_level", "stock_on_hand")
MODULES = {
    (module.base, module.path): module
    for module in (
        _CONTACTS, _ITEMS, _INVOICES, _ORDERS, _BILLS, _CREDIT_NOTES, _PAYMENTS, _USERS, _STOCK, _PRICES,
        _in_inventory(_CONTACTS, _CONTACTS.sorts),
        replace(_in_inventory(_ITEMS, _GOODS), since="after"),
        _in_inventory(_INVOICES, _DOCUMENT),
        _in_inventory(_ORDERS, _DOCUMENT),
        # Bills of Inventory were seen to ignore whatever they were asked: 200, code 0, everything.
        replace(_in_inventory(_BILLS, ()), by_date=False, matches=(), filters=()),
        _in_inventory(_CREDIT_NOTES, _DOCUMENT),
        _in_inventory(_PAYMENTS, _PAYMENTS.sorts),
        _in_inventory(_USERS, _USERS.sorts),
    )
}  # fmt: skip
