"""The Zoho stand-in's webhooks: signed deliveries in every form Zoho is known to use, with the faults that happen.

Each delivery says what a receiver must make of it, so that whoever sends it can hold the receiver to account.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from common import lookup
from common.rules.http import Request
from deploy.local.zoho.books import START, Books
from deploy.local.zoho.kinds import KINDS, Change, Kind

JSON = "application/json"
FORM = "application/x-www-form-urlencoded;charset=UTF-8"


class Expected(StrEnum):
    """What must become of an event."""

    STORED = "stored"  # kept, and applied or found to be superseded
    DUPLICATE = "duplicate"  # known already
    QUARANTINED = "quarantined"  # kept, but never applied
    REFUSED = "refused"  # not let in


@dataclass(frozen=True)
class Event:
    """One event of a delivery; `is_late` when only applying it can tell that it must go into quarantine."""

    kind: Kind
    id: str
    at: datetime
    operation: str
    expected: Expected
    is_late: bool = False


@dataclass(frozen=True)
class Delivery:
    """One request as Zoho would send it, and what is expected of it."""

    number: int  # a duplicate has the number of its original
    form: str
    request: Request
    events: tuple[Event, ...]  # more than one, or in the form `batch`: a batch

    @property
    def status(self) -> int:
        """The status that answers it."""
        return 401 if self.events[0].expected is Expected.REFUSED else 202


@dataclass(frozen=True)
class Faults:
    """How often things go otherwise than they should: each is the share of deliveries that it happens to."""

    duplicates: float = 0.08
    disorder: float = 0.10
    ties: float = 0.03  # two edits in one second
    poison: float = 0.04
    forged: float = 0.02
    batches: float = 0.03
    deletes: float = 0.02


NO_FAULTS = Faults(0, 0, 0, 0, 0, 0, 0)
BATCH = 12  # at most, events in a batch
LATE = 30  # at most, how many places a delivery comes too late


class Happening(Protocol):
    """Books in which things happen."""

    @property
    def labels(self) -> Sequence[str]:
        """The entities that they have."""

    def change(self, *, delete: float) -> Change:
        """What happens next."""

    def again(self, former: Change) -> Change:
        """Another edit in the same second."""

    def create(self, label: str) -> Change:
        """A record that the books do not keep."""

    def keep(self, change: Change) -> None:
        """Keep it after all."""


class Emitter:
    """Sends what happens in invented books, or in those it is given; the same seed sends the same, to the byte.

    `labels` narrows it to some entities; `form`, `method` and `scheme` choose what else is left to chance. Of the
    schemes in common/signatures only those without a time stamp, such as zoho, repeat to the byte.
    """

    def __init__(
        self, seed: int, organization: str, secret: str, *, scheme: str = "zoho", labels: Sequence[str] = (),
        form: str | None = None, method: str | None = None, start: datetime = START, books: Happening | None = None,
    ) -> None:  # fmt: skip
        self._books: Happening = books or Books(seed, organization, labels=labels, start=start)
        self._chance = random.Random(f"deliveries {seed}")  # noqa: S311 - repeatable is the point
        self._organization = organization
        self._secret = secret
        self._sign: Callable[[str, Request], dict[str, str]] = lookup.find("signatures", scheme).sign
        self._form = form
        self._method = method
        self._number = 0

    def deliveries(self, count: int, faults: Faults = NO_FAULTS) -> Iterator[Delivery]:
        """The next `count` deliveries in the order in which they arrive; going on tells more of the same history."""
        arriving: list[tuple[int, int, Delivery]] = []
        seen: set[int] = set()
        planned = position = 0
        for _ in range(count):
            # One is sent when nothing that is yet to be written can overtake it any more.
            while planned < count and (not arriving or arriving[0][0] > position):
                for place, delivery in self._planned(position, faults):
                    heapq.heappush(arriving, (place, planned, delivery))
                    planned += 1
                position += 1
            delivery = heapq.heappop(arriving)[2]
            yield _repeated(delivery) if delivery.number in seen else delivery
            seen.add(delivery.number)

    def tell(self, change: Change) -> Delivery:
        """The delivery of a change in somebody else's books."""
        return self._single(change)

    def _planned(self, position: int, faults: Faults) -> Iterator[tuple[int, Delivery]]:
        """What is written at a position, with the place at which it arrives."""
        for delivery in self._written(faults):
            late = self._chance.randint(1, LATE) if self._happens(faults.disorder) else 0
            yield position + late, delivery
            if self._happens(faults.duplicates):
                yield position + self._chance.randint(0, LATE), delivery

    def _written(self, faults: Faults) -> Iterator[Delivery]:
        if self._happens(faults.poison):
            yield self._poisoned()
        elif self._happens(faults.forged):
            yield self._forged()
        elif self._happens(faults.batches):
            changes = [self._change(faults) for _ in range(self._chance.randint(1, BATCH))]
            yield self._batch(changes)
        else:
            change = self._change(faults)
            yield self._single(change)
            if change.kind.version_key and change.operation != "delete" and self._happens(faults.ties):
                yield self._single(self._books.again(change))

    def _change(self, faults: Faults) -> Change:
        if self._method == "DELETE":
            return replace(self._new(), operation="delete")
        return self._books.change(delete=faults.deletes)

    def _new(self) -> Change:
        return self._books.create(self._chance.choice(self._books.labels))

    def _happens(self, share: float) -> bool:
        return self._chance.random() < share

    # Deliveries

    def _single(self, change: Change) -> Delivery:
        form = self._form or self._chance.choice(tuple(FORMS))
        return self._delivery(form, change, *FORMS[form](change, self._organization), [_event(change, Expected.STORED)])

    def _batch(self, changes: list[Change]) -> Delivery:
        kind = changes[0].kind
        items = [
            {
                "event_id": f"{change.id}-{self._number}-{position}",
                "event_type": f"{change.kind.word}.{change.operation}d",
                "entity_type": change.kind.label,
                "organization_id": self._organization,
                "data": {change.kind.wrapper: rendered(change)},
            }
            for position, change in enumerate(changes)
        ]
        body = _dumps({"batch_id": f"batch-{self._number}", "events": items})
        events = [_event(change, Expected.STORED) for change in changes]
        return self._delivery("batch", replace(changes[0], kind=kind, operation="update"), body, JSON, events)

    def _poisoned(self) -> Delivery:
        change = self._new()
        fitting = [name for name, poison in POISONS.items() if poison.versionless or change.kind.version_key]
        name = self._chance.choice(fitting)
        poison = POISONS[name]
        if poison.expected is Expected.STORED:
            self._books.keep(change)
        event = replace(_event(change, poison.expected), is_late=poison.is_late)
        return self._delivery(name, change, poison.body(change), JSON, [event])

    def _forged(self) -> Delivery:
        change = self._new()
        content = FORMS["default"](change, self._organization)
        honest = self._delivery("default", change, *content, [_event(change, Expected.REFUSED)])
        own = {name.lower() for name in self._sign(self._secret, honest.request)}
        name, spoil = self._chance.choice((("unsigned", None), ("forged", "0"), ("forged", "f")))
        headers = [(key, f"{value[:-2]}{spoil}!" if key in own else value) for key, value in honest.request.headers]
        kept = tuple(pair for pair in headers if spoil or pair[0] not in own)
        return replace(honest, form=name, request=replace(honest.request, headers=kept))

    def _delivery(self, form: str, change: Change, body: bytes, content_type: str, events: list[Event]) -> Delivery:
        self._number += 1
        method = self._method or _method(change, self._chance)
        said = change.operation if change.operation == "delete" and method != "DELETE" else ""
        request = Request(
            method=method,
            path=f"/webhooks/{change.kind.path}",
            query=self._query(change, said),
            headers=(("content-type", content_type), ("user-agent", "ZohoBooks")),
            body=body,
        )
        return Delivery(self._number, form, signed(request, self._sign, self._secret), tuple(events))

    def _query(self, change: Change, said: str) -> str:
        """What people put into a webhook's address, since Zoho's body names neither the event nor the organization."""
        if not said and self._happens(0.5):
            return ""
        return urlencode({"org": self._organization, "event": f"{change.kind.word}.{said or change.operation}d", "note": "é & ü"})


