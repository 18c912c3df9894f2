"""Business records: the newest version of each, with its lines and the trail of how it came to be."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from common import encoding
from common.db import Transaction, queries
from common.errors import Replayable
from common.rules import keys
from common.rules.entity import Entity, Kind

NOISE = f"({keys.NOISE_SUFFIX}$)|^({'|'.join(sorted(keys.NOISE))})$"


@dataclass(slots=True)
class Version:
    """One version of a record, as an event or a page of the source has it."""

    id: str
    event: str  # whose inbox row has the document, and whose audit it is; a new id where the document is given
    path: tuple[str, ...]  # where the record stands in that row's payload
    operation: str
    stamp: datetime | None  # when the source changed it; None: it does not say
    settled: bool  # read from the source when the stamp was over, so nothing else can carry it
    observed: datetime
    hash: str
    tied: bool  # another content with the same stamp came in the same batch
    hinted: bool  # another version without a stamp came in the same batch
    partial: bool  # what it does not mention stays as it is
    columns: dict[str, Any]
    lines: list[dict[str, Any]] | None
    document: Any = None  # the record, decoded or as JSON text, where it is in no inbox row: it was read from the source


class Applied(NamedTuple):
    """What became of a version."""

    id: str
    outcome: str  # applied, unchanged, superseded or ambiguous
    is_ambiguous: bool


@functools.cache
def rendered(entity: Entity) -> tuple[str, str]:
    """The lock and the apply statement of an entity; only names from its file go into them, never values."""
    columns = (*entity.columns, *entity.marks)
    lines = ""
    if entity.lines:
        line_columns = tuple(entity.lines.columns)
        lines = (
            queries()["records.lines"]
            .replace("@line_table@", entity.lines.table)
            .replace("@line_columns@", ", ".join(line_columns))
            .replace("@read_line_columns@", _prefixed("n", line_columns))
            .replace("@excluded_line_columns@", _prefixed("excluded", line_columns))
        )
    apply = (
        queries()["records.apply"]
        .replace("@lines@", lines)
        .replace("@table@", entity.table)
        .replace("@columns@", ", ".join(columns))
        .replace("@read_columns@", _prefixed("n", columns))
        .replace("@scalars@", _prefixed("n", [name for name, column in entity.columns.items() if column.kind is not Kind.JSON]))
    )
    return queries()["records.lock"].replace("@table@", entity.table), apply


def _prefixed(prefix: str, columns: Sequence[str]) -> str:
    return ", ".join(f"{prefix}.{column}" for column in columns)


def _json(document: Any) -> str:
    """A record as JSON in which an amount is a number, as the source wrote it, not a text, as we would."""
    return orjson.dumps(document, default=lambda leaf: orjson.Fragment(format(leaf, "f"))).decode()


def lock(tx: Transaction, entity: Entity, organization: str, ids: Sequence[str]) -> None:
    """Lock those of them that exist, before anything else that goes with them: the refetches of records come after them."""
    tx.statement(rendered(entity)[0], {"organization": organization, "ids": encoding.rows(sorted(ids))})


def apply(
    tx: Transaction, entity: Entity, organization: str, versions: Sequence[Version], provenance: str = "zoho"
) -> dict[str, Applied]:
    """Write each version that is newer than what stands there; the outcome by id. One version per id at most.

    Raises: Replayable, when others inserted some of the ids meanwhile: the next run finds and locks them in their order.
            Another round in this transaction would lock them out of it, and deadlock with those who do the same.
    """
    lock, statement = rendered(entity)
    ordered = sorted(versions, key=lambda version: version.id)
    for version in ordered:
        if version.document is not None and not isinstance(version.document, str):
            version.document = _json(version.document)
    locked, _ = tx.statement(lock, {"organization": organization, "ids": encoding.rows([version.id for version in ordered])})
    rows, _ = tx.statement(
        statement,
        {
            "organization": organization,
            "entity": entity.label,
            "provenance": provenance,
            "locked": encoding.rows([row[0] for row in locked]),
            "rows": encoding.rows(ordered),
            "noise": NOISE,
        },
    )
    outcomes = {row[0]: Applied(*row) for row in rows}
    if len(outcomes) < len(ordered):
        message = f"Others inserted {len(ordered) - len(outcomes)} records of {entity.label} at the same time."
        raise Replayable(message)
    return outcomes
