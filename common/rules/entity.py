"""What an entity file declares: how a record is recognised, which columns it fills, and which lines it has.

Pure data, no pydantic: the receiver reads it at cold start. `rules.shapes` builds the validating models from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """How a field of the source is read, whatever oddity it arrives in; the column's type in Postgres."""

    ID = "id"  # text; a JSON number becomes its digits, "" becomes null
    TEXT = "text"  # text; numbers become their digits, "" stays ""
    MONEY = "money"  # numeric; "1.00" is read, "" is null
    NUMBER = "number"  # numeric, such as quantities and rates of exchange; "5%" loses its sign
    WHOLE = "whole"  # bigint
    FLAG = "flag"  # boolean; 0, 1, "true", "false" are read, "" is null
    DAY = "day"  # date, YYYY-MM-DD; "" is null
    INSTANT = "instant"  # timestamptz, with an offset with or without a colon; "" is null
    JSON = "json"  # jsonb, any object or list; "" is null


@dataclass(frozen=True)
class Column:
    """One typed column: its kind and the keys of the source that may hold it, the first present one wins."""

    kind: Kind
    keys: tuple[str, ...] = ()  # empty: the column's own name
    required: bool = False  # missing or null is a fault


# A column of each kind that stands in the source under its own name.
ID, TEXT, MONEY, NUMBER, WHOLE, FLAG, DAY, INSTANT, JSON = map(Column, Kind)

# What each line of an invoice, an order, a bill and a credit note has.
DOCUMENT_LINE: Mapping[str, Column] = {
    "line_item_id": ID,
    "item_id": ID,
    "name": TEXT,
    "sku": TEXT,
    "description": TEXT,
    "unit": TEXT,
    "quantity": NUMBER,
    "rate": MONEY,
    "discount": TEXT,  # "10%" or an amount: without its sign nobody could tell which
    "tax_id": ID,
    "tax_percentage": NUMBER,
    "item_total": MONEY,
    "account_id": ID,
    "location_id": Column(Kind.ID, ("location_id", "warehouse_id")),
}


@dataclass(frozen=True)
class Lines:
    """The rows inside a record: `table` is keyed by (organization_id, source_id, line_no)."""

    table: str  # erp.<table>
    key: str  # where the list stands in the record, such as line_items
    columns: Mapping[str, Column]


@dataclass(frozen=True)
class Pull:
    """How the entity is read from the source."""

    path: str  # after the base, such as items
    base: str  # the product of the source that has it: inventory or books
    key: str  # where the rows stand in a list's answer
    detail_key: str = ""  # where the record stands in a detail's answer
    filter: str | None = None  # argument of the list that asks for what changed since, and that the source honours
    sort: str | None = None  # column in which the list keeps its order while it is read; None: it cannot be sorted
    arguments: Mapping[str, str] = field(default_factory=dict)  # sent with every list
    whole: bool = False  # a row of the list is the whole record
    bulk: tuple[str, int] | None = None  # path that reads many by id, and how many at once
    has_detail: bool = True  # one can be read by its id
    walk: str | None = None  # without a filter: column by which the list can be read from the newest on
    sums: bool = False  # the source counts and sums the list by itself


@dataclass(frozen=True, eq=False)  # one constant per file: itself its only equal, and a key for caches
class Entity:
    """One of the record types that are kept in step."""

    label: str  # tds_entity_type and JSON, such as credit_note
    path: str  # the last segment of its webhook's path, such as credit-notes
    table: str  # erp.<table>
    wrappers: tuple[str, ...]  # keys that hold the record in a payload, such as item
    id_keys: tuple[str, ...]  # keys of the record that hold its id, best first
    columns: Mapping[str, Column]
    aliases: tuple[str, ...] = ()  # other names accepted on the way in
    version_keys: tuple[str, ...] = ()  # keys that hold when it changed; empty: versionless, a webhook is a hint
    priority: int = 8  # 1 is first; each step is 30 seconds of waiting
    rank: int = 50  # order inside a transaction: parents before children, one order for everybody
    lines: Lines | None = None
    marks: Mapping[str, str] = field(default_factory=dict)  # column that says when another was last read: that other
    only: Mapping[str, str] = field(default_factory=dict)  # fields that tell it from its wrapper's other entity
    pull: Pull | None = None  # None: it comes by webhook only
