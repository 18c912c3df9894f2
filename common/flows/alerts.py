"""Alerts as people meet them: listed, acknowledged, resolved. Who did it stays with the alert."""

from __future__ import annotations

from typing import Any

from common import db, entities, log
from common.db import Transaction
from common.errors import Conflict, Invalid, Unknown
from common.flows import watch
from common.flows.status import id_of, limit_of
from common.rules.http import Request
from common.rules.hysteresis import Severity
from common.stores import alerts
from common.stores.alerts import Alert

STATES = ("open", "acknowledged", "resolved", "all")
NOTE_CHARACTERS = 2000
# Alerts whose condition is looked at again and again: resolving one that goes on keeps it quiet for a while.
WATCHED = {"stage_over_slo", *(each for types in watch.LOOKS.values() for each in types)}


def listed(request: Request) -> dict[str, Any]:
    """Alerts, the latest first: ?state=open|acknowledged|resolved|all&severity=&entity_type=&limit=; `next` goes into `after`.

    Open are all that are not resolved, acknowledged or not. Raises: Invalid.
    """
    given = request.arguments
    state, severity, entity = given.get("state", "open"), given.get("severity") or None, given.get("entity_type") or None
    faults = []
    if state not in STATES:
        faults.append({"pointer": "/state", "message": f"must be one of {', '.join(STATES)}"})
    if severity is not None and severity not in set(Severity):
        faults.append({"pointer": "/severity", "message": f"must be one of {', '.join(Severity)}"})
    if entity is not None and entity not in entities.by_label():
        faults.append({"pointer": "/entity_type", "message": f"must be one of {', '.join(sorted(entities.by_label()))}"})
    if faults:
        message = "The alerts cannot be listed as asked."
        raise Invalid(message, errors=faults)
    limit, after = limit_of(request), id_of(given["after"]) if given.get("after") else None
    with db.transaction("status", read_only=True) as tx:
        if after is not None and alerts.find(tx, after) is None:
            message = f"There is no alert {after} to read on after."
            raise Invalid(message, errors=[{"pointer": "/after", "message": "must be the `next` of an earlier page"}])
        found = alerts.page(tx, state=state, severity=severity, entity=entity, after=after, limit=limit)
    following = found[-1].id if len(found) == limit else None
    return {"alerts": [each._asdict() for each in found], "count": len(found), "next": following}


def acknowledge(identifier: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Say that somebody has seen an open alert: {"note": text}. Saying so again changes nothing but the note.

    Raises: Unknown; Conflict, when it is resolved; Invalid.
    """
    wanted, note, actor = id_of(identifier), _note(asked), str(log.field("operator"))
    with db.transaction("operator") as tx:
        if not alerts.acknowledge(tx, wanted, actor=actor, note=note):
            raise _refusal(alerts.find(tx, wanted), identifier)
        shown = _shown(tx, identifier)
    log.info("alert.acknowledged", alert_type=shown["alert"]["alert_type"], alert=identifier)
    return shown


def resolve(identifier: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Say that an open alert is over: {"note": text}. If its condition goes on all the same, it is told of again only after
    it was false once, or when `alerts.mute_minutes` have passed.

    Raises: as `acknowledge`.
    """  # fmt: skip
    wanted, note, actor = id_of(identifier), _note(asked), str(log.field("operator"))
    with db.transaction("operator") as tx:
        alerts.keep_watch_out(tx)  # else a watcher that has found it open would open another
        if not alerts.settle_by_hand(tx, wanted, actor=actor, note=note):
            raise _refusal(alerts.find(tx, wanted), identifier)
        shown = _shown(tx, identifier)
        if shown["alert"]["alert_type"] in WATCHED:
            alerts.mute(tx, wanted)
    log.info("alert.resolved", alert_type=shown["alert"]["alert_type"], alert=identifier)
    return shown


def _note(asked: dict[str, Any]) -> str | None:
    faults = [{"pointer": f"/{key}", "message": "there is no such field"} for key in asked if key != "note"]
    note = asked.get("note")
    if note is not None and (not isinstance(note, str) or len(note) > NOTE_CHARACTERS):
        faults.append({"pointer": "/note", "message": f"must be text of {NOTE_CHARACTERS} characters at most"})
    if faults:
        message = "The alert cannot be changed as asked."
        raise Invalid(message, errors=faults)
    return note


def _refusal(found: Alert | None, identifier: str) -> Unknown | Conflict:
    if found is None:
        message = f"There is no alert {identifier[:64]}."
        return Unknown(message)
    message = f"The alert was resolved by {found.resolved_by} at {found.resolved_at:%Y-%m-%d %H:%M:%S} UTC."
    return Conflict(message)


def _shown(tx: Transaction, identifier: str) -> dict[str, Any]:
    found = alerts.find(tx, id_of(identifier))
    assert found is not None  # noqa: S101 - it was changed in this transaction
    return {"success": True, "alert": found._asdict()}
