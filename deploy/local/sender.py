"""Sends deliveries over HTTP as a fleet of Zoho's servers would, and says what the receiver made of each."""

from __future__ import annotations

import collections
import http.client
import json
import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from deploy.local.zoho.emitter import Delivery, Expected

TRIES = 10
PAUSE_SECONDS = 0.5
ANSWER_SECONDS = 30.0
_LATER = {429, 502, 503, 504}


@dataclass(frozen=True)
class Reply:
    """How a delivery was answered; `tries` above one means that an earlier try may have been stored, too."""

    delivery: Delivery
    status: int
    body: dict[str, Any]
    seconds: float
    tries: int

    @property
    def verdicts(self) -> list[Expected]:
        """What the answer says of each event, in no particular order; none for an answer that says nothing."""
        if self.status in {401, 403}:
            return [Expected.REFUSED] * len(self.delivery.events)
        if "accepted" in self.body:
            return [Expected.STORED] * self.body["accepted"] + [Expected.QUARANTINED] * self.body["rejected"]
        if "queued" not in self.body:
            return []
        if self.body["queued"]:
            return [Expected.STORED]
        return [Expected.DUPLICATE if "already known" in self.body.get("message", "") else Expected.QUARANTINED]


class Sender:
    """Sends to one address over at most `connections` kept connections; `replies` grows as answers come in."""

    def __init__(self, url: str, connections: int, *, trace: str = "") -> None:
        self.replies: list[Reply] = []
        self.lost: Exception | None = None
        self._host = urlsplit(url).netloc
        self._trace = trace
        self._work: queue.Queue[Delivery | None] = queue.Queue(connections * 4)
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._run, name="sender", daemon=True) for _ in range(connections)]

    def start(self, deliveries: Iterable[Delivery]) -> None:
        """Begin to send, in order as far as several connections can."""
        for thread in (*self._threads, threading.Thread(target=self._feed, args=(deliveries,), name="feeder", daemon=True)):
            thread.start()

    @property
    def is_done(self) -> bool:
        """Whether everything was answered, or sending was given up.

        Raises: OSError, when an address did not answer at all, however often it was tried.
        """
        if self.lost is not None:
            message = f"{self._host} does not answer: {self.lost}"
            raise OSError(message) from self.lost
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Give up on what was not sent yet."""
        self._enough.set()

    def _feed(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._put(delivery)
        for _ in self._threads:
            self._put(None)

    def _put(self, item: Delivery | None) -> None:
        while not self._enough.is_set():
            try:
                self._work.put(item, timeout=PAUSE_SECONDS)
            except queue.Full:
                continue
            return

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=ANSWER_SECONDS)
        try:
            while not self._enough.is_set():
                try:
                    delivery = self._work.get(timeout=PAUSE_SECONDS)
                except queue.Empty:
                    continue
                if delivery is None:
                    return
                self.replies.append(self._sent(connection, delivery))
        except (OSError, http.client.HTTPException) as error:
            self.lost = error
            self._enough.set()
        finally:
            connection.close()

    def _sent(self, connection: http.client.HTTPConnection, delivery: Delivery) -> Reply:
        """The answer. What was not stored, or of which that is not known, is sent again: receivers know duplicates."""
        for tries in range(1, TRIES + 1):
            began = time.perf_counter()
            try:
                status, body = self._ask(connection, delivery)
            except (OSError, http.client.HTTPException):
                connection.close()
                if tries == TRIES or self._enough.is_set():
                    raise
            else:
                if status not in _LATER or tries == TRIES:
                    return Reply(delivery, status, body, time.perf_counter() - began, tries)
            time.sleep(PAUSE_SECONDS)
        raise AssertionError  # the last try returns or raises

    def _ask(self, connection: http.client.HTTPConnection, delivery: Delivery) -> tuple[int, dict[str, Any]]:
        request = delivery.request
        headers = dict(request.headers)
        if self._trace:
            headers["traceparent"] = f"00-{self._trace}-{delivery.number:016x}-01"
        connection.request(request.method, request.path + (f"?{request.query}" if request.query else ""), request.body, headers)
        answer = connection.getresponse()
        text = answer.read()
        try:
            body = json.loads(text)
        except ValueError:
            body = {}
        return answer.status, body if isinstance(body, dict) else {}


def surprises(replies: Iterable[Reply]) -> list[str]:
    """Answers that were not as expected, in words.

    A delivery and its duplicates are looked at together: over several connections either may come first.
    """
    given: dict[int, list[Reply]] = collections.defaultdict(list)
    for reply in replies:
        given[reply.delivery.number].append(reply)
    return [said for group in given.values() if all(reply.tries == 1 for reply in group) for said in _surprise(group)]


def _surprise(group: list[Reply]) -> list[str]:
    first = group[0].delivery
    wanted: collections.Counter[Expected] = collections.Counter()
    for reply in group:
        for event in reply.delivery.events:
            # The answer to a batch counts what was taken in, known or not.
            known_in_batch = first.form == "batch" and event.expected is Expected.DUPLICATE
            wanted[Expected.STORED if event.is_late or known_in_batch else event.expected] += 1
    found = collections.Counter(verdict for reply in group for verdict in reply.verdicts)
    if wanted == found:
        return []
    statuses = ", ".join(str(status) for status in sorted({reply.status for reply in group}))
    where = f"delivery {first.number} ({first.form} to {first.request.path})"
    return [f"{where}: wanted {_words(wanted)}, got {_words(found)} (status {statuses})"]


def _words(counted: collections.Counter[Expected]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counted.items())) or "nothing"
