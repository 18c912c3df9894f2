"""What a setting may be: its type, its bounds, and for a few what the value must mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from common.rules import cron

LONGEST = 1000  # characters of a text


def checked(key: str, value: Any, value_type: str, schema: Mapping[str, Any] | None) -> str:
    """`value` as text, the form in which every setting is kept.

    `value_type` is integer, number, boolean, string or json; of `schema`, minimum, maximum and enum count.
    Raises: ValueError, whose message goes on from "the value".
    """
    text = _TYPES[value_type](value)
    bounds = schema or {}
    if value_type in {"integer", "number"}:
        least, most = bounds.get("minimum"), bounds.get("maximum")
        if (least is not None and value < least) or (most is not None and value > most):
            message = f"must be {_between(least, most)}"
            raise ValueError(message)
    if "enum" in bounds and value not in bounds["enum"]:
        message = f"must be one of {', '.join(map(str, bounds['enum']))}"
        raise ValueError(message)
    if key in _MEANINGS:
        _MEANINGS[key](value)
    return text


def _between(least: Any, most: Any) -> str:
    if least is None:
        return f"at most {most}"
    return f"at least {least}" if most is None else f"between {least} and {most}"


def _whole(value: Any) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        message = "must be a whole number"
        raise ValueError(message)  # noqa: TRY004 - all that is wrong with a value is one kind of error
    return str(value)


def _number(value: Any) -> str:
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        message = "must be a number"
        raise ValueError(message)  # noqa: TRY004
    return str(value)


def _flag(value: Any) -> str:
    if not isinstance(value, bool):
        message = "must be true or false"
        raise ValueError(message)  # noqa: TRY004
    return "true" if value else "false"


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST or not value.isprintable():
        message = f"must be text of at most {LONGEST} printable characters"
        raise ValueError(message)
    return value


def _json(value: Any) -> str:
    from common import encoding  # noqa: PLC0415

    if not isinstance(value, dict | list):
        message = "must be a JSON object or list"
        raise ValueError(message)  # noqa: TRY004
    return encoding.dumps(value)


def _limits(value: Any) -> None:
    if not isinstance(value, dict) or not all(type(each) is int and each > 0 for each in value.values()):
        message = 'must give each shard kind a whole number above 0, such as {"sync.pages": 4}'
        raise ValueError(message)


_TYPES: dict[str, Callable[[Any], str]] = {"integer": _whole, "number": _number, "boolean": _flag, "string": _text, "json": _json}
_MEANINGS: dict[str, Callable[[Any], object]] = {
    "reconciliation.schedule_cron": cron.checked,
    "schedules.time_zone": cron.checked_zone,
    "plans.concurrency": _limits,
}