def _event(change: Change, expected: Expected) -> Event:
    return Event(change.kind, change.id, change.at, change.operation, expected)


def _repeated(delivery: Delivery) -> Delivery:
    """A delivery that came before: whatever was kept of it is known by now."""
    kept = tuple(
        event if event.expected is Expected.REFUSED else replace(event, expected=Expected.DUPLICATE, is_late=False)
        for event in delivery.events
    )
    return replace(delivery, events=kept)


def _method(change: Change, chance: random.Random) -> str:
    if change.operation == "delete":
        return chance.choice(("DELETE", "POST"))
    return "PUT" if change.operation == "update" and chance.random() < 0.3 else "POST"  # noqa: PLR2004 - a share


def signed(request: Request, sign: Callable[[str, Request], dict[str, str]], secret: str) -> Request:
    """The request with the headers that make it authentic."""
    own = sign(secret, request)
    kept = tuple(pair for pair in request.headers if pair[0] not in {name.lower() for name in own})
    return replace(request, headers=(*kept, *((name.lower(), value) for name, value in own.items())))


def newest(deliveries: Iterable[Delivery]) -> dict[tuple[str, str], tuple[datetime, bool]]:
    """When each record that says when it changed last did so, and whether that was its end, by (label, id)."""
    found: dict[tuple[str, str], tuple[datetime, bool]] = {}
    for event in (event for delivery in deliveries for event in delivery.events):
        if event.expected is Expected.STORED and event.kind.version_key:
            key, state = (event.kind.label, event.id), (event.at, event.operation == "delete")
            found[key] = max(found.get(key, state), state)
    return found


