"""What a campaign sends: signed webhooks with everything that goes wrong with them, and a history of every answer on disk.

Records are products and invoices whose ids begin with own-: few enough that versions of one meet, and some come a week late.
"""

from __future__ import annotations

import collections
import json
import os
import queue
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from common.flows import receive
from tests.chaos.dress import BOOM, KILLER
from tests.chaos.field import Field
from tests.chaos.gateway import Answer, request
from tests.conftest import ORGANIZATION, SECRET
from tests.make import a_request, an_invoice, an_item, signed

RECORDS = 40
COPIES = 3
LATE = 0.3  # share of versions that come late
BEGINNING = datetime(2026, 6, 1, tzinfo=UTC)
ANSWER_SECONDS = 6.0
PAUSE = 0.15
PATIENCE = 40.0  # seconds after the end in which what was not acknowledged is sent again


class Sent(NamedTuple):
    """One delivery: the ids of its events, and what must become of them."""

    path: str
    body: bytes
    headers: dict[str, str]
    ids: tuple[str, ...]
    fates: tuple[str, ...]  # good, poison or quarantined


class History:
    """Every invocation and every answer, one line each, on disk before the sender goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a")
        self._lock = threading.Lock()

    def write(self, what: str, sent: Sent, **more: Any) -> None:
        """Write it down, and have the disk say so."""
        line = json.dumps({"t": round(time.time(), 3), "op": what, "path": sent.path, "ids": sent.ids, "fates": sent.fates, **more})
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Nothing more is written."""
        self._file.close()

    def read(self) -> list[dict[str, Any]]:
        """All of it."""
        with self._lock:
            return [json.loads(line) for line in self.path.read_text().splitlines()]


