"""Seen ids: what a run over a whole list has come across, so that what it has not can be asked for."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from common import encoding
from common.db import Transaction, queries
from common.rules.entity import Entity


def add(tx: Transaction, plan: UUID, stage: int, page: int, ids: Iterable[str], *, rows: int) -> None:
    """Remember the ids of a page that had `rows` rows; doing it again is harmless."""
    tx.run("seen_ids.add", plan=plan, stage=stage, page=page, ids=encoding.rows(list(ids)), rows=rows)


def repeats(tx: Transaction, plan: UUID, stage: int, page: int, ids: Iterable[str]) -> bool:
    """Whether another page of the run had the very same ids: the source does not turn the page."""
    return bool(tx.value("seen_ids.repeats", plan=plan, stage=stage, page=page, ids=encoding.rows(list(ids))))


def missing(
    tx: Transaction, entity: Entity, organization: str, plan: UUID, stage: int, *, since: datetime, limit: int
) -> list[str]:
    """Ids of live records that no page of the run had, at most `limit`, in order.

    A record that was made or read later than five minutes before `since`, when the run began, is not among them. Those that
    are, are candidates, not deleted: pages drift while they are read, so each must be asked for by its id.
    """
    given = {"organization": organization, "plan": plan, "stage": stage, "since": since, "limit": limit}
    return [row[0] for row in tx.statement(rendered(entity), given)[0]]


def clean_up(tx: Transaction, *, days: int = 7, limit: int = 10_000) -> int:
    """Forget the pages of plans whose last one is older than `days`, at most `limit`; how many went."""
    return int(tx.value("seen_ids.clean_up", days=days, limit=limit))


@functools.cache
def rendered(entity: Entity) -> str:
    """What asks for the missing records of an entity."""
    return queries()["seen_ids.missing"].replace("@table@", entity.table)