# Forms of a body ----------------------------------------------------------------------------------------------------


def rendered(change: Change) -> dict[str, Any]:
    """A record as a default payload shows it: every amount once more for the reader's eye."""
    record = dict(change.record)
    for key in ("rate", "total", "balance", "amount", "sub_total"):
        if isinstance(record.get(key), (int, float)):
            record[f"{key}_formatted"] = f"SEK{record[key]:,.2f}"
    if change.kind.version_key:
        record["last_modified_time_formatted"] = change.at.strftime("%d %b %Y %H:%M")
    return record


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _default(change: Change, _organization: str) -> tuple[bytes, str]:
    return _dumps({change.kind.wrapper: rendered(change)}), JSON


def _mislabelled(change: Change, _organization: str) -> tuple[bytes, str]:
    return _dumps({change.kind.wrapper: rendered(change)}), FORM


def _chosen_fields(change: Change, _organization: str) -> tuple[bytes, str]:
    plain = {key: value for key, value in change.record.items() if not isinstance(value, (dict, list))}
    return urlencode({key: value if isinstance(value, str) else json.dumps(value) for key, value in plain.items()}).encode(), FORM


def _wrapped_form(change: Change, _organization: str) -> tuple[bytes, str]:
    return urlencode({"organization": "x", change.kind.wrapper: _dumps(rendered(change))}).encode(), FORM


def _json_string_form(change: Change, organization: str) -> tuple[bytes, str]:
    return urlencode({"JSONString": _default(change, organization)[0]}).encode(), FORM


def _json_string_member(change: Change, organization: str) -> tuple[bytes, str]:
    return _dumps({"JSONString": _default(change, organization)[0].decode()}), JSON


def _json_as_form(change: Change, organization: str) -> tuple[bytes, str]:
    return quote(_default(change, organization)[0], safe="").encode() + b"=", FORM


def _raw(change: Change, _organization: str) -> tuple[bytes, str]:
    # Placeholders in a raw body stand without quotation marks, so its ids are numbers.
    record = {key: int(value) if key == change.kind.id_key else value for key, value in change.record.items()}
    return _dumps(record), "text/plain"


def _envelope(change: Change, organization: str) -> tuple[bytes, str]:
    said = {"event_type": f"{change.kind.word}.{change.operation}d", "entity_id": change.id, "organization_id": organization}
    return _dumps(said | {"data": {change.kind.wrapper: rendered(change)}}), JSON


FORMS: dict[str, Callable[[Change, str], tuple[bytes, str]]] = {
    "default": _default,
    "form": _chosen_fields,
    "wrapped_form": _wrapped_form,
    "json_string": _json_string_form,
    "json_member": _json_string_member,
    "json_as_form": _json_as_form,
    "mislabelled": _mislabelled,
    "raw": _raw,
    "envelope": _envelope,
}


# Poison -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Poison:
    """A body that no shape fits, or that looks as if none did."""

    body: Callable[[Change], bytes]
    expected: Expected = Expected.QUARANTINED
    is_late: bool = False  # it can be read, but not applied
    versionless: bool = True  # also for records that do not say when they changed


def _with(change: Change, **fields: Any) -> bytes:
    return _dumps({change.kind.wrapper: rendered(change) | fields})


def _cut_off(change: Change) -> bytes:
    body = _default(change, "")[0]
    return body[: len(body) * 2 // 3]


def _nul(change: Change) -> bytes:
    return _with(change, **{change.kind.remark_key: f"before \x00 after {change.id}"})


POISONS: dict[str, Poison] = {
    "broken_json": Poison(_cut_off),
    "unknown_shape": Poison(lambda change: _dumps({"hello": "world", "number": change.id})),
    "not_an_object": Poison(lambda change: _dumps([change.id, "a list"])),
    "not_a_number": Poison(lambda change: _with(change, rate=float("nan"))),
    "huge_integer": Poison(lambda change: _with(change, rate=10**400)),
    "unreadable_time": Poison(
        lambda change: _with(change, **{change.kind.version_key or "": "the day before yesterday"}), versionless=False
    ),
    "time_to_come": Poison(
        lambda change: _with(change, **{change.kind.version_key or "": "2199-12-31T23:59:59+0300"}), is_late=True, versionless=False
    ),
    "wrong_types": Poison(lambda change: _with(change, created_time={"amount": [1]}), is_late=True),
    "foreign": Poison(lambda change: _dumps({"organization_id": "1", change.kind.wrapper: rendered(change)})),
    "unknown_entity": Poison(lambda change: _dumps({"entity_type": "spaceship", change.kind.wrapper: rendered(change)})),
    "nul_escape": Poison(_nul, Expected.STORED),
}


def kind_of(name: str) -> Kind | None:
    """The record type that goes by a label or by the path of its webhook."""
    wanted = name.strip().lower()
    return next((kind for kind in KINDS.values() if wanted in {kind.label, kind.path, kind.label.replace("_", "-")}), None)
