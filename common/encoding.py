"""The one JSON encoder and decoder: Decimal as string, times in UTC with Z, NaN refused, sizes bounded."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, timedelta):
        return value.total_seconds()
    message = f"{type(value).__name__} has no JSON form"
    raise TypeError(message)


def dumps(value: Any) -> str:
    """`value` as JSON text. Money (Decimal) becomes a string, durations seconds, times RFC 3339.

    Raises: TypeError for a type without a JSON form; ValueError for NaN and infinities.
    """
    text = _encoded(value, orjson.OPT_UTC_Z)
    if b"null" in text and _is_unwritable(value):  # orjson writes NaN as null
        message = "NaN and infinities have no JSON form"
        raise ValueError(message)
    return text.decode()


def rows(value: Any) -> str:
    """`value` as JSON text for Postgres: as `dumps`, without looking for NaN, which nothing that was decoded here can hold."""
    return _encoded(value, orjson.OPT_UTC_Z).decode()


def canonical(value: Any) -> bytes:
    """`value` as JSON with sorted keys: equal values give equal bytes, so it can be hashed."""
    return _encoded(value, orjson.OPT_UTC_Z | orjson.OPT_SORT_KEYS)


def _encoded(value: Any, option: int) -> bytes:
    try:
        return orjson.dumps(value, default=_plain, option=option)
    except TypeError:
        # An integer of more than 64 bits, more than 254 levels, or half a surrogate pair, which UTF-8 has no form for.
        text = json.dumps(
            value,
            default=lambda leaf: orjson.loads(orjson.dumps(leaf, default=_plain, option=option)),
            sort_keys=bool(option & orjson.OPT_SORT_KEYS),
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
        )
        return text.encode("utf-8", "replace")


def _is_unwritable(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_is_unwritable, value.values()))
    return isinstance(value, list | tuple) and any(map(_is_unwritable, value))


def loads(text: str | bytes) -> Any:
    """JSON as Python values; integers of any size stay exact and fractions become Decimal.

    Raises: ValueError for anything that is not JSON, NaN and infinities among them, or that is nested too deep.
    """
    try:
        return _decoder.decode(text if isinstance(text, str) else text.decode())
    except RecursionError as error:
        message = "nested too deep"
        raise ValueError(message) from error


def _fraction(text: str) -> Decimal:
    if len(text) > 64:  # noqa: PLR2004 - no amount of money is written with more characters than a line
        message = "a number of more than 64 characters"
        raise ValueError(message)
    number = Decimal(text)
    if abs(number.adjusted()) > 300:  # noqa: PLR2004 - beyond the range of a double: 1e400 is nobody's amount
        message = f"the number {text} is out of range"
        raise ValueError(message)
    return number


def _refuse(text: str) -> Any:
    message = f"{text} is not a JSON number"
    raise ValueError(message)


_decoder = json.JSONDecoder(parse_float=_fraction, parse_constant=_refuse)  # json.loads would make one per call
