"""The validating shape of each entity, built from what its file declares; only the processing flow may pay for it.

Each kind of column is read twice at most: by pydantic-core in Rust, which settles nearly every value, and by a function
below when Rust said no: it knows the oddities of the source, and has the last word.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
from pydantic_core import CoreSchema, SchemaValidator, ValidationError, core_schema

from common.rules.entity import Column, Entity, Kind
from common.rules.instants import day, instant

MAX_TEXT_BYTES = 64 * 1024
MAX_ID_CHARACTERS = 255  # an index row of Postgres holds 2,704 bytes
MAX_LINES = 10_000
MAX_DEPTH = 64
MAX_FAULTS = 100
JSON_BITS = 64
DIGITS_BEFORE, DIGITS_AFTER = 18, 20  # a computed rate of exchange may have sixteen
MAX_NUMBER_CHARACTERS = 64

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # Postgres has neither NUL nor half a surrogate pair
# "₹5,11,581.57": two digits after the point leave no doubt which mark is which, unlike "1,234" or "€1.234".
_GROUPED = re.compile(r"[^\w.,+-]?\s*(-?[0-9]{1,3}(?:(?:,[0-9]{2,3})*,[0-9]{3})?\.[0-9]{2})")
_FLAGS = {"": None, "0": False, "1": True, "false": False, "true": True}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a record, and where."""

    pointer: str  # JSON pointer into the record, such as /line_items/3/rate
    message: str


@dataclass(frozen=True, slots=True)
class Valid:
    """A record as its tables take it, JSON-ready: money, numbers, days and moments are strings.

    Only what the record mentions is there: a partial payload must not empty the rest.
    """

    columns: dict[str, Any]
    lines: list[dict[str, Any]] | None  # numbered by line_no from 0; None: the record does not carry the list


def validate(entity: Entity, record: Mapping[str, Any]) -> Valid | list[Fault]:
    """`record` read by the columns of `entity`, or what is wrong with it, at most 100 faults.

    Shapes: fractions are Decimal and whole numbers int, as `encoding.loads` gives them. Unknown keys are ignored.
    """
    try:
        columns = _shape(entity).validate_python(record)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_FAULTS]
        return [Fault("".join(f"/{step}" for step in fault["loc"]), fault["msg"]) for fault in faults]
    if entity.lines is None:
        return Valid(columns, None)
    lines = columns.pop(entity.lines.key, None)
    for line_no, line in enumerate(lines or ()):
        line["line_no"] = line_no
    return Valid(columns, lines)


# The shape -------------------------------------------------------------------------------------------------------


@functools.cache
def _shape(entity: Entity) -> SchemaValidator:
    fields = _fields(entity.columns)
    if entity.lines:
        line = core_schema.typed_dict_schema(_fields(entity.lines.columns))
        lines = core_schema.no_info_before_validator_function(
            _listed, core_schema.list_schema(line, strict=True, max_length=MAX_LINES)
        )
        fields[entity.lines.key] = core_schema.typed_dict_field(lines, required=False)
    return SchemaValidator(core_schema.typed_dict_schema(fields))


def _fields(columns: Mapping[str, Column]) -> dict[str, core_schema.TypedDictField]:
    fields = {}
    for name, column in columns.items():
        keys: list[list[str | int]] = [[key] for key in column.keys or (name,)]
        fields[name] = core_schema.typed_dict_field(_value(column), required=column.required, validation_alias=keys)
    return fields


def _value(column: Column) -> CoreSchema:
    quick, careful, wanted = _READINGS[column.kind]
    last_word = core_schema.no_info_plain_validator_function(_filled(careful) if column.required else careful)
    choice = core_schema.union_schema(
        [quick, last_word] if quick else [last_word],
        mode="left_to_right",
        custom_error_type=column.kind.value,
        custom_error_message=wanted,
    )
    return choice if column.required else core_schema.nullable_schema(choice)


