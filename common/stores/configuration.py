"""Configuration: rows that operators change without a deploy, read by their type."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from common import encoding
from common.db import Transaction

READ: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "number": Decimal,
    "boolean": lambda text: text == "true",
    "string": str,
    "json": encoding.loads,
}


class Row(NamedTuple):
    """One setting as it is stored."""

    key: str
    text: str
    value_type: str


def all_values(tx: Transaction) -> dict[str, Any]:
    """Every setting's value by its key."""
    return {row.key: READ[row.value_type](row.text) for row in tx.all(Row, "configuration.all")}


class Shown(NamedTuple):
    """One setting as people see it."""

    key: str
    text: str
    value_type: str
    description: str
    category: str | None
    validation_schema: dict[str, Any] | None
    is_sensitive: bool
    version: int
    updated_at: datetime
    updated_by: str | None


class Former(NamedTuple):
    """What a setting was, from when until when."""

    version: int
    text: str
    set_at: datetime
    set_by: str | None
    replaced_at: datetime
    replaced_by: str | None


def shown(tx: Transaction, keys: Collection[str] | None = None) -> list[Shown]:
    """Every setting, or those of `keys`."""
    return tx.all(Shown, "configuration.shown", keys=None if keys is None else encoding.rows(list(keys)))


def history(tx: Transaction, key: str, *, limit: int) -> list[Former]:
    """What a setting was before, latest first."""
    return tx.all(Former, "configuration.history", key=key, limit=limit)


def change(tx: Transaction, rows: Collection[Mapping[str, Any]], *, actor: str) -> int:
    """Give settings other values: key, text and version of each; how many still had that version."""
    return int(tx.value("configuration.change", rows=encoding.rows(list(rows)), actor=actor))
