"""Pages of a source's lists, merged into the business records: whole sets, newest wins, and what is equal costs nothing.

A page comes with its text as the source sent it. What is new on it is read by Postgres straight from that text; only what
changed, or is odd, is read by Python, row by row, with the same shapes as webhooks. Both leave the same records.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import UUID

import orjson

from common import db, encoding
from common.db import Transaction, queries
from common.errors import Invalid, Replayable
from common.rules import keys, pages
from common.rules.entity import Entity, Kind
from common.rules.pages import Fault, Page, Row

if TYPE_CHECKING:
    from common.rules.shapes import Valid

Result = TypeVar("Result")
NOISE = f"({keys.NOISE_SUFFIX}$)|^({'|'.join(sorted(keys.NOISE))})$"


class Merged(NamedTuple):
    """What became of the rows of a page; every row is counted once in the middle six."""

    rows: int
    inserted: int
    updated: int
    unchanged: int
    superseded: int  # older than what stands, or than another row of the page
    resurrected: int
    stale: int  # of those written: their details are older than they are, and should be read again
    quarantined: int  # cannot be merged; kept in the inbox with what is wrong with them
    newest: datetime | None  # the greatest time of change
    ids: list[str]  # of all rows that have one, in order, those in quarantine among them


class NeedsCare(Invalid):
    """Postgres refused a page's text, so its transaction is lost: run it again with `careful=True`."""


def merge(
    tx: Transaction,
    entity: Entity,
    organization: str,
    page: str,
    key: str,
    *,
    served_at: datetime,
    provenance: str,
    run: UUID,
    careful: bool = False,
    records: Sequence[Any] | None = None,
) -> Merged:
    """Merge the rows at `key` of the answer `page`, which the source served at `served_at` by its own clock.

    `records` are those rows, if orjson has decoded them before: a fifth of what Python does here.

    `careful` reads every row in Python, which is three times as slow, and takes whatever Postgres would refuse. What only
    looks odd is read carefully without being asked. There is no savepoint: a refusal costs the transaction, which is rare
    and runs again, while a savepoint would cost every page. `replayed` does so.

    One page per transaction, please: records are locked in one order, but only within a page.

    Raises: Invalid, when the page is not JSON with a list at `key`.
            NeedsCare, when Postgres refuses what is on it.
            Replayable, when others inserted some of the records meanwhile.
    """
    found = pages.read(entity, page, key, served_at, records)
    merging = _Merging(tx, entity, found, organization=organization, served_at=served_at, provenance=provenance, run=run)
    merging.merge(careful=careful)
    return merging.merged()


def replayed(work: Callable[[Transaction, bool], Result], role: str, **limits: Any) -> Result:
    """What `work(tx, careful)` returns from one transaction; run again after a deadlock, and with care if it must be."""
    try:
        return db.replayed(lambda tx: work(tx, False), role, **limits)
    except NeedsCare:
        return db.replayed(lambda tx: work(tx, True), role, **limits)


