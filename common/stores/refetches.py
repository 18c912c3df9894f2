"""Refetches: records to be read again from the source by their id, because what is known of them may not be true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from common import encoding
from common.db import Transaction, queries
from common.rules.entity import Entity

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
    statement = queries()["refetches.ask_for_details"].replace("@table@", entity.table)
    return tx.statement(statement, {"organization": organization, "entity": entity.label, "limit": limit})[1]


def ask_for_moved(tx: Transaction, organization: str, entity: Entity, since: datetime) -> int:
    """Ask for the products that documents of `entity` changed since then have moved; how many."""
    if entity.lines is None or "item_id" not in entity.lines.columns:
        return 0
    statement = queries()["refetches.ask_for_moved"].replace("@table@", entity.table).replace("@line_table@", entity.lines.table)
    return tx.statement(statement, {"organization": organization, "since": since})[1]


def claim(tx: Transaction, organization: str, at_once: Mapping[str, int]) -> list[Claimed]:
    """Records of one entity that one call can read; `at_once`: how many that is, for each entity that may be read."""
    return tx.all(
        Claimed,
        "refetches.claim",
        organization=organization,
        at_once=encoding.rows(dict(at_once)),
        most=MOST_ATTEMPTS,
        lease=LEASE,
        reasons=_reasons(),
    )


def done(tx: Transaction, organization: str, token: int, entity: str, ids: Sequence[str]) -> set[str]:
    """These were read; those of them that were still ours, so that what was read of them may be written."""
    return set(tx.all(str, "refetches.done", organization=organization, token=token, entity=entity, ids=encoding.rows(list(ids))))


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


def _reasons() -> Any:
    return "{" + ",".join(REASONS) + "}"
