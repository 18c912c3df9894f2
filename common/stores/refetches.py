"""Refetches: records to be read again from the source by their id, because what is known of them may not be true."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from common import encoding
from common.db import Transaction, queries
from common.rules.entity import Column, Entity

# The most urgent first.
REASONS = ("asked", "ambiguous", "hint", "partial", "missing", "drift", "moved", "detail")
MOST_ATTEMPTS = 5
LEASE = timedelta(seconds=60)


class Claimed(NamedTuple):
    """A record to be read."""

    entity: str
    id: str
    reason: str
    token: int


class Done(NamedTuple):
    """A record that was ours to write."""

    id: str


class Waiting(NamedTuple):
    """How many records wait to be read again."""

    entity_type: str
    reason: str
    records: int
    oldest_at: datetime


def ask(tx: Transaction, organization: str, asked: Sequence[tuple[str, str]], reason: str) -> int:
    """Ask for records, as (entity, id); how many."""
    rows = [{"entity": entity, "id": identifier} for entity, identifier in asked]
    return tx.run("refetches.ask", organization=organization, asked=encoding.rows(rows), reason=reason, reasons=_reasons())


def ask_for_details(tx: Transaction, organization: str, entity: Entity, limit: int) -> int:
    """Ask for the details of records of which only the row of a list is known, the newest first; how many."""
    return tx.statement(
        rendered(entity)["ask_for_details"], {"organization": organization, "entity": entity.label, "limit": limit}
    )[1]


def ask_for_moved(tx: Transaction, organization: str, entity: Entity, since: datetime) -> int:
    """Ask for the products that documents of `entity` changed since then have moved; how many."""
    statement = rendered(entity).get("ask_for_moved")
    if statement is None:
        return 0
    return tx.statement(statement, {"organization": organization, "since": since})[1]


def ask_for_parents(tx: Transaction, organization: str, entity: Entity, parents: Mapping[str, Entity], *, limit: int) -> int:
    """Ask for the records that lately applied events of `entity` refer to and that are not here; how many.

    `parents`: the entity that each of the columns refers to.
    """
    asked = 0
    for key, parent in parents.items():
        for table, columns in _tables(entity):
            if key in columns:
                statement = rendered_for_parents(table, key, parent.table)
                given = {"organization": organization, "entity": entity.label, "parent": parent.label, "limit": limit}
                asked += tx.statement(statement, given)[1]
    return asked


def _tables(entity: Entity) -> list[tuple[str, Mapping[str, Column]]]:
    """The tables of an entity with their columns."""
    own: list[tuple[str, Mapping[str, Column]]] = [(entity.table, entity.columns)]
    return own + ([(entity.lines.table, entity.lines.columns)] if entity.lines else [])


@functools.cache
def rendered_for_parents(table: str, column: str, parent_table: str) -> str:
    """What asks for the missing parents that a column of a table names."""
    statement = queries()["refetches.ask_for_parents"].replace("@table@", table)
    return statement.replace("@column@", column).replace("@parent_table@", parent_table)


def claim(tx: Transaction, organization: str, at_once: Mapping[str, int], only: Sequence[str] = REASONS) -> list[Claimed]:
    """Records of one entity that one call can read; `at_once`: how many that is, for each entity that may be read.

    `only`: for these reasons.
    """
    return tx.all(
        Claimed,
        "refetches.claim",
        organization=organization,
        at_once=encoding.rows(dict(at_once)),
        most=MOST_ATTEMPTS,
        lease=LEASE,
        reasons=_reasons(only),
    )


def done(tx: Transaction, organization: str, token: int, entity: str, ids: Sequence[str]) -> set[str]:
    """These were read; those of them that were still ours, so that what was read of them may be written."""
    rows = tx.all(Done, "refetches.done", organization=organization, token=token, entity=entity, ids=encoding.rows(list(ids)))
    return {row.id for row in rows}


def young(tx: Transaction, organization: str, entity: Entity, ids: Sequence[str], since: datetime) -> set[str]:
    """Those of them that live here and changed after `since`: the source may not show them yet."""
    rows, _ = tx.statement(
        rendered(entity)["young"], {"organization": organization, "ids": encoding.rows(list(ids)), "since": since}
    )
    return {row[0] for row in rows}


def postpone(tx: Transaction, organization: str, *, token: int, entity: str, ids: Sequence[str], wait: timedelta) -> None:
    """Ask for these again after `wait`."""
    tx.run("refetches.postpone", organization=organization, token=token, entity=entity, ids=encoding.rows(list(ids)), wait=wait)


def give_back(tx: Transaction, organization: str, token: int) -> None:
    """The call did not come to what is left of the claim."""
    tx.run("refetches.give_back", organization=organization, token=token, entity=None)


def refuse(tx: Transaction, organization: str, *, token: int, entity: str, identifier: str, message: str) -> None:
    """What was read of this one cannot be stored."""
    tx.run(
        "refetches.refuse",
        organization=organization,
        token=token,
        entity=entity,
        id=identifier,
        message=message,
        most=MOST_ATTEMPTS,
    )


def waiting(tx: Transaction) -> list[Waiting]:
    """How many wait, by entity and reason."""
    return tx.all(Waiting, "refetches.waiting", most=MOST_ATTEMPTS)


@functools.cache
def rendered(entity: Entity) -> dict[str, str]:
    """The statements of an entity by name."""
    details, young = queries()["refetches.ask_for_details"], queries()["refetches.young"]
    found = {"ask_for_details": details.replace("@table@", entity.table), "young": young.replace("@table@", entity.table)}
    if entity.lines is not None and "item_id" in entity.lines.columns:
        moved = queries()["refetches.ask_for_moved"].replace("@line_table@", entity.lines.table)
        found["ask_for_moved"] = moved.replace("@table@", entity.table)
    return found


def _reasons(wanted: Sequence[str] = REASONS) -> str:
    return "{" + ",".join(reason for reason in REASONS if reason in wanted) + "}"
