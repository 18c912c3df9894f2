"""References: which columns of the business tables hold ids of other records, from what the entities declare."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from common.rules.entity import Entity, Kind

# What a column refers to, wherever it stands: the label of the entity whose ids it holds. Other ids are of things that the
# source keeps to itself, such as accounts and locations.
PARENTS = {
    "customer_id": "customer",
    "vendor_id": "vendor",
    "item_id": "product",
    "invoice_id": "invoice",
    "salesorder_id": "order",
    "pricebook_id": "price_list",
}


class Reference(NamedTuple):
    """A column that holds ids of another entity."""

    entity: Entity
    column: str
    parent: Entity
    is_of_lines: bool


def references(every: Collection[Entity]) -> Iterator[Reference]:
    """Every column of these entities, or of their lines, that refers to one of them."""
    by_label = {entity.label: entity for entity in every}
    for entity in every:
        for is_of_lines, columns in ((False, entity.columns), (True, entity.lines.columns if entity.lines else {})):
            for column, shape in columns.items():
                if shape.kind is Kind.ID and column in PARENTS:
                    yield Reference(entity, column, by_label[PARENTS[column]], is_of_lines)
