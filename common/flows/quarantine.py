"""Quarantine: reading events again that could not be read, with the shapes of today; what reads well now is applied."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from common import db, encoding, entities, settings
from common.db import Transaction
from common.errors import Conflict, Invalid
from common.flows import process, receive
from common.rules import entity as declared
from common.rules.entity import Entity
from common.rules.http import Request
from common.sources import zoho
from common.stores import quarantine, refetches
from common.stores.inbox import Claimed
from common.stores.quarantine import Kept

BATCH = 20  # events read in one transaction: a body may have a megabyte
READERS = ("shapes", "instants", "entity")  # of common/rules: what a record means is written there, and in the source's file
AGAIN_WITH_THE_LIST = "It reads well now; it came with a page of a list, which the next sync reads again."


class Reread(NamedTuple):
    """What became of an event that was read again."""

    id: UUID
    is_well: bool  # it waits to be applied, or is asked for anew
    said: str | None  # why not


def heal(limit: int) -> int:
    """Read events again that no one has read with the shapes of today; how many are well."""
    well = 0
    for _ in range(-(-limit // BATCH)):
        with db.transaction("worker") as tx:
            found = quarantine.untried(tx, versions(), limit=BATCH)
            well += sum(_again(tx, kept, "healing").is_well for kept in found)
        if len(found) < BATCH:
            break
    return well


def read_again(tx: Transaction, events: Sequence[UUID], actor: str) -> list[Reread]:
    """Read these again; those that are in quarantine no more are not among the answers."""
    found = []
    for start in range(0, len(events), BATCH):
        found += [_again(tx, kept, actor) for kept in quarantine.some(tx, events[start : start + BATCH])]
    return found


@functools.cache
def versions() -> dict[str, str]:
    """Of each entity, what changes when its records are read in another way than before."""
    rules = Path(str(declared.__file__)).parent
    code = hashlib.sha256(Path(str(zoho.__file__)).read_bytes())
    for name in READERS:
        code.update((rules / f"{name}.py").read_bytes())
    code.update(settings.load().zoho_organization_id.encode())
    found = {}
    for each in entities.every():
        shape = code.copy()
        parts = (each.columns, each.lines, each.wrappers, each.id_keys, each.version_keys, each.aliases, each.only)
        shape.update(repr(parts).encode())
        found[each.label] = shape.hexdigest()[:16]
    return found


def _again(tx: Transaction, kept: Kept, actor: str) -> Reread:
    entity = entities.by_label()[kept.entity_type]
    version = versions()[kept.entity_type]
    if kept.source_type not in {"zoho", "manual"}:
        return _page_row(tx, kept, entity, version, actor)
    row, faults = _read(kept, entity)
    if row is not None:
        tx.script("savepoint reading")
        try:
            if quarantine.release(tx, row):
                return Reread(kept.id, is_well=True, said=None)
        except (Invalid, Conflict) as error:
            # The others of the transaction must not pay for what the database refuses of this one.
            tx.script("rollback to savepoint reading")
            faults = [{"pointer": "", "message": f"the database cannot store it: {error.detail}"}]
    quarantine.keep(tx, kept.id, version, faults)
    return Reread(kept.id, is_well=False, said=faults[0]["message"])


def _read(kept: Kept, entity: Entity) -> tuple[dict[str, Any] | None, Sequence[dict[str, str]]]:
    """The event as it reads now, or what is wrong with it."""
    headers = tuple((kept.headers or {}).items())
    request = Request(kept.method or "POST", f"/webhooks/{entity.path}", kept.query or "", headers, kept.body or b"")
    readings = zoho.read(request, entity, entities.every())
    reading = readings[0]
    if len(readings) > 1:
        return None, [{"pointer": "", "message": "it holds several events"}]
    stranger = [fault for fault in kept.errors if fault.get("pointer") == "/organization_id"]
    wanted = settings.load().zoho_organization_id
    if stranger and reading.organization != wanted:
        return None, stranger  # part of a batch may not say itself whose it is, so what was found out then still counts
    row = receive.row_of(reading, {})
    if row["errors"] or reading.record is None:
        return None, row["errors"] or kept.errors
    text = row.get("payload") or row.get("body")
    if text is None:
        return None, [{"pointer": "", "message": "its body is no text"}]
    # A header may have said what it is, and headers that sound secret are not kept as they came.
    operation = kept.operation if row["operation"] == "upsert" else row["operation"]
    event = Claimed(
        str(kept.id),
        reading.entity.label,
        row["entity_id"],
        operation,
        row["organization"],
        kept.received_at,
        row["stamp"],
        row["hash"],
        list(row["path"]),
        text,
    )
    valid = process.validated(reading.entity, event)
    if isinstance(valid, list):
        return None, valid
    return row | {"id": str(kept.id), "payload": text, "operation": operation}, ()


def _page_row(tx: Transaction, kept: Kept, entity: Entity, version: str, actor: str) -> Reread:
    """A row of a source's list is no event: when its shape is known now, the record is asked for."""
    from common.rules.shapes import validate  # noqa: PLC0415 - pydantic, which only this needs

    record = encoding.loads(kept.payload)
    valid = validate(entity, record) if isinstance(record, dict) else kept.errors
    if isinstance(valid, list) or not kept.entity_id:
        faults = kept.errors if not isinstance(record, dict) or not isinstance(valid, list) else _faults(valid)
        quarantine.keep(tx, kept.id, version, faults)
        return Reread(kept.id, is_well=False, said=faults[0]["message"])
    if entity.pull is not None and (entity.pull.has_detail or entity.pull.bulk):
        refetches.ask(tx, kept.organization, [(entity.label, kept.entity_id)], "asked")
    quarantine.resolve(tx, kept.id, version, actor=actor, notes=AGAIN_WITH_THE_LIST)
    return Reread(kept.id, is_well=True, said=None)


def _faults(found: Sequence[Any]) -> list[dict[str, str]]:
    return [{"pointer": fault.pointer, "message": fault.message} for fault in found]
