"""Backups: whoever makes one says so here, and what takes something away can wait for that."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from common import db, log
from common.errors import Invalid
from common.rules.instants import instant
from common.stores import backups, notices

FIELDS = ("reference", "at")
CHARACTERS = 512


def record(given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Write a backup down: {"reference": what finds it again, "at"?: what was written by then is in it}; 201, 200 if it is known.

    Raises: Invalid; Conflict, when it is known with another time.
    """
    by = str(log.field("operator"))
    reference, at = _read(given)
    with db.transaction("operator") as tx:
        if at is not None and backups.is_future(tx, at):
            raise _invalid([{"pointer": "/at", "message": "has not come yet"}])
        backup, is_new = backups.add(tx, reference, at, by=by)
        if is_new:
            told = {"action": "backup", "actor": by, "reference": reference, "at": backup.at.isoformat()}
            notices.add(tx, "hxo.audit", told, source="operator", kind="audit")
    return 201 if is_new else 200, backup._asdict()


def _read(given: dict[str, Any]) -> tuple[str, datetime | None]:
    faults = [
        {"pointer": f"/{name}", "message": "is not known; there are reference and at"} for name in given if name not in FIELDS
    ]
    reference, at = given.get("reference"), None
    if not isinstance(reference, str) or not 1 <= len(reference) <= CHARACTERS or not reference.isprintable():
        faults.append({"pointer": "/reference", "message": f"must be a text of 1 to {CHARACTERS} printable characters"})
    try:
        at = instant(given.get("at"))
    except ValueError as error:
        faults.append({"pointer": "/at", "message": f"is {error}"})
    if faults:
        raise _invalid(faults)
    return str(reference), at


def _invalid(faults: list[dict[str, str]]) -> Invalid:
    return Invalid("The backup cannot be written down as it stands.", errors=faults)
