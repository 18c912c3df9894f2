"""Sales orders. Four sub-statuses tell more than `status`: it may say shipped while the order is only confirmed."""

from common.rules.entity import DAY, DOCUMENT_LINE, ID, INSTANT, JSON, MONEY, NUMBER, TEXT, Entity, Lines

ENTITY = Entity(
    label="order",
    path="orders",
    table="sales_orders",
    wrappers=("salesorder", "order"),
    id_keys=("salesorder_id", "order_id"),
    aliases=("orders", "salesorder", "salesorders", "sales_order", "sales_orders"),
    version_keys=("last_modified_time",),
    priority=2,
    rank=60,
    columns={
        "salesorder_number": TEXT,
        "reference_number": TEXT,
        "customer_id": ID,
        "customer_name": TEXT,
        "status": TEXT,
        "order_status": TEXT,
        "invoiced_status": TEXT,
        "paid_status": TEXT,
        "shipped_status": TEXT,
        "date": DAY,
        "shipment_date": DAY,
        "delivery_method": TEXT,
        "salesperson_id": ID,
        "salesperson_name": TEXT,
        "currency_code": TEXT,
        "exchange_rate": NUMBER,
        "discount": TEXT,  # "10%" or an amount
        "sub_total": MONEY,
        "tax_total": MONEY,
        "total": MONEY,
        "billing_address": JSON,
        "shipping_address": JSON,
        "custom_fields": JSON,
        "created_time": INSTANT,
    },
    lines=Lines(
        table="sales_order_lines",
        key="line_items",
        columns={
            **DOCUMENT_LINE,
            "quantity_packed": NUMBER,
            "quantity_shipped": NUMBER,
            "quantity_invoiced": NUMBER,
        },
    ),
)
