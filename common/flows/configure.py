"""Configure: settings that are rows, read and changed while everything runs; each change has its author and its predecessor."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from common import db, log
from common.errors import Conflict, Invalid, Unknown
from common.rules import configured
from common.stores import configuration
from common.stores.configuration import READ, Shown

MOST_FORMER = 50


def listed() -> dict[str, Any]:
    """Every setting: {settings[{key, value, value_type, description, ...}], count}."""
    with db.transaction("operator") as tx:
        found = configuration.shown(tx)
    return {"settings": [_shown(each) for each in found], "count": len(found)}


def one(key: str) -> dict[str, Any]:
    """One setting with what it was before, latest first.

    Raises: Unknown.
    """
    with db.transaction("operator") as tx:
        found = configuration.shown(tx, [key])
        former = configuration.history(tx, key, limit=MOST_FORMER)
    if not found:
        raise _unknown(key)
    (setting,) = found
    history = [{**each._asdict(), "value": _value(setting, each.text)} for each in former]
    for each in history:
        del each["text"]
    return _shown(setting) | {"history": history}


def change_one(key: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Give a setting another value: {value, version?}; with `version`, only while it still has that one.

    Raises: Unknown, Invalid; Conflict, when somebody else changed it meanwhile.
    """
    faults = [{"pointer": f"/{name}", "message": "there is no such field"} for name in asked.keys() - {"value", "version"}]
    if "value" not in asked:
        faults.append({"pointer": "/value", "message": "is missing"})
    version = asked.get("version")
    if version is not None and (not isinstance(version, int) or isinstance(version, bool)):
        faults.append({"pointer": "/version", "message": "must be a whole number"})
    if faults:
        message = "The setting cannot be changed as asked."
        raise Invalid(message, errors=faults)
    _change({key: asked["value"]}, pointer="/value", version=version)
    return one(key)


def change_many(asked: dict[str, Any]) -> dict[str, Any]:
    """Give settings other values, all of them or none: {key: value}.

    Raises: as `change_one`.
    """
    if not asked:
        message = 'Name what is to be changed, such as {"queue_backlog_threshold": 2000}.'
        raise Invalid(message)
    _change(asked)
    with db.transaction("operator") as tx:
        found = configuration.shown(tx, asked.keys())
    return {"settings": [_shown(each) for each in found], "count": len(found)}


def _change(asked: dict[str, Any], *, pointer: str = "", version: int | None = None) -> None:
    actor = log.field("operator")
    with db.transaction("operator") as tx:
        known = {each.key: each for each in configuration.shown(tx, asked.keys())}
        rows, faults = [], []
        for key, value in asked.items():
            if key not in known:
                raise _unknown(key)
            setting = known[key]
            try:
                text = configured.checked(key, value, setting.value_type, setting.validation_schema)
            except ValueError as error:
                faults.append({"pointer": pointer or f"/{key}", "message": str(error)})
            else:
                rows.append({"key": key, "text": text, "version": version or setting.version})
        if faults:
            message = "The value is not acceptable: " + "; ".join(f"{key['pointer'][1:]} {key['message']}" for key in faults) + "."
            raise Invalid(message, errors=faults)
        if configuration.change(tx, rows, actor=actor) < len(rows):
            message = "It was changed by somebody else meanwhile: look at it again."
            raise Conflict(message)
    log.info("configuration.changed", keys=sorted(asked), by=actor)


def _shown(setting: Shown) -> dict[str, Any]:
    found = setting._asdict() | {"value": _value(setting, setting.text)}
    del found["text"]
    return found


def _value(setting: Shown, text: str) -> Any:
    if setting.is_sensitive:
        return None
    value = READ[setting.value_type](text)
    return float(value) if isinstance(value, Decimal) else value


def _unknown(key: str) -> Unknown:
    message = f"There is no setting {key[:64]}."
    return Unknown(message)
