"""Tickets as people meet them: listed, acknowledged, resolved. Who did it stays with the ticket."""

from __future__ import annotations

from typing import Any

from common import db, log
from common.errors import Conflict, Invalid, Unknown
from common.flows.status import id_of, limit_of
from common.rules.http import Request
from common.stores import tickets
from common.stores.tickets import Ticket

STATUSES = ("unresolved", "open", "acknowledged", "resolved", "all")
NOTE_CHARACTERS = 2000
LARGEST_ID = 2**63 - 1


def listed(request: Request) -> dict[str, Any]:
    """Tickets, the newest first: ?status=unresolved|open|acknowledged|resolved|all&deployment=&limit=; `next` goes into `before`.

    Raises: Invalid.
    """
    given = request.arguments
    status = given.get("status") or "unresolved"
    if status not in STATUSES:
        message = "The tickets cannot be listed as asked."
        raise Invalid(message, errors=[{"pointer": "/status", "message": f"must be one of {', '.join(STATUSES)}"}])
    deployment = id_of(given["deployment"]) if given.get("deployment") else None
    before, limit = _number(given["before"]) if given.get("before") else None, limit_of(request)
    with db.transaction("status", read_only=True) as tx:
        found = tickets.page(tx, status=status, deployment=deployment, before=before, limit=limit)
    following = found[-1].id if len(found) == limit else None
    return {"tickets": [each._asdict() for each in found], "count": len(found), "next": following}


def one(identifier: str) -> dict[str, Any]:
    """One ticket; `former` is the ticket of the same fault that was resolved before it came back.

    Raises: Unknown; Invalid, when it is no number.
    """
    wanted = _number(identifier)
    with db.transaction("status", read_only=True) as tx:
        found = tickets.find(tx, wanted)
    if found is None:
        raise _unknown(identifier)
    return found._asdict()


def acknowledge(identifier: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Say that somebody has seen a ticket: {"note": text}. Saying so again changes nothing but the note.

    Raises: Unknown; Conflict, when it is resolved; Invalid.
    """
    wanted, note, actor = _number(identifier), _note(asked), str(log.field("operator"))
    with db.transaction("operator") as tx:
        is_done = tickets.acknowledge(tx, wanted, actor=actor, note=note)
        found = tickets.find(tx, wanted)
    return _answered(found, identifier, "ticket.acknowledged", is_done=is_done)


def resolve(identifier: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Say that a fault is put right: {"note": text}. If it happens again, there is a new ticket that names this one.

    Raises: as `acknowledge`.
    """
    wanted, note, actor = _number(identifier), _note(asked), str(log.field("operator"))
    with db.transaction("operator") as tx:
        is_done = tickets.resolve(tx, wanted, actor=actor, note=note)
        found = tickets.find(tx, wanted)
    return _answered(found, identifier, "ticket.resolved", is_done=is_done)


def _answered(found: Ticket | None, identifier: str, event: str, *, is_done: bool) -> dict[str, Any]:
    if found is None:
        raise _unknown(identifier)
    if not is_done:
        message = f"The ticket was resolved by {found.resolved_by} at {found.resolved_at:%Y-%m-%d %H:%M:%S} UTC."
        raise Conflict(message)
    log.info(event, ticket=found.id, kind=found.kind)
    return {"success": True, "ticket": found._asdict()}


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > LARGEST_ID:  # noqa: PLR2004 - digits of a bigint
        message = f"'{text[:64]}' is not the number of a ticket."
        raise Invalid(message)
    return int(text)


def _note(asked: dict[str, Any]) -> str | None:
    faults = [{"pointer": f"/{key[:64]}", "message": "there is no such field"} for key in sorted(asked) if key != "note"]
    note = asked.get("note")
    if note is not None and (not isinstance(note, str) or len(note) > NOTE_CHARACTERS or "\x00" in note):
        faults.append({"pointer": "/note", "message": f"must be text of {NOTE_CHARACTERS} characters at most, without NUL"})
    if faults:
        message = "The ticket cannot be changed as asked."
        raise Invalid(message, errors=faults)
    return note


def _unknown(identifier: str) -> Unknown:
    message = f"There is no ticket {identifier[:64]}."
    return Unknown(message)
