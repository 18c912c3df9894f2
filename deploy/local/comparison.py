"""The comparison: every record that the stand-in has beside its row here, field by field, without the help of what wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from rich.table import Table

from common import db, entities, settings
from common.rules.entity import Entity, Kind
from deploy.local import source
from deploy.local.zoho.kinds import KINDS

SHOWN = 5
STRANGERS = dict[str, set[str]]
# Of what the list and the table both have by one name. What a webhook spells otherwise than the list is not among them.
SCALARS = frozenset({Kind.ID, Kind.TEXT, Kind.MONEY, Kind.NUMBER, Kind.WHOLE, Kind.FLAG, Kind.DAY, Kind.INSTANT})
STANDING = """
select source_id, source_modified_at, deleted_at is not null, {columns} from erp.{table} where organization_id = :organization
"""


@dataclass(frozen=True)
class Line:
    """One entity, there and here."""

    label: str
    source: int
    here: int
    deleted: int
    missing: list[str]  # there, but not here
    extra: list[str]  # here, but not there
    differs: list[str]  # in words

    @property
    def is_equal(self) -> bool:
        """Whether here is what is there, and nothing else."""
        return not (self.missing or self.extra or self.differs)


def strangers() -> STRANGERS:
    """The records here that the stand-in does not have, by label: somebody else sent them, and they are left alone."""
    found: STRANGERS = {}
    for entity in entities.every():
        live = {row[0] for row in _here(entity, ()) if not row[2]}
        found[entity.label] = live - set(_there(entity))
    return found


def compared(others: STRANGERS) -> list[Line]:
    """Every entity, parents first; `others` are left out."""
    return [_line(entity, others[entity.label]) for entity in sorted(entities.every(), key=lambda each: each.rank)]


def _line(entity: Entity, others: set[str]) -> Line:
    there = _there(entity)
    columns = _columns(entity, there)
    rows = [row for row in _here(entity, columns) if row[0] not in others]
    live = {row[0]: row for row in rows if not row[2]}
    both = [(record, live[identifier]) for identifier, record in there.items() if identifier in live]
    return Line(
        label=entity.label,
        source=len(there),
        here=len(live),
        deleted=len(rows) - len(live),
        missing=sorted(set(there) - set(live)),
        extra=sorted(set(live) - set(there)),
        differs=[said for record, row in both if (said := _difference(entity, columns, record, row))],
    )  # fmt: skip


def _there(entity: Entity) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = source.ask(settings.load().zoho_api_url, f"rows/{entity.label}")
    return found


def _here(entity: Entity, columns: tuple[str, ...]) -> list[list[Any]]:
    statement = STANDING.format(table=entity.table, columns=", ".join(columns) or "null")
    with db.transaction("status", read_only=True) as tx:
        return tx.statement(statement, {"organization": settings.load().zoho_organization_id})[0]


def _columns(entity: Entity, there: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    row = next(iter(there.values()), {})
    remark = KINDS[entity.label].remark_key
    return tuple(name for name, column in entity.columns.items() if column.kind in SCALARS and name in row and name != remark)


def _difference(entity: Entity, columns: tuple[str, ...], record: dict[str, Any], row: list[Any]) -> str:
    """The first thing that is not the same, in words: the stamp, or a column; "" when all is."""
    stamps = [(entity.version_keys[0], row[1])] if entity.version_keys else []
    for name, stood in (*stamps, *zip(columns, row[3:], strict=True)):
        if not _is_same(stood, record.get(name)):
            return f"{entity.label} {row[0]}: {name} is {stood!s}, at the source {record.get(name)!r}"
    return ""


def _is_same(stood: Any, said: Any) -> bool:
    """Whether a column holds what the source wrote: "" is nothing where it is no text, and amounts may be text."""
    if stood is None:
        return said in (None, "")
    try:
        return bool(_read(stood, str(said)) == stood)
    except (InvalidOperation, ValueError):
        return False


def _read(like: Any, text: str) -> Any:
    """What the source wrote, as what stands here is.

    Raises: InvalidOperation, ValueError.
    """
    if isinstance(like, bool):
        return text.lower() in {"true", "1"}
    if isinstance(like, Decimal | int):
        return Decimal(text.removesuffix("%"))
    if isinstance(like, datetime):
        return datetime.fromisoformat(text)
    return date.fromisoformat(text) if isinstance(like, date) else text


# What is shown ------------------------------------------------------------------------------------------------------


def table(lines: list[Line]) -> Table:
    """The comparison for people."""
    found = Table("entity", "source", "here", "missing", "extra", "differs", "gone", "")
    found.columns[0].no_wrap = True
    for column in found.columns[1:7]:
        column.justify = "right"
    for line in lines:
        numbers = (line.source, line.here, len(line.missing), len(line.extra), len(line.differs), line.deleted)
        found.add_row(line.label, *(f"{number:,}" for number in numbers), "equal" if line.is_equal else "[bold red]not equal[/]")
    return found


def faults(lines: list[Line]) -> list[str]:
    """Every difference, in words."""
    found = []
    for line in lines:
        for ids, said in ((line.missing, "are at the source but not here"), (line.extra, "are here but not at the source")):
            if ids:
                some = ", ".join(ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")
                found.append(f"{len(ids)} records of {line.label} {said}: {some}")
        if line.differs:
            found += [f"{len(line.differs)} records of {line.label} differ, such as {line.differs[0]}", *line.differs[1:SHOWN]]
    return found
