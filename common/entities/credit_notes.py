"""Credit notes: what customers are owed, and which invoices it was set against."""

from common.rules.entity import DAY, DOCUMENT_LINE, ID, INSTANT, JSON, MONEY, NUMBER, TEXT, Entity, Lines, Pull

ENTITY = Entity(
    label="credit_note",
    path="credit-notes",
    table="credit_notes",
    wrappers=("creditnote", "credit_note"),
    id_keys=("creditnote_id", "credit_note_id"),
    aliases=("credit_notes", "credit-notes", "creditnote", "creditnotes"),
    version_keys=("last_modified_time",),
    priority=8,
    rank=90,
    columns={
        "creditnote_number": TEXT,
        "reference_number": TEXT,
        "customer_id": ID,
        "customer_name": TEXT,
        "invoice_id": ID,
        "status": TEXT,
        "current_sub_status": TEXT,
        "date": DAY,
        "salesperson_id": ID,
        "salesperson_name": TEXT,
        "currency_code": TEXT,
        "exchange_rate": NUMBER,
        "discount": TEXT,  # "10%" or an amount
        "sub_total": MONEY,
        "tax_total": MONEY,
        "total": MONEY,
        "balance": MONEY,
        "total_credits_used": MONEY,
        "total_refunded_amount": MONEY,
        "invoices_credited": JSON,
        "custom_fields": JSON,
        "created_time": INSTANT,
    },
    lines=Lines(table="credit_note_lines", key="line_items", columns=DOCUMENT_LINE),
    pull=Pull(
        path="creditnotes",
        base="books",
        key="creditnotes",
        detail_key="creditnote",
        sort="created_time",
        arguments={"filter_by": "Status.All"},
    ),
)
