"""Stock adjustments; their lines feed `erp.stock_ledger`. None says when it changed: a webhook is only a hint."""

from common.rules.entity import DAY, ID, INSTANT, JSON, MONEY, NUMBER, TEXT, Column, Entity, Kind, Lines, Pull

ENTITY = Entity(
    label="stock_adjustment",
    path="stock",
    table="stock_adjustments",
    wrappers=("inventory_adjustment", "stock_adjustment"),
    id_keys=("inventory_adjustment_id", "adjustment_id"),
    aliases=(
        "stock_adjustments",
        "stock",
        "inventory_adjustment",
        "inventory_adjustments",
        "inventoryadjustment",
        "inventoryadjustments",
    ),
    priority=8,
    rank=110,
    columns={
        "adjustment_type": TEXT,  # quantity or value: only the first moves stock
        "status": TEXT,
        "date": DAY,
        "reason": TEXT,
        "reason_id": ID,
        "reference_number": TEXT,
        "description": TEXT,
        "location_id": Column(Kind.ID, ("location_id", "warehouse_id")),
        "location_name": Column(Kind.TEXT, ("location_name", "warehouse_name")),
        "total": MONEY,
        "custom_fields": JSON,
        "created_time": INSTANT,
    },
    lines=Lines(
        table="stock_adjustment_lines",
        key="line_items",
        columns={
            "line_item_id": ID,
            "item_id": ID,
            "name": TEXT,
            "unit": TEXT,
            "quantity_adjusted": NUMBER,
            "value_adjusted": MONEY,
            "item_total": MONEY,
            "location_id": Column(Kind.ID, ("location_id", "warehouse_id")),
            "adjustment_account_id": ID,
        },
    ),
    pull=Pull(path="inventoryadjustments", base="inventory", key="inventory_adjustments", detail_key="inventory_adjustment"),
)
