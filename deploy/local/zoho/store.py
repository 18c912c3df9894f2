"""What the stand-in knows: every record as the API shows it now, and what will be shown a little later."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import orjson

from deploy.local.zoho import shapes
from deploy.local.zoho.books import Books
from deploy.local.zoho.clock import Clock
from deploy.local.zoho.journal import Entry, Journal
from deploy.local.zoho.kinds import KINDS, Change, Record, stamp

SECONDS_BETWEEN = 30  # at most, between two records of the past; none at all makes a tie
EDITED = 0.1  # of the past's records were changed since
IN_BULK = 500  # at most, records that one second of the past changed
_OWED = {"customer": "outstanding_receivable_amount", "vendor": "outstanding_payable_amount"}
_DUE = {"invoice", "bill", "order"}


class Row:
    """One record as it is shown; its bytes are made once."""

    __slots__ = ("_detail", "_row", "at", "change", "created")

    def __init__(self, change: Change) -> None:
        self.change = change
        self.at = change.at
        self.created = datetime.fromisoformat(change.record["created_time"])
        self._row: bytes | None = None
        self._detail: bytes | None = None

    @property
    def row(self) -> bytes:
        """JSON of the record in a list."""
        if self._row is None:
            self._row = orjson.dumps(shapes.row(self.change.kind, self.whole()))
        return self._row

    def write(self) -> None:
        """Make the bytes of a list now."""
        _ = self.row

    @property
    def detail(self) -> bytes:
        """JSON of the whole record."""
        if self._detail is None:
            self._detail = orjson.dumps(self.whole())
        return self._detail

    def whole(self) -> Record:
        """The whole record."""
        return shapes.detail(self.change.kind, self.change.record)


class Store:
    """Books, and what of them can be seen. Whoever calls it holds the stand-in's lock."""

    def __init__(
        self,
        seed: int,
        organization: str,
        sizes: Mapping[str, int],
        *,
        clock: Clock,
        zone: timezone,
        journal: Journal | None = None,
    ) -> None:
        self.late = 0.0
        self.books = Books(seed, organization)
        self.books.zone = zone
        self.rows: dict[str, dict[str, Row]] = {label: {} for label in KINDS}
        self.deleted: dict[str, dict[str, Row]] = {label: {} for label in KINDS}
        self.revisions = dict.fromkeys(KINDS, 0)
        self._clock = clock
        self._waiting: list[tuple[float, int, Change]] = []
        self._numbers = itertools.count()
        self._shown: dict[str, int] = {}  # the number of the last change that can be seen, by id
        self._journal = journal
        if not journal or not self._remember(journal):
            self._make_past(sizes)
        self.newest = self.books.now  # time of change of whatever is known

    def _make_past(self, sizes: Mapping[str, int]) -> None:
        books = self.books
        # In the order of KINDS: documents refer to records that stand.
        for label in KINDS:
            for _ in range(sizes.get(label, 0)):
                books.tick(SECONDS_BETWEEN)
                books.add(label)
        for label, standing in books.standing.items():
            for former in books.some(label, int(len(standing) * EDITED)):
                books.tick(SECONDS_BETWEEN)
                books.again(former)
            books.now += timedelta(seconds=1)
            for former in books.some(label, min(int(len(standing) * EDITED), IN_BULK)):
                books.again(former)
        for label, standing in books.standing.items():
            self.rows[label] = {change.id: Row(change) for change in map(standing.__getitem__, range(len(standing)))}
        if self._journal:
            self._journal.add(Entry(books.made, row.change) for rows in self.rows.values() for row in rows.values())
        self._write_all()

    def _remember(self, journal: Journal) -> bool:
        """Take up what an earlier stand-in knew; whether there was any."""
        entries = journal.read()
        for _, change in entries:
            if change.operation != "delete":
                self.books.standing[change.kind.label].put(change)
            self._show(next(self._numbers), change)
        if entries:
            self.books.now = max(change.at for _, change in entries)
            made = max(entry.number for entry in entries)
            self.books.go_on(made, made)
            self._write_all()
        return bool(entries)

    def _write_all(self) -> None:
        """Whoever measures how long a page takes must not wait for its rows to be written first."""
        for row in (row for rows in self.rows.values() for row in rows.values()):
            row.write()

    # Reading

    def settle(self) -> None:
        """Show what is due by now."""
        while self._waiting and self._waiting[0][0] <= self._clock.elapsed():
            _, number, change = heapq.heappop(self._waiting)
            self._show(number, change)

    def find(self, labels: Iterable[str], identifier: str) -> Row | None:
        """A record that can be seen."""
        return next((row for label in labels if (row := self.rows[label].get(identifier))), None)

    # Writing: each answers the changes, in order.

    def change(self, count: int, labels: Sequence[str], delete: float) -> list[Change]:
        """Whatever people do in a day, all of it now."""
        return self._now(lambda: [self.books.happen(delete=delete, labels=labels) for _ in range(count)])

    def create(self, label: str, count: int, fields: Record) -> list[Change]:
        """New records; `fields` overrule what was invented."""
        return self._now(lambda: [self._keep(self.books.add(label), fields) for _ in range(count)])

    def edit(self, label: str, ids: Sequence[str] | None, count: int, fields: Record) -> list[Change]:
        """Edits in one second, of the records named or of any `count`.

        Raises: KeyError, for an id that no record has.
        """
        return self._now(lambda: [self.books.again(former, **fields) for former in self._chosen(label, ids, count)])

    def edit_quietly(self, label: str, ids: Sequence[str] | None, count: int, fields: Record) -> list[Change]:
        """Edits that leave last_modified_time alone: the fields given, or what happens to such a record by itself.

        Raises: KeyError, for an id that no record has; ValueError, for records that nothing happens to by itself.
        """
        chosen = self._chosen(label, ids, count)
        return self._now(lambda: [self.books.quietly(former, **(fields or _by_itself(former))) for former in chosen])

    def delete(self, label: str, ids: Sequence[str] | None, count: int) -> list[Change]:
        """The end of the records named, or of any `count`.

        Raises: KeyError, for an id that no record has.
        """
        return self._now(lambda: [self.books.remove(former) for former in self._chosen(label, ids, count)])

    def move(self, zone: timezone) -> None:
        """Write every stamp anew, in another zone."""
        self.books.zone = zone
        standing = self.books.standing.values()
        known = [change for each in standing for change in map(each.__getitem__, range(len(each)))]
        shown = [row for rows in (*self.rows.values(), *self.deleted.values()) for row in rows.values()]
        for change in (*known, *(row.change for row in shown), *(change for _, _, change in self._waiting)):
            for key in ("created_time", change.kind.version_key):
                if key:
                    change.record[key] = stamp(datetime.fromisoformat(change.record[key]), zone)
        self.rows = {label: {row.change.id: Row(row.change) for row in rows.values()} for label, rows in self.rows.items()}
        self._write_all()
        for label in KINDS:
            self.revisions[label] += 1

    def _chosen(self, label: str, ids: Sequence[str] | None, count: int) -> list[Change]:
        if ids is None:
            return self.books.some(label, count)
        standing = self.books.standing[label]
        found = {identifier: standing.get(identifier) for identifier in ids}
        if missing := [identifier for identifier, former in found.items() if former is None]:
            message = f"no {label} has the id {missing[0]}"
            raise KeyError(message)
        return [former for former in found.values() if former]

    def _now(self, act: Callable[[], list[Change]]) -> list[Change]:
        self.books.now = self._clock.now().replace(microsecond=0)
        return self.told(act)

    def told(self, act: Callable[[], list[Change]]) -> list[Change]:
        """The changes that `act` makes in the books: written down, and shown."""
        changes = act()
        self.newest = max(self.newest, self.books.now)
        if self._journal:
            self._journal.add(Entry(self.books.made, change) for change in changes)
        for change in changes:
            number = next(self._numbers)
            if self.late:
                heapq.heappush(self._waiting, (self._clock.elapsed() + self.late, number, change))
            else:
                self._show(number, change)
        return changes

    def _keep(self, change: Change, fields: Record) -> Change:
        if not fields:
            return change
        kept = replace(change, record=change.record | fields)
        self.books.standing[change.kind.label].put(kept)
        return kept

    def _show(self, number: int, change: Change) -> None:
        if self._shown.get(change.id, -1) > number:
            return  # it was late, and the next one was not
        self._shown[change.id] = number
        label = change.kind.label
        if change.operation == "delete":
            self.rows[label].pop(change.id, None)
            gone = replace(change, record=change.record | {"status": "deleted"})
            self.deleted[label][change.id] = Row(gone)
        else:
            self.rows[label][change.id] = Row(change)
        self.revisions[label] += 1


def _by_itself(former: Change) -> Record:
    """What happens to a record without anybody opening it: it is sold, it is paid for, or a date goes by.

    Raises: ValueError, where nothing of the kind happens.
    """
    label, record = former.kind.label, former.record
    if label == "product":
        stock = int(record["stock_on_hand"]) + 1
        return {"stock_on_hand": float(stock), "available_stock": stock, "actual_available_stock": stock}
    if label in _OWED:
        return {_OWED[label]: record[_OWED[label]] + 1}
    if label in _DUE:
        return {"status": "overdue"}
    message = f"nothing happens to a {label} by itself: give the fields"
    raise ValueError(message)
