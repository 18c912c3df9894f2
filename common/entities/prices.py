"""Price lists and the prices in them. The source does not say when one changed, so a webhook is only a hint."""

from common.rules.entity import FLAG, ID, INSTANT, JSON, NUMBER, TEXT, WHOLE, Column, Entity, Kind, Lines, Pull

ENTITY = Entity(
    label="price_list",
    path="prices",
    table="price_lists",
    wrappers=("pricebook", "price_list"),
    id_keys=("pricebook_id", "pricelist_id", "price_list_id"),
    aliases=("price_lists", "price", "prices", "pricebook", "pricebooks", "pricelist", "pricelists"),
    priority=8,
    rank=50,
    columns={
        "name": TEXT,
        "description": TEXT,
        "status": TEXT,
        "pricebook_type": TEXT,
        "sales_or_purchase_type": TEXT,
        "pricing_scheme": TEXT,
        "percentage": NUMBER,
        "is_increase": FLAG,
        "is_default": FLAG,
        "rounding_type": TEXT,
        "decimal_place": WHOLE,
        "currency_id": ID,
        "currency_code": TEXT,
        "custom_fields": JSON,
        "created_time": INSTANT,
    },
    lines=Lines(
        table="price_list_items",
        key="pricebook_items",
        columns={
            "line_item_id": Column(Kind.ID, ("pricebook_item_id",)),
            "item_id": ID,
            "rate": Column(Kind.MONEY, ("pricebook_rate", "rate")),
            "discount_percentage": Column(Kind.NUMBER, ("pricebook_discount", "discount_percentage")),
            "pricing_scheme": TEXT,
            "price_brackets": JSON,
        },
    ),
    pull=Pull(path="pricebooks", base="inventory", key="pricebooks", whole=True, has_detail=False),
)