class Load:
    """Senders that go on until they are stopped."""

    def __init__(
        self, field: Field, history: History, *, rate: float, poison: float, killers: int, seed: int, senders: int = 6
    ) -> None:
        self.in_flight = 0
        self.unanswered: list[Sent] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.odd: list[str] = []
        self._field = field
        self._history = history
        self._chance = random.Random(f"load {seed}")
        self._rate = rate
        self._poison = poison
        self._killers = killers
        self._next_killer = time.monotonic() + 1.0
        self._number = 0
        self._clock = BEGINNING
        self._work: queue.Queue[Sent | None] = queue.Queue(2 * senders)
        self._enough = threading.Event()
        self._give_up = float("inf")
        self._lock = threading.Lock()
        self._senders = [threading.Thread(target=self._send, args=(number,), daemon=True) for number in range(senders)]
        self._maker = threading.Thread(target=self._make, daemon=True)

    def start(self) -> None:
        """Begin."""
        for thread in (*self._senders, self._maker):
            thread.start()

    def stop(self) -> None:
        """Begin nothing new; what is not acknowledged is sent again for a while."""
        self._enough.set()
        self._give_up = time.monotonic() + PATIENCE
        self._maker.join(30)
        for _ in self._senders:
            self._work.put(None)
        for thread in self._senders:
            thread.join(PATIENCE + 30)

    # Making

    def _make(self) -> None:
        due = time.monotonic()
        while not self._enough.is_set():
            for sent in self._next():
                while not self._enough.is_set():
                    try:
                        self._work.put(sent, timeout=0.2)
                        break
                    except queue.Full:
                        due = time.monotonic()
            due = max(due + 1 / self._rate, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))

    def _next(self) -> list[Sent]:
        self._number += 1
        if self._killers and time.monotonic() > self._next_killer:
            self._killers -= 1
            self._next_killer = time.monotonic() + 12
            return [self._poisonous("killers", KILLER)]
        dice = self._chance.random()
        if dice < self._poison:
            return [self._poisonous("poison", BOOM)]
        dice = self._chance.random()
        for share, name, make in (
            (0.03, "wrong shape", lambda: [self._wrong()]),
            (0.09, "batches", lambda: [self._batch()]),
            (0.08, "ties", self._tie),
            (0.10, "duplicates", lambda: [self._single()] * COPIES),
        ):
            if (dice := dice - share) < 0:
                self.counts[name] += 1
                return make()
        return [self._single()]

    def _poisonous(self, what: str, name: str) -> Sent:
        self.counts[what] += 1
        return self._sent("products", an_item(self._own("poison"), self._stamp(), name=name), ["poison"])

    def _tie(self) -> list[Sent]:
        """Two contents of one second; half of them the last that is ever heard of their record."""
        record, at = self._chance.choice((self._record(), self._own("tie"))), self._stamp()
        return [self._sent("products", self._item(record, at), ["good"]) for _ in range(2)]

    def _single(self) -> Sent:
        record, at = self._record(), self._stamp()
        if self._chance.random() < 0.06:
            body = {**self._item(record, at), "event_type": "item.deleted"}
            return self._sent("products", body, ["good"])
        if self._chance.random() < 0.5:
            return self._sent("products", self._item(record, at), ["good"])
        return self._sent("invoices", self._invoice(record, at), ["good"])

    def _wrong(self) -> Sent:
        record, at = self._own("wrong"), self._stamp()
        kind = self._chance.randrange(4)
        if kind == 0:
            return self._sent("products", json.dumps(self._item(record, at)).encode()[:-20], ["quarantined"])
        if kind == 1:
            return self._sent("products", self._item(record, "2199-12-31T23:59:59Z"), ["quarantined"])
        if kind == 2:
            return self._sent("invoices", {"organization_id": "1", **self._invoice(record, at)}, ["quarantined"])
        return self._sent("products", an_item(record, at, rate={"amount": [1]}), ["quarantined"])

    def _batch(self) -> Sent:
        events, fates = [], []
        for position in range(self._chance.randint(2, 12)):
            is_poison = self._chance.random() < self._poison
            record = self._own("poison") if is_poison else self._record()
            data = an_item(record, self._stamp(), name=BOOM) if is_poison else self._item(record, self._stamp())
            said = {"event_type": "item.updated", "entity_type": "product", "organization_id": ORGANIZATION}
            events.append({"event_id": f"{self._own('event')}-{position}", **said, "data": data})
            fates.append("poison" if is_poison else "good")
            self.counts["poison"] += is_poison
        return self._sent("products", {"batch_id": self._own("batch"), "events": events}, fates)

    def _record(self) -> str:
        return f"own-{self._chance.randint(1, RECORDS)}"

    def _own(self, what: str) -> str:
        self._number += 1
        return f"own-{what}-{self._number}"

    def _stamp(self) -> str:
        """Mostly later than all before, by a minute; else up to a week too late."""
        self._clock += timedelta(minutes=1)
        late = timedelta(seconds=self._chance.randint(0, 7 * 24 * 3600)) if self._chance.random() < LATE else timedelta()
        return (self._clock - late).isoformat().replace("+00:00", "Z")

    def _item(self, record: str, at: str) -> dict[str, Any]:
        return an_item(record, at, name=f"{at} {self._chance.random()}")

    def _invoice(self, record: str, at: str) -> dict[str, Any]:
        return an_invoice(record, at, lines=self._chance.randint(0, 4), reference_number=str(self._chance.random()))

    def _sent(self, path: str, body: Any, fates: list[str]) -> Sent:
        asked = signed(a_request(path, body), SECRET)
        ids = tuple(str(row["id"]) for row in receive.read(asked).rows)
        if len(ids) != len(fates):
            message = f"{len(fates)} events were made, {len(ids)} are read"
            raise AssertionError(message)
        self.counts["events"] += len(ids)
        self.counts["deliveries"] += 1
        return Sent(asked.path, asked.body, dict(asked.headers), ids, tuple(fates))

    # Sending

    def _send(self, number: int) -> None:
        chance = random.Random(number)
        while (sent := self._work.get()) is not None:
            self._history.write("invoke", sent)
            self._insist(sent, chance)

    def _insist(self, sent: Sent, chance: random.Random) -> None:
        while True:
            with self._lock:
                self.in_flight += 1
            began = time.monotonic()
            answer = request(
                chance.choice(self._field.gateways).port, "POST", sent.path, sent.body, sent.headers, seconds=ANSWER_SECONDS
            )
            with self._lock:
                self.in_flight -= 1
            if self._is_over(sent, answer, time.monotonic() - began):
                return
            if time.monotonic() > self._give_up:
                self.unanswered.append(sent)
                return
            time.sleep(PAUSE)

    def _is_over(self, sent: Sent, answer: Answer, took: float) -> bool:
        status, retry_after, body = answer
        if status == 0:
            self.counts["unknown"] += 1
            self._history.write("info", sent)
            return False
        if status == 202:
            self.counts["acknowledged"] += len(sent.ids)
            self._history.write("ok", sent, seconds=round(took, 3))
            if "event_id" in body and body["event_id"] != sent.ids[0]:
                self.odd.append(f"event {sent.ids[0]} was acknowledged as {body['event_id']}")
            return True
        self.counts[f"refused {status}"] += 1
        self._history.write("fail", sent, status=status)
        if status != 503 or not retry_after:
            self.odd.append(f"{sent.path} was answered {status} {str(body)[:200]}")
            return status != 503
        return False
