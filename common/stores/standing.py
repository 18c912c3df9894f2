"""What stands in the business tables."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import NamedTuple

from common.db import Transaction, queries
from common.rules.entity import Entity


class Counts(NamedTuple):
    """The records of an entity."""

    live: int
    deleted: int
    ambiguous: int
    stale: int  # the row of a list is newer than the details
    newest: datetime | None
    observed_at: datetime | None


def counts(tx: Transaction, entity: Entity, organization: str) -> Counts:
    """How many records of an entity there are."""
    return Counts(*tx.statement(rendered(entity), {"organization": organization})[0][0])


@functools.cache
def rendered(entity: Entity) -> str:
    """What counts the records of an entity."""
    return queries()["standing.counts"].replace("@table@", entity.table)
