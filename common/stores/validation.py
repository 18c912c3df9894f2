"""Validation: what stands in the business tables and should not. Each look is at a bounded number of rows."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

from common.db import Transaction, queries
from common.rules.entity import Entity
from common.rules.references import Reference

# What the lines of a document must add up to, and which of their columns.
TOTALS = {
    "invoice": ("d.sub_total", "item_total"),
    "order": ("d.sub_total", "item_total"),
    "bill": ("d.sub_total", "item_total"),
    "credit_note": ("d.sub_total", "item_total"),
    "payment": ("d.amount - coalesce(d.unused_amount, 0)", "amount_applied"),
}


class Check(NamedTuple):
    """What one check found among the rows that were looked at."""

    check: str
    found: int
    ids: list[str] | None  # of those that it found
    examined: int
    last: str | None  # the last id that was looked at


class Walked(NamedTuple):
    """Events that were looked at, and those of them that have lost their rows."""

    examined: int
    lost: int
    ids: list[str] | None


def walk(tx: Transaction, *, rows: int) -> Walked:
    """Look at the next events that came an hour ago or earlier."""
    found = tx.one(Walked, "validation.walk", rows=rows)
    assert found is not None  # noqa: S101 - an aggregate always has a row
    return found


def products(tx: Transaction, *, organization: str, after: str, rows: int) -> list[Check]:
    """Products that something is wrong with."""
    return tx.all(Check, "validation.products", organization=organization, after=after, rows=rows)


def events(tx: Transaction, *, rows: int) -> list[Check]:
    """What should be held together between inbox, queue and logs, and is not; a check that found nothing is not there."""
    return tx.all(Check, "validation.events", rows=rows)


def integrity(tx: Transaction, entity: Entity, *, organization: str, after: str, rows: int) -> list[Check]:
    """Records of an entity that contradict themselves or their lines."""
    return _checked(tx, [text for _, text in consistency(entity)], organization=organization, after=after, rows=rows)


def orphans(tx: Transaction, found: Iterable[Reference], *, organization: str, after: str, rows: int) -> list[Check]:
    """Records, or lines of them, that refer to what is not there, by these references of one entity."""
    return _checked(tx, [rendered(each) for each in found], organization=organization, after=after, rows=rows)


def _checked(tx: Transaction, texts: list[str], *, organization: str, after: str, rows: int) -> list[Check]:
    parameters = {"organization": organization, "after": after, "rows": rows}
    return [Check(*row) for text in texts for row in tx.statement(text, parameters)[0]]


@functools.cache
def rendered(reference: Reference) -> str:
    """What looks for orphans by a reference."""
    name = "validation.line_references" if reference.is_of_lines else "validation.references"
    text = queries()[name].replace("@column@", reference.column).replace("@parent@", reference.parent.table)
    return _of(reference.entity, text)


@functools.cache
def consistency(entity: Entity) -> tuple[tuple[str, str], ...]:
    """What looks for contradictions in an entity, by the name of the query."""
    found = [("validation.records", queries()["validation.records"])]
    if entity.lines:
        found.append(("validation.lines", queries()["validation.lines"]))
    if entity.label in TOTALS:
        total, part = TOTALS[entity.label]
        found.append(("validation.totals", queries()["validation.totals"].replace("@total@", total).replace("@part@", part)))
    return tuple((name, _of(entity, text)) for name, text in found)


def _of(entity: Entity, text: str) -> str:
    return text.replace("@table@", entity.table).replace("@lines@", entity.lines.table if entity.lines else "")
