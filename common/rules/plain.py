"""Which rows of a list are so plain that Postgres may read them alone, and the SQL that it reads their columns by.

A plain row is read by `columns` to the very values that `rules.shapes` would read it to. Whatever is in doubt is not
plain, and Python has the last word. This look costs 3 us a row, a full validation 10, and asking Postgres itself 12.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic_core import CoreSchema, SchemaValidator, core_schema

from common.rules.entity import Column, Entity, Kind

MAX_ID_CHARACTERS = 255
MAX_TEXT_CHARACTERS = 16_384  # of four bytes at most
LARGEST = 10.0**15  # of a number: up to here every double has its digits
BRACKETS = 64
# Inside JSON, a fraction or a long number becomes a text in Python. In text that only looks like one, it does not matter.
_ODD_INSIDE = re.compile(rb"[0-9]\.[0-9]|[0-9]{19}|[0-9][eE][-+0-9]")
_DIGITS = r"-?[0-9]{1,18}"
_FIGURE = _DIGITS + r"(\.[0-9]{1,20})?"
_DAY = "(19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}"  # years that nobody doubts, whatever the zone
_INSTANT = _DAY + "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](Z|[+-][0-9]{2}:?[0-9]{2})"


def is_plain(entity: Entity, record: Any) -> bool:
    """Whether Postgres may read `record`, as orjson decoded it from a text without NUL, by `columns`."""
    return _plain(entity).isinstance_python(record)


def columns(entity: Entity, row: str, read_at: str) -> list[str]:
    """The SQL of each column and mark of `entity`, in their order; `row` is a jsonb, `read_at` a timestamptz."""
    read = [_column(_text(row, name, column), _value(row, name, column), column) for name, column in entity.columns.items()]
    return read + [f"case when {_present(row, name, entity.columns[name])} then {read_at} end" for name in entity.marks.values()]


def fluid(entity: Entity) -> list[str]:
    """The keys whose values may change under one stamp, so that the later reading has them, be it a list's or a detail's.

    An entity with a mark is one that is known to do so. JSON is left out: lists abridge it.
    """
    if not entity.marks:
        return []
    return [key for name, column in entity.columns.items() if column.kind is not Kind.JSON for key in _keys(name, column)]


# What is plain ---------------------------------------------------------------------------------------------------


@functools.cache
def _plain(entity: Entity) -> SchemaValidator:
    fields = {}
    for name, column in entity.columns.items():
        choice = core_schema.union_schema(_plain_values(column.kind), mode="left_to_right")
        schema = choice if column.required else core_schema.nullable_schema(choice)
        keys = _keys(name, column)
        paths: list[list[str | int]] = [[key] for key in keys]
        alias = paths if len(keys) > 1 else keys[0]
        fields[name] = core_schema.typed_dict_field(schema, required=column.required, validation_alias=alias)
    if entity.lines:
        none = core_schema.union_schema([core_schema.literal_schema([""]), core_schema.list_schema(max_length=0)])
        fields[entity.lines.key] = core_schema.typed_dict_field(core_schema.nullable_schema(none), required=False)
    return SchemaValidator(core_schema.typed_dict_schema(fields))


def _plain_values(kind: Kind) -> list[CoreSchema | tuple[CoreSchema, str]]:
    whole = core_schema.int_schema(strict=True, gt=-(10**18), lt=10**18)
    number = core_schema.float_schema(strict=True, gt=-LARGEST, lt=LARGEST, allow_inf_nan=False)  # an int will do
    by_kind: Mapping[Kind, list[CoreSchema | tuple[CoreSchema, str]]] = {
        Kind.ID: [core_schema.str_schema(strict=True, max_length=MAX_ID_CHARACTERS), whole],
        Kind.TEXT: [core_schema.str_schema(strict=True, max_length=MAX_TEXT_CHARACTERS), whole],
        Kind.MONEY: [number, _spelled(_FIGURE)],
        Kind.NUMBER: [number, _spelled(_FIGURE + "%?")],
        Kind.WHOLE: [whole, _spelled(_DIGITS)],
        Kind.FLAG: [core_schema.bool_schema(strict=True), core_schema.literal_schema([0, 1]), _spelled("true|false|0|1")],
        Kind.DAY: [_spelled(_DAY)],
        Kind.INSTANT: [_spelled(_INSTANT)],
        Kind.JSON: [
            core_schema.literal_schema([""]),
            core_schema.list_schema(max_length=0),
            core_schema.no_info_plain_validator_function(_plain_inside),
        ],
    }
    return by_kind[kind]


def _spelled(pattern: str) -> CoreSchema:
    return core_schema.str_schema(strict=True, pattern=f"^({pattern})?$")


def _plain_inside(value: Any) -> Any:
    if type(value) not in (dict, list):
        raise ValueError
    text = orjson.dumps(value)
    if _ODD_INSIDE.search(text) or text.count(b"[") + text.count(b"{") > BRACKETS:
        raise ValueError
    return value


# How it is read --------------------------------------------------------------------------------------------------


def _keys(name: str, column: Column) -> tuple[str, ...]:
    return column.keys or (name,)


def _value(row: str, name: str, column: Column) -> str:
    """The value under the first of the keys that is there, as jsonb."""
    values = [f"{row} -> '{key}'" for key in _keys(name, column)]
    return f"coalesce({', '.join(values)})" if len(values) > 1 else f"({values[0]})"


def _text(row: str, name: str, column: Column) -> str:
    first, *others = _keys(name, column)
    return f"({_value(row, name, column)} #>> '{{}}')" if others else f"({row} ->> '{first}')"


def _present(row: str, name: str, column: Column) -> str:
    return " or ".join(f"{row} ? '{key}'" for key in _keys(name, column))


def _column(text: str, value: str, column: Column) -> str:
    return {
        Kind.ID: f"nullif({text}, '')",
        Kind.TEXT: text,
        Kind.MONEY: f"nullif({text}, '')::numeric",
        Kind.NUMBER: f"nullif(rtrim({text}, '%'), '')::numeric",
        Kind.WHOLE: f"nullif({text}, '')::bigint",
        Kind.FLAG: f"nullif({text}, '')::boolean",
        Kind.DAY: f"nullif({text}, '')::date",
        Kind.INSTANT: f"nullif({text}, '')::timestamptz",
        Kind.JSON: f"nullif(nullif({value}, '\"\"'), 'null')",
    }[column.kind]