class _Merging:
    """One page on its way into the records of an entity."""

    def __init__(
        self, tx: Transaction, entity: Entity, page: Page, *, organization: str, served_at: datetime, provenance: str, run: UUID
    ) -> None:
        self._tx = tx
        self._entity = entity
        self._page = page
        self._organization = organization
        self._statements = rendered(entity)
        self._served_at = served_at
        self._faults = list(page.faults)
        self._counts = {"unchanged": page.repeated, "superseded": page.superseded}
        self._stale = 0
        self._given = {"organization": organization, "served_at": served_at}
        self._said = {"entity": entity.label, "provenance": provenance, "run": run}
        self._prefix = f"{max(0, int(served_at.timestamp())) & 0xFFFFFFFF:08x}"

    def merge(self, *, careful: bool) -> None:
        """Do it."""
        news = self._probed()
        pending = [row for row in self._page.rows if row.id in news]
        is_new = all(state == "new" for state in news.values())
        if pending and not (is_new and not careful and self._loaded(pending)):
            self._write(pending, moved={row_id for row_id, state in news.items() if state == "moved"})
        if self._faults:
            self._quarantine()

    def merged(self) -> Merged:
        """What became of it."""
        page, counts = self._page, self._counts
        return Merged(
            rows=page.count,
            inserted=counts.get("inserted", 0),
            updated=counts.get("updated", 0),
            unchanged=counts["unchanged"],
            superseded=counts["superseded"],
            resurrected=counts.get("resurrected", 0),
            stale=self._stale,
            quarantined=len(self._faults),
            newest=page.newest,
            ids=page.ids,
        )

    def _count(self, outcome: str, number: int = 1) -> None:
        self._counts[outcome] = self._counts.get(outcome, 0) + number

    def _probed(self) -> dict[str, str]:
        """Of each row that has news, by id, which kind it is of: new, changed or moved."""
        rows = encoding.rows([{"id": row.id, "stamp": row.stamp, "hash": row.hash} for row in self._page.rows])
        news = {}
        for state, count, ids in self._run("pages.probe", {**self._given, "rows": rows}):
            if ids is None:
                self._count(state, count)
            else:
                news.update(dict.fromkeys(orjson.loads(ids), state))
        return news

    def _loaded(self, rows: Sequence[Row]) -> bool:
        """Whether all these new records are plain enough for Postgres to read, and now inserted.

        Raises: NeedsCare, Replayable.
        """
        from common.rules.plain import is_plain  # noqa: PLC0415 - 40 ms of pydantic, which only those who merge may pay for

        records = self._page.records
        if "\\u0000" in self._page.text or not all(is_plain(self._entity, records[row.position]) for row in rows):
            return False
        given = self._rows(rows)
        parameters = {**self._given, **self._said, "page": self._page.text, "key": self._page.key, "rows": encoding.rows(given)}
        try:
            ((inserted, stale),) = self._run("pages.load", parameters)
        except Invalid as error:
            raise NeedsCare(error.detail, **error.fields) from error
        self._all_there(inserted, rows)
        self._count("inserted", inserted)
        self._stale += stale
        return True

    def _write(self, rows: Sequence[Row], *, moved: set[str]) -> None:
        """Read these rows in Python, and write what is good of them.

        Raises: Replayable.
        """
        documents: list[str] = []
        given = []
        texts = self._page.texts()
        for row in rows:
            text = texts[row.position]
            valid, sources = self._read(row, text)
            if valid is None:
                continue
            fields = {"moved": row.id in moved, "columns": valid.columns, "sources": sources, "lines": valid.lines}
            (named,) = self._rows([row])
            given.append(named | {"position": len(documents)} | fields)
            documents.append(text)
        if not given:
            return
        ids = encoding.rows([row["id"] for row in given])
        locked = self._run("pages.lock", {"organization": self._organization, "ids": ids})
        parameters = {
            **self._given,
            **self._said,
            "rows": encoding.rows(given),
            "documents": f"[{','.join(documents)}]",
            "locked": encoding.rows([row[0] for row in locked]),
            "noise": NOISE,
        }
        outcomes = self._run("pages.write", parameters)
        self._all_there(sum(count for _, count, _ in outcomes), given)
        for outcome, count, stale in outcomes:
            self._count(outcome, count)
            self._stale += stale

    def _rows(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Rows with an id each for their audit; these grow with time, and so do the ends of its index."""
        chance = os.urandom(12 * len(rows)).hex()
        return [row._asdict() | {"audit": self._prefix + chance[24 * at : 24 * at + 24]} for at, row in enumerate(rows)]

    def _read(self, row: Row, text: str) -> tuple[Valid | None, dict[str, str]]:
        """A row by its shape, and the key that each of its columns came from where that is another; None: it is at fault."""
        from common.rules.shapes import validate  # noqa: PLC0415 - as below

        try:
            record = encoding.loads(text)
        except ValueError as error:
            self._faults.append(Fault(row.position, row.id, row.stamp, [{"pointer": "", "message": f"it cannot be read: {error}"}]))
            return None, {}
        entity = self._entity
        valid = validate(entity, record)
        if isinstance(valid, list):
            errors = [{"pointer": fault.pointer, "message": fault.message} for fault in valid]
            self._faults.append(Fault(row.position, row.id, row.stamp, errors))
            return None, {}
        sources = {
            name: next((key for key in column.keys if key in record), name)
            for name, column in entity.columns.items()
            if column.keys and name in valid.columns
        }
        for mark, name in entity.marks.items():
            if name in valid.columns:
                valid.columns[mark] = self._served_at
                sources[mark] = sources.get(name, name)
        return valid, sources

    def _quarantine(self) -> None:
        texts = self._page.texts()
        given = [
            pages.kept(fault, texts[fault.position], self._entity, self._organization) | {"source": self._said["provenance"]}
            for fault in self._faults
        ]
        self._tx.value("pages.quarantine", rows=encoding.rows(given))

    def _run(self, name: str, parameters: Mapping[str, Any]) -> list[list[Any]]:
        return self._tx.statement(self._statements[name], parameters)[0]

    def _all_there(self, count: int, wanted: Sequence[object]) -> None:
        if count < len(wanted):
            # Another round in this transaction would lock them out of their order, and deadlock with those who do the same.
            message = f"Others inserted {len(wanted) - count} records of {self._entity.label} at the same time."
            raise Replayable(message)


@functools.cache
def rendered(entity: Entity) -> dict[str, str]:
    """The statements of an entity by name; only names from its file go into them, never values."""
    from common.rules import plain  # noqa: PLC0415 - as above

    columns = (*entity.columns, *entity.marks)
    is_whole = entity.pull is not None and entity.pull.whole
    parts = {
        "@table@": entity.table,
        "@columns@": ", ".join(columns),
        "@read_columns@": ", ".join(plain.columns(entity, "g.item", ":served_at::timestamptz")),
        "@scalars@": ", ".join(f"n.{name}" for name, column in entity.columns.items() if column.kind is not Kind.JSON),
        "@read_populated@": ", ".join(f"n.{column}" for column in columns),
        "@is_whole@": "true" if is_whole else "false",
        "@is_stale@": f"not g.item ? '{entity.lines.key}'" if entity.lines and not is_whole else "false",
        "@is_bare@": "v.lines is null" if entity.lines and not is_whole else "false",
        "@version_key@": next(iter(entity.version_keys), ""),
        "@fluid@": ",".join(plain.fluid(entity)),
        "@lines_key@": f"'{entity.lines.key}'" if entity.lines else "''",
        "@is_moved@": " or ".join(queries()["pages.moved"].replace("@mark@", mark) for mark in entity.marks) or "false",
        "@lines@": _lines(entity),
    }
    return {name: _filled(queries()[name], parts) for name in ("pages.probe", "pages.load", "pages.lock", "pages.write")}


def _filled(text: str, parts: Mapping[str, str]) -> str:
    for part, said in parts.items():
        text = text.replace(part, said)
    return text


def _lines(entity: Entity) -> str:
    if not entity.lines:
        return ""
    columns = tuple(entity.lines.columns)
    return (
        queries()["pages.lines"]
        .replace("@line_table@", entity.lines.table)
        .replace("@line_columns@", ", ".join(columns))
        .replace("@read_line_columns@", ", ".join(f"n.{column}" for column in columns))
        .replace("@excluded_line_columns@", ", ".join(f"excluded.{column}" for column in columns))
    )
