"""The one JSON encoder and decoder: Decimal as string, times in UTC with Z, NaN refused, sizes bounded."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

MAX_DEPTH = 64


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, timedelta):
        return value.total_seconds()
    message = f"{type(value).__name__} has no JSON form"
    raise TypeError(message)


def _utc(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return _plain(value)


def dumps(value: Any) -> str:
    """`value` as JSON text. Money (Decimal) becomes a string, durations seconds, times RFC 3339 in UTC.

    Raises: TypeError for a type without a JSON form.
    """
    return orjson.dumps(value, default=_utc, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()


def canonical(value: Any) -> bytes:
    """`value` as JSON with sorted keys: equal values give equal bytes, so it can be hashed."""
    return orjson.dumps(value, default=_utc, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME)


def loads(text: str | bytes) -> Any:
    """JSON as Python values; integers of any size stay exact and fractions become Decimal.

    Raises: ValueError for anything that is not JSON, NaN and infinities among them, or that is nested too deep.
    """
    try:
        value = json.loads(text, parse_float=_fraction, parse_constant=_refuse)
    except RecursionError as error:
        message = "nested too deep"
        raise ValueError(message) from error
    return value


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
