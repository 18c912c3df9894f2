"""Products: what Zoho calls items. Stock figures are the source's own; `erp.stock` adds what happened since."""

from common.rules.entity import ID, INSTANT, JSON, MONEY, NUMBER, TEXT, Column, Entity, Kind, Pull

ENTITY = Entity(
    label="product",
    path="products",
    table="products",
    wrappers=("item", "product"),
    id_keys=("item_id", "product_id"),
    aliases=("products", "item", "items"),
    version_keys=("last_modified_time",),
    priority=5,
    rank=10,
    columns={
        "name": Column(Kind.TEXT, ("name", "item_name")),
        "sku": TEXT,  # "" for many: never a key
        "unit": TEXT,
        "status": TEXT,
        "description": TEXT,
        "item_type": TEXT,
        "product_type": TEXT,
        "rate": MONEY,
        "purchase_rate": MONEY,
        "tax_id": ID,
        "tax_percentage": NUMBER,
        "stock_on_hand": NUMBER,
        "available_stock": NUMBER,
        "actual_available_stock": NUMBER,
        "reorder_level": NUMBER,
        "brand": TEXT,
        "manufacturer": TEXT,
        "upc": TEXT,
        "ean": TEXT,
        "vendor_id": ID,
        "locations": Column(Kind.JSON, ("locations", "warehouses")),
        "custom_fields": JSON,
        "created_time": INSTANT,
    },
    marks={"stock_read_at": "stock_on_hand"},
    pull=Pull(
        path="items",
        base="inventory",  # Books knows no filter for items
        key="items",
        detail_key="item",
        filter="last_modified_time",
        sort="created_time",
        arguments={"filter_by": "Status.All"},
        bulk=("itemdetails", 100),
    ),
)
