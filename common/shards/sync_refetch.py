"""Read single records again: those whose truth only the source knows. One shard is one call, until none waits.

Config: {"run": uuid | null, "calls": most, "source": "zoho", "provenance": tds_source_type, "urgency": ...,
"entities": [label] | null, "reasons": [reason] | null}.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

from common import db, encoding, entities, log, lookup, settings
from common.db import Transaction
from common.errors import AppError, Unavailable
from common.rules import keys, merkle
from common.rules.entity import Entity
from common.rules.instants import instant
from common.rules.shard import Context, Ran, Stage
from common.rules.urgency import Urgency
from common.stores import comparisons, records, refetches, runs
from common.stores.records import Version

KIND = "sync.refetch"
IS_OURS = True
SETTLED = timedelta(seconds=2)  # after a stamp, in which another change could still carry it
LATEST = timedelta(minutes=5)  # after a change the source shows it; a record that it does not know may be that young
MOST_PAGES = 10  # of a list that is read because its records cannot be read by id


def plan(_: dict[str, Any]) -> None:
    """How many calls it takes is known when nothing waits any more."""


def run(shards: range, context: Context) -> Ran:
    """Claim what one call can read, read it, and write it with what stands it now in the transaction that completes it."""
    config = context.stage.config
    client = lookup.find("clients", config.get("source", "zoho"))
    organization = settings.load().zoho_organization_id
    is_last = shards.stop >= config["calls"]
    with db.transaction("worker") as tx:
        claimed = refetches.claim(tx, organization, _at_once(config.get("entities")), config.get("reasons") or refetches.REASONS)
    if not claimed:
        return Ran([merkle.leaf(context.hash, b"nothing waits")], more=False)
    entity = entities.by_label()[claimed[0].entity]
    token = claimed[0].token
    try:
        read = _read(client, entity, [each.id for each in claimed], Urgency(config["urgency"]), context.until)
    except AppError as error:
        if isinstance(error, Unavailable):
            with db.transaction("worker") as tx:
                refetches.give_back(tx, organization, token)
        raise

    def effect(tx: Transaction) -> None:
        records.lock(tx, entity, organization, [*read.found, *read.missing])
        young = refetches.young(tx, organization, entity, read.missing, read.served_at - LATEST) if read.missing else set()
        if young:
            refetches.postpone(tx, organization, token=token, entity=entity.label, ids=sorted(young), wait=LATEST)
        believed = sorted({*read.found, *read.missing} - young)
        mine = refetches.done(tx, organization, token, entity.label, believed)
        versions = []
        for identifier, record in read.found.items():
            if identifier in mine and (version := _version(tx, entity, identifier, record, served_at=read.served_at, token=token)):
                versions.append(version)
        versions += [_tombstone(identifier, read.served_at) for identifier in read.missing if identifier in mine]
        outcomes = records.apply(tx, entity, organization, versions, config["provenance"]) if versions else {}
        written = sum(applied.outcome == "applied" for applied in outcomes.values())
        if config.get("run"):
            _counted(tx, context, entity, read, rows=len(mine), written=written)

    said = encoding.canonical([entity.label, sorted(read.found), sorted(read.missing)])
    return Ran([merkle.leaf(context.hash, said)], effect=effect, more=not is_last)


def ended(tx: Transaction, _: Stage, *, ok: bool) -> None:  # noqa: ARG001 - what was read was read
    """The calls are over: what had drifted and was read again is repaired."""
    comparisons.settle(tx, settings.load().zoho_organization_id, entities.every())


def _at_once(labels: list[str] | None) -> dict[str, int]:
    """How many records of each entity one call reads."""
    return {
        entity.label: (entity.pull.bulk[1] if entity.pull.bulk else (1 if entity.pull.has_detail else 100))
        for entity in entities.every()
        if entity.pull is not None and (not labels or entity.label in labels)
    }


def _read(client: Any, entity: Entity, ids: list[str], urgency: Urgency, until: float) -> Any:
    """The records, from the list where they cannot be read by id."""
    if entity.pull is None or entity.pull.has_detail or entity.pull.bulk:
        read = client.details(entity, ids, urgency=urgency, until=until)
        return read if len(ids) == 1 or not read.missing else _confirmed(client, entity, read, urgency, until)
    found: dict[str, Any] = {}
    for number in range(1, MOST_PAGES + 1):
        page = client.page(entity, number, since=None, urgency=urgency, until=until)
        rows = {str(row.get(entity.id_keys[0])): row for row in page.rows}
        found |= {identifier: rows[identifier] for identifier in ids if identifier in rows}
        if number == 1 and not page.rows:
            return client.Read({}, [], page.served_at)  # that all of them are gone is not believed
        if not page.has_more:
            return client.Read(found, [identifier for identifier in ids if identifier not in found], page.served_at)
    return client.Read(found, [], page.served_at)


def _confirmed(client: Any, entity: Entity, read: Any, urgency: Urgency, until: float) -> Any:
    """What an answer about many says of those it leaves out, if that is true of the first of them; else each is asked for."""
    found, missing = dict(read.found), []
    for position, identifier in enumerate(read.missing):
        try:
            single = client.details(entity, [identifier], urgency=urgency, until=until)
        except Unavailable:
            break  # what is known is worth keeping; the others are claimed again
        if position == 0 and single.missing:
            return read
        found |= single.found
        missing += single.missing
    return client.Read(found, missing, read.served_at)


def _version(
    tx: Transaction, entity: Entity, identifier: str, record: dict[str, Any], *, served_at: Any, token: int
) -> Version | None:
    """A record as it was read; None when its shape is not one we know: then it is written down why."""
    from common.rules.shapes import validate  # noqa: PLC0415 - 40 ms of pydantic, which only this needs

    valid = validate(entity, record)
    stamp = None
    try:
        text = next((record[key] for key in entity.version_keys if record.get(key)), None)
        stamp = instant(text)
    except ValueError as error:
        valid = [str(error)]  # type: ignore[list-item]
    if isinstance(valid, list):
        message = "; ".join(str(fault) for fault in valid)[:2000]
        log.error("refetch.refused", entity=entity.label, id=identifier, faults=message)
        organization = settings.load().zoho_organization_id
        refetches.refuse(tx, organization, token=token, entity=entity.label, identifier=identifier, message=message)
        return None
    marks = {mark: served_at for mark, column in entity.marks.items() if column in valid.columns}
    return Version(
        id=identifier,
        event=str(uuid4()),
        path=(),
        operation="update",
        stamp=stamp,
        # A record that never says when it changed is as it was served: else its own reading would ask for it to be read again.
        settled=served_at >= stamp + SETTLED if stamp is not None else not entity.version_keys,
        observed=served_at,
        hash=keys.content_hash(record, entity.version_keys),
        tied=False,
        hinted=False,
        partial=False,
        columns=valid.columns | marks,
        lines=valid.lines,
        document=record,
    )


def _tombstone(identifier: str, served_at: Any) -> Version:
    """The source says that there is no such record."""
    return Version(
        id=identifier, event=str(uuid4()), path=(), operation="delete", stamp=served_at, settled=True, observed=served_at,
        hash="", tied=False, hinted=False, partial=True, columns={}, lines=None, document=None,
    )  # fmt: skip


def _counted(tx: Transaction, context: Context, entity: Entity, read: Any, *, rows: int, written: int) -> None:
    config = context.stage.config
    said = {"read": len(read.found), "missing": len(read.missing), "written": written}
    what = f"{len(read.found) + len(read.missing)} by id"
    runs.log(tx, config["run"], entity.label, what, said=said, took_ms=0, worker=context.holder, context={})
    runs.count(
        tx, config["run"], context.stage.plan, rows=rows, written=written, skipped=rows - written, failed=0, newest=None,
        served_at=read.served_at, worker=context.holder,
    )  # fmt: skip
