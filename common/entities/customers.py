"""Customers: the contacts that buy. A contact may be linked to a vendor, which is a record of its own."""

from common.rules.entity import ID, INSTANT, JSON, MONEY, TEXT, WHOLE, Column, Entity, Kind, Pull

ENTITY = Entity(
    label="customer",
    path="customers",
    table="customers",
    wrappers=("contact", "customer"),
    id_keys=("contact_id", "customer_id"),
    aliases=("customers", "contact", "contacts"),
    version_keys=("last_modified_time",),
    priority=5,
    rank=20,
    only={"contact_type": "customer"},
    columns={
        "contact_name": Column(Kind.TEXT, ("contact_name", "customer_name")),
        "company_name": TEXT,
        "customer_sub_type": TEXT,
        "status": TEXT,
        "email": TEXT,
        "phone": TEXT,
        "mobile": TEXT,
        "website": TEXT,
        "currency_code": TEXT,
        "payment_terms": WHOLE,  # days; negative for terms such as "end of month"
        "payment_terms_label": TEXT,
        "outstanding_receivable_amount": MONEY,
        "unused_credits_receivable_amount": MONEY,
        "credit_limit": MONEY,
        "pricebook_id": ID,
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
        arguments={"contact_type": "customer", "filter_by": "Status.All"},
        walk="last_modified_time",
    ),
)
