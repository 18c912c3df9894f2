"""Configuration: rows that operators change without a deploy, read by their type."""

from __future__ import annotations

from collections.abc import Callable
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
