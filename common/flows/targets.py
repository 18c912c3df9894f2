"""Targets: what can be deployed to, looked at and changed by people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common import db, log, settings, targets
from common.errors import Conflict, Invalid, Unknown
from common.outgoing import egress
from common.rules import targets as rules
from common.rules.plan import Reader
from common.stores import notices
from common.stores import targets as store
from common.stores.targets import Row

FIELDS = frozenset({"provider", "config", "version"})


def listed() -> dict[str, Any]:
    """Every target: {targets[{name, provider, config, ...}], count}."""
    with db.transaction("status", read_only=True) as tx:
        rows = store.seen(tx)
    return {"targets": [_shown(row) for row in rows], "count": len(rows)}


def one(name: str) -> dict[str, Any]:
    """One target.

    Raises: Unknown.
    """
    with db.transaction("status", read_only=True) as tx:
        row = next((row for row in store.seen(tx) if row.name == name), None)
    if row is None:
        message = f"There is no target {name[:64]}."
        raise Unknown(message)
    return _shown(row)


def put(name: str, asked: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Make a target, or change it: {provider, config, version?}; with `version`, only while it still has that one.

    Raises: Invalid, with a pointer to each fault; Conflict, when somebody else changed it meanwhile.
    """
    provider, config, version = _read(name, asked)
    by = str(log.field("operator"))
    with db.transaction("operator") as tx:
        row = store.add(tx, name, provider, config, by=by) if not version else None
        is_new = row is not None
        if row is None and version != 0:
            row = store.change(tx, name, provider, config, by=by, version=version)
        if row is None:
            message = f"The target {name} was changed by somebody else meanwhile: look at it again."
            raise Conflict(message)
        told = {"action": "target.put", "actor": by, "target": name, "provider": provider, "version": row.version}
        notices.add(tx, "hxo.audit", told, source="operator", kind="audit")
    log.info("target.changed", target=name, provider=provider, by=by, is_new=is_new)
    return (201 if is_new else 200), _shown(row)


def _read(name: str, asked: Mapping[str, Any]) -> tuple[str, dict[str, Any], int | None]:
    """Raises: Invalid."""
    reader = Reader()
    if not rules.NAME.fullmatch(name):
        reader.fault("", "the name in the path must be 1 to 63 small letters, digits and hyphens, and not begin with a hyphen")
    reader.unknown(asked, FIELDS, "")
    config, provider, version = asked.get("config"), asked.get("provider"), asked.get("version")
    if version is not None and (not isinstance(version, int) or isinstance(version, bool) or version < 0):
        reader.fault("/version", "must be a whole number, 0 for a target that is not there yet")
    if provider not in targets.providers():
        reader.fault("/provider", f"must be one of: {', '.join(targets.providers())}")
    if not isinstance(config, dict):
        reader.fault("/config", "must be an object")
    elif isinstance(provider, str) and provider in targets.providers():
        targets.find(provider).check(config, reader)
        if not reader.faults:
            _check_addresses(config, "/config", reader)
    if reader.faults or not isinstance(config, dict):
        message = "The target cannot be kept as it stands."
        raise Invalid(message, errors=reader.faults)
    return str(provider), config, version


def _check_addresses(config: Mapping[str, Any], pointer: str, reader: Reader) -> None:
    """Note what would be called, and leads inside."""
    for field in rules.ADDRESSES:
        if field in config and (reason := egress.check(str(config[field]))):
            reader.fault(f"{pointer}/{field}", reason)
    if hook := config.get("deploy_hook"):
        address = settings.secret(str(hook))
        if not address:
            reader.fault(f"{pointer}/deploy_hook", f"{hook} is not set")
        elif reason := egress.check(address):
            reader.fault(f"{pointer}/deploy_hook", f"the address in {hook} {reason}")
    if isinstance(config.get("green"), dict):
        _check_addresses(config["green"], f"{pointer}/green", reader)


def _shown(row: Row) -> dict[str, Any]:
    can = sorted(ability.value for ability in targets.find(row.provider).CAN)
    return {**row._asdict(), "can": can, "is_from_environment": row.updated_by == store.ENVIRONMENT}
