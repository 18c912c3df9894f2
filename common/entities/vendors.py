"""Vendors: the contacts that are bought from."""

from common.rules.entity import INSTANT, JSON, MONEY, TEXT, WHOLE, Column, Entity, Kind, Pull

ENTITY = Entity(
    label="vendor",
    path="vendors",
    table="vendors",
    wrappers=("contact", "vendor"),
    id_keys=("contact_id", "vendor_id", "supplier_id"),
    aliases=("vendors", "supplier", "suppliers"),
    version_keys=("last_modified_time",),
    priority=8,
    rank=30,
    only={"contact_type": "vendor"},
    columns={
        "contact_name": Column(Kind.TEXT, ("contact_name", "vendor_name")),
        "company_name": TEXT,
        "status": TEXT,
        "email": TEXT,
        "phone": TEXT,
        "mobile": TEXT,
        "website": TEXT,
        "currency_code": TEXT,
        "payment_terms": WHOLE,  # days; negative for terms such as "end of month"
        "payment_terms_label": TEXT,
        "outstanding_payable_amount": MONEY,
        "unused_credits_payable_amount": MONEY,
        "billing_address": JSON,
        "shipping_address": JSON,
        "contact_persons": JSON,
        "custom_fields": JSON,
        "created_time": INSTANT,
    },
    pull=Pull(
        path="contacts",
        base="books",
        key="contacts",
        detail_key="contact",
        sort="created_time",
        arguments={"contact_type": "vendor", "filter_by": "Status.All"},
        walk="last_modified_time",
    ),
)
