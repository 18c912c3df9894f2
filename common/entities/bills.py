"""Bills: what vendors want to be paid."""

from common.rules.entity import DAY, DOCUMENT_LINE, ID, INSTANT, JSON, MONEY, NUMBER, TEXT, WHOLE, Entity, Lines, Pull

ENTITY = Entity(
    label="bill",
    path="bills",
    table="bills",
    wrappers=("bill",),
    id_keys=("bill_id",),
    aliases=("bills",),
    version_keys=("last_modified_time",),
    priority=5,
    rank=80,
    columns={
        "bill_number": TEXT,
        "reference_number": TEXT,
        "vendor_id": ID,
        "vendor_name": TEXT,
        "status": TEXT,
        "current_sub_status": TEXT,
        "date": DAY,
        "due_date": DAY,
        "payment_terms": WHOLE,
        "currency_code": TEXT,
        "exchange_rate": NUMBER,
        "discount": TEXT,  # "10%" or an amount
        "sub_total": MONEY,
        "tax_total": MONEY,
        "total": MONEY,
        "balance": MONEY,
        "payment_made": MONEY,
        "vendor_credits_applied": MONEY,
        "billing_address": JSON,
        "custom_fields": JSON,
        "created_time": INSTANT,
    },
    lines=Lines(
        table="bill_lines",
        key="line_items",
        columns={
            **DOCUMENT_LINE,
            "quantity_received": NUMBER,
        },
    ),
    pull=Pull(
        path="bills",
        base="books",  # Inventory ignores the filter without a word
        key="bills",
        detail_key="bill",
        filter="last_modified_time",
        sort="created_time",
        arguments={"filter_by": "Status.All"},
    ),
)
