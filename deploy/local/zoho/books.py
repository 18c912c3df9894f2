"""The books of an invented organization: records of every entity as Zoho's detail answers show them, and their history.

The same seed tells the same history, to the byte. What Zoho sends is reproduced with its oddities: ids beyond 2^53 as
text, "" where others say null, numbers as text, rendered copies of amounts, local time without a colon in its offset.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from deploy.local.zoho.kinds import KINDS, Change, Kind, Record, Standing, stamp
from deploy.local.zoho.making import CITIES, COMPANIES, GOODS, MAKERS, PEOPLE, REMARKS, STATUSES

START = datetime(2024, 6, 9, 6, 45, 44, tzinfo=UTC)
ZONE = timezone(timedelta(hours=3))
_PEOPLE_AND_GOODS = {"contact_id", "item_id", "user_id", "pricebook_id"}


class Books:
    """An organization at work: each call of `change` is the next thing that somebody did."""

    def __init__(self, seed: int, organization: str, *, labels: Sequence[str] = (), start: datetime = START) -> None:
        self.organization = organization
        self.now = start
        self.zone = ZONE  # stamps are written in the organization's own time
        self._chance = random.Random(f"books {seed}")  # noqa: S311 - repeatable is the point
        self.labels = tuple(label for label in KINDS if not labels or label in labels)
        self._prefix = self._chance.randrange(100_000, 1_000_000)  # other seeds have other ids
        self._number = 0
        self.standing: dict[str, Standing] = {label: Standing() for label in KINDS}

    def change(self, *, delete: float = 0.02) -> Change:
        """What happens next, up to a minute and a half later."""
        self.now += timedelta(seconds=self._chance.randrange(1, 90))
        return self.happen(delete=delete)

    def happen(self, *, delete: float = 0.02, labels: Sequence[str] = (), new: float = 0.45) -> Change:
        """A new record, with probability `new`, an edit of a former one, or, with probability `delete`, its deletion."""
        label = self._chance.choice(labels or self.labels)
        standing = self.standing[label]
        if not standing or self._chance.random() < new:
            return self.add(label)
        former = standing[self._chance.randrange(len(standing))]
        if self._chance.random() < delete:
            return self.remove(former)
        return self._keep(self._saved(former)) if self._chance.random() < 0.05 else self.again(former)  # noqa: PLR2004 - a share

    def again(self, former: Change, **fields: Any) -> Change:
        """Another edit of the same record at `now`: in the same second, only the source knows which of the two came last."""
        return self._keep(self._edited(former, fields))

    def quietly(self, former: Change, **fields: Any) -> Change:
        """What other documents do to a record: fields change, the time of its last change does not."""
        return self._keep(replace(former, operation="update", record=former.record | fields))

    def remove(self, former: Change) -> Change:
        """Its deletion: Zoho sends the last version once more, under its own time."""
        self.standing[former.kind.label].remove(former)
        return replace(former, operation="delete")

    def add(self, label: str) -> Change:
        """A new record that stands from now on."""
        return self._keep(self.create(label))

    def some(self, label: str, count: int) -> list[Change]:
        """As many of the standing records, or all."""
        standing = self.standing[label]
        return [standing[position] for position in self._chance.sample(range(len(standing)), min(count, len(standing)))]

    def tick(self, most: int) -> None:
        """Let a few seconds pass, or none."""
        self.now += timedelta(seconds=self._chance.randrange(most))

    def keep(self, change: Change) -> None:
        """Let one that `create` made stand after all."""
        self._keep(change)

    @property
    def made(self) -> int:
        """How many ids and remarks were made: the next id is made of it."""
        return self._number

    def go_on(self, seed: int, made: int) -> None:
        """Let chance begin anew with a seed, where so many ids and remarks were made before."""
        self._chance = random.Random(f"going on {seed}")  # noqa: S311 - repeatable is the point
        self._number = made

    def create(self, label: str) -> Change:
        """A new record that nothing else will happen to."""
        kind = KINDS[label]
        identifier = self.new_id()
        record = {kind.id_key: identifier, **MAKERS[label](self), "created_time": self._stamp()}
        self._finish(kind, record)
        return Change(kind, identifier, "create", self.now, record)

    def _saved(self, former: Change) -> Change:
        """The same once more under a new time, as when somebody opens a record and saves it."""
        if former.kind.version_key is None:
            return self._edited(former, {})
        return Change(former.kind, former.id, "update", self.now, former.record | {former.kind.version_key: self._stamp()})

    def _edited(self, former: Change, fields: Record) -> Change:
        record = copy.deepcopy(former.record)
        for key in ("rate", "amount", "credit_limit"):
            if isinstance(record.get(key), (int, float)):
                record[key] = self.money()
        if "status" in record:
            record["status"] = self._chance.choice(("active", "inactive") if former.kind.id_key in _PEOPLE_AND_GOODS else STATUSES)
        if record.get("line_items"):
            record["line_items"] = record["line_items"][: self._chance.randrange(1, 4)]
        record |= fields
        self._finish(former.kind, record)
        return Change(former.kind, former.id, "update", self.now, record)

    def _finish(self, kind: Kind, record: Record) -> None:
        self._number += 1
        said = f"{self.one_of(REMARKS)} ({self._number})"
        record[kind.remark_key] = f"https://contacts.zoho.com/file?ID={self._number:08x}&fs=thumb" if kind.label == "user" else said
        if kind.version_key:
            record[kind.version_key] = self._stamp()

    def _keep(self, change: Change) -> Change:
        self.standing[change.kind.label].put(change)
        return change

    def new_id(self) -> str:
        """An id nobody else has: text, and too large for a double."""
        self._number += 1
        return f"{self._prefix}{self._number:012}"

    def _stamp(self) -> str:
        return stamp(self.now, self.zone)

    # What records are made of

    def one_of(self, things: Sequence[Any]) -> Any:
        """Any of `things`."""
        return self._chance.choice(things)

    def id_of(self, label: str) -> str:
        """The id of a record that stands; an invented one where there is none, as of a record we were never told of."""
        standing = self.standing[label]
        return standing[self._chance.randrange(len(standing))].id if standing else self.new_id()

    def money(self) -> float | int:
        """An amount, whole now and then."""
        amount = self._chance.randrange(50, 500_000)
        return amount if amount % 4 == 0 else amount / 100

    def number(self, least: int, most: int) -> int:
        """A whole number."""
        return self._chance.randint(least, most)

    def day(self) -> str:
        """A day in the last month."""
        return (self.now - timedelta(days=self.number(0, 30))).strftime("%Y-%m-%d")

    def address(self) -> Record:
        """An address as details have it: `zip` is text or a number."""
        city, street2, code = self.one_of(CITIES)
        return {
            "attention": self.one_of(PEOPLE), "address": f"{self.number(1, 99)} Harbour Rd", "street2": street2, "city": city,
            "state": "", "zip": code, "country": "", "phone": "+46 40 123 456", "fax": "",
        }  # fmt: skip

    def money_of(self) -> Record:
        """The currency that a document is in; now and then the rate of exchange is missing, which Zoho writes as ""."""
        return {
            "currency_id": "982000000000190", "currency_code": self.one_of(("SEK", "USD", "IQD")),
            "exchange_rate": self.one_of((1, 1.0, 1300.5, "")), "price_precision": 2,
        }  # fmt: skip

    def custom(self) -> list[Record]:
        """Fields of the organization's own."""
        return [{"customfield_id": "982000000091001", "label": "Shelf", "value": f"B-{self.number(1, 40)}"}]

    def lines(self, **more: Any) -> list[Record]:
        """One to four lines of a document."""
        return [self._line(more) for _ in range(self.number(1, 4))]

    def _line(self, more: Record) -> Record:
        quantity, rate = self.number(1, 12), self.money()
        return {
            "line_item_id": self.new_id(), "item_id": self.id_of("product"), "name": self.one_of(GOODS), "sku": "",
            "description": "", "unit": self.one_of(("pcs", "m", "")), "quantity": quantity, "rate": rate,
            "bcy_rate": rate, "discount": self.one_of((0, "5%", "")), "tax_id": "", "tax_name": "", "tax_type": "tax",
            "tax_percentage": self.one_of((0, 5, "15")),
            "item_total": round(quantity * rate, 2), "account_id": "982000000034003", "line_item_taxes": [], **more,
        }  # fmt: skip

    def document(self, number: str, party: str, **more: Any) -> Record:
        """What invoices, orders, bills and credit notes have in common."""
        lines = self.lines()
        total = round(sum(line["item_total"] for line in lines), 2)
        return {
            number: f"{number[:2].upper()}-{self.number(1, 99_999):05}", f"{party}_id": self.id_of(party),
            f"{party}_name": self.one_of(COMPANIES), "reference_number": "", "date": self.day(), "status": self.one_of(STATUSES),
            "salesperson_id": self.one_of(("-1", "")), "salesperson_name": "Others", **self.money_of(),
            "discount": self.one_of((0, "10%", "")), "sub_total": total, "tax_total": 0, "total": total, "documents": [],
            "custom_fields": self.custom(), "page_width": "8.27in", "page_height": "11.69in", **more, "line_items": lines,
        }  # fmt: skip