def _filled(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_filled(value: Any) -> Any:
        if (found := read(value)) is None:
            raise ValueError
        return found

    return read_filled


def _listed(value: Any) -> Any:
    return [] if value is None or value == "" else value


# The last word: each raises ValueError for what is wrong ------------------------------------------------------------


def _id(value: Any) -> str | None:
    if value == "":
        return None
    if type(value) is int and len(digits := str(value)) <= MAX_ID_CHARACTERS:
        return digits
    raise ValueError


def _text(value: Any) -> str:
    if isinstance(value, str):
        text = _UNSTORABLE.sub("\ufffd", value)
        if len(text.encode()) <= MAX_TEXT_BYTES:
            return text
    raise ValueError


def _number(value: Any) -> str | None:
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
        if "_" in value or len(value) > MAX_NUMBER_CHARACTERS:  # Decimal would take either
            raise ValueError
        if grouped := _GROUPED.fullmatch(value):
            value = grouped[1].replace(",", "")
    elif type(value) not in (int, Decimal):  # a bool is an int, too
        raise ValueError
    try:
        number = Decimal(value)
    except InvalidOperation as error:
        raise ValueError from error
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or exponent < -DIGITS_AFTER or len(digits) + exponent > DIGITS_BEFORE:
        raise ValueError
    return format(number, "f")


def _percentage(value: Any) -> str | None:
    return _number(value.strip().removesuffix("%") if isinstance(value, str) else value)


def _whole(value: Any) -> int | None:
    if (text := _number(value)) is None:
        return None
    if (number := Decimal(text)) != int(number):
        raise ValueError
    return int(number)


def _flag(value: Any) -> bool | None:
    if isinstance(value, int | str) and (text := str(value).strip().lower()) in _FLAGS:
        return _FLAGS[text]
    raise ValueError


def _day(value: Any) -> str | None:
    found = day(value)
    return found.isoformat() if found else None


def _instant(value: Any) -> str | None:
    found = instant(value)  # in UTC, written as `encoding` does: equal moments are equal texts
    return found.isoformat().replace("+00:00", "Z") if found else None


def _document(value: Any) -> Any:
    if value == "":
        return None
    if type(value) not in (dict, list):
        raise ValueError
    try:
        text = orjson.dumps(value)
    except TypeError:  # a fraction, a number of more than 64 bits, half a surrogate pair, or nested too deep
        return _storable(value, MAX_DEPTH)
    if b"\\u0000" not in text and text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return value  # nothing to replace, and too few brackets to be deep: the usual case, five times as fast
    return _storable(value, MAX_DEPTH)


def _storable(value: Any, depth: int) -> Any:
    if not depth:
        raise ValueError
    if isinstance(value, dict):
        return {_UNSTORABLE.sub("\ufffd", key): _storable(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_storable(inner, depth - 1) for inner in value]
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, Decimal) or (isinstance(value, int) and value.bit_length() >= JSON_BITS):
        return str(value)
    return value


# How each kind is read: what Rust takes as it stands, who has the last word, and what was wanted ---------------------

_DECIMAL = core_schema.str_schema(
    coerce_numbers_to_str=True, pattern=rf"^-?[0-9]{{1,{DIGITS_BEFORE}}}(\.[0-9]{{1,{DIGITS_AFTER}}})?$"
)
_AS_DECIMAL = f"with at most {DIGITS_BEFORE} digits before the point and {DIGITS_AFTER} after it"

_READINGS: Mapping[Kind, tuple[CoreSchema | None, Callable[[Any], Any], str]] = {
    Kind.ID: (
        core_schema.str_schema(strict=True, pattern=r"^[^\x00]+$", max_length=MAX_ID_CHARACTERS),
        _id,
        f"should be an id of at most {MAX_ID_CHARACTERS} characters",
    ),
    Kind.TEXT: (
        core_schema.str_schema(  # in UTF-8 no character has more than four bytes
            coerce_numbers_to_str=True, pattern=r"^[^\x00]*$", max_length=MAX_TEXT_BYTES // 4
        ),
        _text,
        "should be a text of at most 64 KiB",
    ),
    Kind.MONEY: (_DECIMAL, _number, f"should be an amount {_AS_DECIMAL}"),
    Kind.NUMBER: (_DECIMAL, _percentage, f"should be a number {_AS_DECIMAL}"),
    Kind.WHOLE: (
        core_schema.int_schema(strict=True, gt=-(10**DIGITS_BEFORE), lt=10**DIGITS_BEFORE),
        _whole,
        f"should be a whole number of at most {DIGITS_BEFORE} digits",
    ),
    Kind.FLAG: (core_schema.bool_schema(strict=True), _flag, "should be true or false"),
    Kind.DAY: (None, _day, "should be a day such as 2026-06-09, from 1900 to 2200"),
    Kind.INSTANT: (None, _instant, "should be a moment such as 2026-06-09T09:45:44-0400, from 1900 to 2200"),
    Kind.JSON: (None, _document, f"should be an object or a list, nested at most {MAX_DEPTH} deep"),
}
