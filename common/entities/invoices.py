"""Invoices. Void ones stay; a deleted one is gone from the source."""

from common.rules.entity import DAY, DOCUMENT_LINE, ID, INSTANT, JSON, MONEY, NUMBER, TEXT, Entity, Lines

ENTITY = Entity(
    label="invoice",
    path="invoices",
    table="invoices",
    wrappers=("invoice",),
    id_keys=("invoice_id",),
    aliases=("invoices",),
    version_keys=("last_modified_time", "updated_time"),
    priority=2,
    rank=70,
    columns={
        "invoice_number": TEXT,
        "reference_number": TEXT,
        "customer_id": ID,
        "customer_name": TEXT,
        "salesorder_id": ID,
        "status": TEXT,
        "current_sub_status": TEXT,
        "date": DAY,
        "due_date": DAY,
        "salesperson_id": ID,
        "salesperson_name": TEXT,
        "currency_code": TEXT,
        "exchange_rate": NUMBER,
        "discount": TEXT,  # "10%" or an amount
        "sub_total": MONEY,
        "tax_total": MONEY,
        "total": MONEY,
        "balance": MONEY,
        "payment_made": MONEY,
        "credits_applied": MONEY,
        "billing_address": JSON,
        "shipping_address": JSON,
        "custom_fields": JSON,
        "created_time": INSTANT,
    },
    lines=Lines(table="invoice_lines", key="line_items", columns=DOCUMENT_LINE),
)
