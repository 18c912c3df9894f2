"""Rounds: a day or so of changes in the stand-in's own books, and the webhooks that tell of them, some of them lost.

Whoever sends them knows what is expected of each, and the stand-in shows what must stand when all is done.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from common.rules.http import Request
from deploy.local.zoho import shapes
from deploy.local.zoho.emitter import FORMS, Delivery, Emitter, Event, Expected, Faults
from deploy.local.zoho.kinds import KINDS, Change
from deploy.local.zoho.store import Store

# As many go as come: a stand-in that lives through many rounds stays of a size.
NEW, DELETED = 0.12, 0.12
# Ties, and records that do not say when they changed, cost a call each to be read again.
FAULTS = Faults(ties=0.015, deletes=DELETED)
LABELS = tuple(label for label, kind in KINDS.items() for _ in range(20 if kind.version_key else 1))
SECONDS_BETWEEN = 89  # at most, between two changes


@dataclass(frozen=True)
class Round:
    """What is to be sent, in order, and what nobody will be told of."""

    sent: list[Delivery]
    lost: list[Delivery]


def played(
    store: Store, seed: int, organization: str, count: int, now: datetime, *, secret: str, scheme: str, loss: float
) -> Round:  # fmt: skip
    """Let things happen in the books until there are `count` deliveries. Whoever calls it holds the stand-in's lock."""
    emitter = Emitter(seed, organization, secret, scheme=scheme, books=_Shown(store, seed, count, now))
    deliveries = list(emitter.deliveries(count, FAULTS))
    chance = random.Random(f"losses {seed}")  # noqa: S311 - repeatable is the point
    lost = {number for number in sorted(_losable(deliveries)) if chance.random() < loss}
    return Round([each for each in deliveries if each.number not in lost], [each for each in deliveries if each.number in lost])


def _losable(deliveries: list[Delivery]) -> set[int]:
    """The numbers of deliveries whose loss a list makes up for: of no deletion, and of no two edits in one second."""
    seconds = collections.Counter((event.id, event.at) for each in _originals(deliveries) for event in each.events)
    return {
        each.number
        for each in _originals(deliveries)
        for event in each.events[:1]
        if each.form in FORMS
        and event.expected is Expected.STORED
        and event.operation != "delete"
        and seconds[event.id, event.at] == 1
    }


def _originals(deliveries: list[Delivery]) -> list[Delivery]:
    """Each delivery once."""
    return list({each.number: each for each in reversed(deliveries)}.values())


class _Shown:
    """The stand-in's books, to an emitter: what happens in them is shown at once, and told of whole, as webhooks do.

    Times go on from the newest one known, and end before now.
    """

    labels = LABELS

    def __init__(self, store: Store, seed: int, count: int, now: datetime) -> None:
        self._store = store
        self._made: dict[str, Change] = {}
        self._chance = random.Random(f"times {seed}")  # noqa: S311 - repeatable is the point
        store.books.go_on(seed, store.books.made)
        store.books.now = min(store.newest, now).replace(microsecond=0)
        # A batch is up to a dozen changes, so twice as many as deliveries are room enough.
        self._longest = min(SECONDS_BETWEEN, int((now - store.books.now).total_seconds()) // (2 * count))

    def change(self, *, delete: float) -> Change:
        books = self._store.books
        books.now += timedelta(seconds=self._chance.randint(min(1, self._longest), self._longest))
        return self._told(lambda: books.happen(delete=delete, labels=LABELS, new=NEW))

    def again(self, former: Change) -> Change:
        books = self._store.books
        return self._told(lambda: books.again(books.standing[former.kind.label].get(former.id) or former))

    def create(self, label: str) -> Change:
        change = self._store.books.create(label)
        self._made[change.id] = change
        return _whole(change)

    def keep(self, change: Change) -> None:
        made = self._made[change.id]
        self._store.books.keep(made)
        self._store.told(lambda: [made])

    def _told(self, act: Callable[[], Change]) -> Change:
        (change,) = self._store.told(lambda: [act()])
        return _whole(change)


def _whole(change: Change) -> Change:
    return replace(change, record=shapes.detail(change.kind, change.record))


# Between processes --------------------------------------------------------------------------------------------------


def written(delivery: Delivery) -> dict[str, Any]:
    """A delivery as JSON can hold it; bytes of bodies become the letters of Latin-1."""
    request = delivery.request
    events = [
        [event.kind.label, event.id, event.at.isoformat(), event.operation, event.expected, event.is_late]
        for event in delivery.events
    ]
    return {
        "number": delivery.number, "form": delivery.form, "method": request.method, "path": request.path, "query": request.query,
        "headers": request.headers, "body": request.body.decode("latin-1"), "events": events,
    }  # fmt: skip


def read(said: dict[str, Any]) -> Delivery:
    """The delivery that `written` wrote."""
    headers = tuple((name, value) for name, value in said["headers"])
    request = Request(said["method"], said["path"], said["query"], headers, said["body"].encode("latin-1"))
    events = tuple(
        Event(KINDS[label], identifier, datetime.fromisoformat(at), operation, Expected(expected), is_late)
        for label, identifier, at, operation, expected, is_late in said["events"]
    )
    return Delivery(said["number"], said["form"], request, events)
