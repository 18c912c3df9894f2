"""Edits: a letter's event applied with another payload, which is a new event; the original stays as it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from common import db, encoding, entities, log
from common.errors import Conflict, Invalid
from common.flows import dead_letters, process, receive, ring
from common.flows.dead_letters import REASON_CHARACTERS
from common.rules import keys, letters
from common.rules.http import Request
from common.rules.plan import Reader
from common.sources import zoho
from common.stores import dead_letters as store
from common.stores.dead_letters import Event, Found
from common.stores.inbox import Claimed


def edit(identifier: str, given: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Apply a letter's event with another payload: {payload | patch, reason, dry_run?}; what that changes.

    The edited event is a new one, read as if it had been received; the original stays as it came.
    Raises: Invalid, when the edited payload is no good either; Unknown; Conflict, when somebody else has dealt with it.
    """
    reader = Reader()
    reader.unknown(given, frozenset({"payload", "patch", "reason", "dry_run"}), "")
    reason = reader.text(given.get("reason"), "/reason", REASON_CHARACTERS)
    if ("payload" in given) == ("patch" in given):
        reader.fault("/payload", "send either payload, the whole of it, or patch, what is to change")
    for key in ("payload", "patch"):
        if key in given and not isinstance(given[key], dict):
            reader.fault(f"/{key}", "must be an object")
    if not isinstance(given.get("dry_run", False), bool):
        reader.fault("/dry_run", "must be true or false")
    dead_letters.check(reader, "The letter cannot be edited as asked.")
    letter, event = dead_letters.found(identifier)
    if not letter.is_open or event is None:
        _refuse_closed(letter)
    after = given["payload"] if "payload" in given else letters.merged(event.payload, given["patch"])
    row = _edited(event, after, "/payload" if "payload" in given else "/patch")
    shown = {"letter_id": letter.id, "event_id": row["id"], "changed": letters.differences(event.payload, after)}
    if given.get("dry_run"):
        return 200, {"dry_run": True, **shown}
    with db.transaction("operator") as tx:
        became = store.edit(
            tx,
            row,
            original=letter.event_id,
            letter=letter.id if letter.kind == "dead_letter" else None,
            actor=str(log.field("operator")),
            reason=reason,
            before=event.payload,
            after=after,
        )
        if became != "done":
            _refuse_closed(letter, is_known=became == "known")
    ring.ring("process")
    return 202, {"success": True, "message": "The edited event waits to be applied.", **shown}


def _refuse_closed(letter: Found, *, is_known: bool = False) -> NoReturn:
    if is_known:
        message = "There is an event with this very content already."
        raise Conflict(message)
    message = f"Somebody has dealt with this letter: {letter.resolution_notes or 'just now'}."
    raise Conflict(message)


def _edited(event: Event, payload: dict[str, Any], pointer: str) -> dict[str, Any]:
    """The edited event as the inbox takes it.

    Raises: Invalid, when it cannot be applied, with pointers into what was sent.
    """
    entity = entities.by_label()[event.entity_type]
    body = encoding.dumps(payload).encode()
    request = Request("POST", f"/webhooks/{entity.path}", event.query or "", (("content-type", "application/json"),), body)
    reading = zoho.read(request, entity, entities.every())[0]
    if reading.operation == "upsert":
        reading = reading._replace(operation=event.operation)
    row = receive.row_of(reading._replace(delivery_id=None), {"method": "POST", "query": event.query or ""})
    faults = list(row["errors"] or ())
    if not faults and (reading.entity is not entity or (event.entity_id and reading.entity_id != event.entity_id)):
        faults = [{"pointer": "", "message": f"it must stay an event of {event.entity_type} {event.entity_id}"}]
    if not faults:
        text = row.get("payload") or row["body"]
        claimed = Claimed(
            row["id"], entity.label, row["entity_id"], row["operation"], row["organization"], event.received_at, row["stamp"],
            row["hash"], list(row["path"]), text,
        )  # fmt: skip
        valid = process.validated(entity, claimed)
        faults = valid if isinstance(valid, list) else []
    if faults:
        message = "The edited event could not be applied either."
        raise Invalid(message, errors=[{"pointer": pointer + fault["pointer"], "message": fault["message"]} for fault in faults])
    # Another key than the original's, even where the edit touches nothing that tells: and the same edit twice is one event.
    row["key"] = keys.idempotency_key(reading.stamp, "edited", str(event.id), row["key"], row["hash"])
    return row | {"id": keys.event_id(row["key"])}
