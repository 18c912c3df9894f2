"""Receive webhooks: verify the raw bytes, read what can be read, store everything in one call, ring, answer 202.

Nothing is believed here and nothing is lost: after a valid signature the event is ours, whatever its body looks like.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from common import entities, log, lookup, settings
from common.errors import (
    AppError,
    Conflict,
    Invalid,
    TooLarge,
    Unauthentic,
    Unavailable,
    Unknown,
    WrongEncoding,
    WrongMethod,
)
from common.flows import ring
from common.log import redact
from common.rules import keys
from common.rules.entity import Entity
from common.rules.http import Request
from common.sources import zoho
from common.sources.zoho import Reading
from common.stores import inbox
from common.stores.inbox import Stored

METHODS = ("POST", "PUT", "DELETE")
GROUP = 1000


@dataclass(frozen=True)
class Letter:
    """One request, read: the rows to store, and what their senders are told."""

    rows: list[dict[str, Any]]
    readings: list[Reading]
    batch: bool


class _Refusals:
    """How many requests were turned away and are not yet counted in the database."""

    SECONDS = 10.0  # a flood of refused requests must not become a flood of writes

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._told = 0.0

    def add(self) -> None:
        """One more; told to the database by the next event that is stored, or alone when none was for a while."""
        with self._lock:
            self._count += 1
            is_late = time.monotonic() - self._told > self.SECONDS
            self._told = time.monotonic() if is_late else self._told
        if is_late:
            with contextlib.suppress(AppError), self.told() as count:
                inbox.receive([], count)

    def take(self) -> int:
        """Those not yet counted; they are the caller's now."""
        with self._lock:
            count, self._count = self._count, 0
            return count

    def give_back(self, count: int) -> None:
        """They could not be told to the database after all."""
        with self._lock:
            self._count += count

    @contextlib.contextmanager
    def told(self) -> Iterator[int]:
        """Those not yet counted, for a call that tells them; given back when it fails."""
        count = self.take()
        try:
            yield count
        except AppError:
            self.give_back(count)
            raise


refusals = _Refusals()


@functools.cache
def _by_path() -> dict[str, Entity]:
    narrowed = settings.load().webhook_entities
    return {entity.path: entity for entity in entities.every() if not narrowed or entity.path in narrowed}


def read(request: Request) -> Letter:
    """What a webhook's request asks to store.

    Raises: Unknown, WrongMethod, WrongEncoding, TooLarge, Refused, Unauthentic: before the signature, we may refuse.
    """
    home = _by_path().get(request.path.removeprefix("/webhooks").strip("/"))
    if home is None:
        message = f"There is no webhook at {request.path[:128]}; there are: {', '.join(sorted(_by_path()))}."
        raise Unknown(message)
    if request.method not in METHODS:
        raise WrongMethod(METHODS)
    if (request.header("content-encoding") or "identity").lower() != "identity":
        message = "Send the body as it is, without Content-Encoding."
        raise WrongEncoding(message)
    limit = settings.load().webhook_body_limit_bytes
    if len(request.body) > limit:
        message = f"The body has {len(request.body)} bytes; the limit is {limit}."
        raise TooLarge(message)
    signed_by = verified(request)
    readings = zoho.read(request, home, entities.every())
    common = {
        "method": request.method,
        "query": _clean(redacted_query(request)),
        "ip": request.address[:45],
        "headers": {name: _clean(str(redact(value, name))) for name, value in request.first.items()},
        "signed_by": signed_by,
        "traceparent": request.traceparent,
    }
    return Letter([row_of(reading, common) for reading in readings], readings, batch=_is_batch(readings, request))


def verified(request: Request) -> str:
    """Which secret signed the request, as `scheme:fingerprint`.

    Raises: Unauthentic, when none of the active secrets did; Refused, for signature headers nobody can check.
    """
    offered = False
    found = None
    for scheme, secret, fingerprint in secrets():
        plug = lookup.find("signatures", scheme)
        if not plug.is_offered(request):
            continue
        offered = True
        # Every secret is tried, so that the time taken tells nothing of which one it was.
        found = fingerprint if plug.matches(secret, request) else found
    if found is None:
        message = (
            "The signature matches none of the active secrets; `tidemark doctor` says what is wrong with it."
            if offered
            else "The request carries no signature of a scheme that has a secret here."
        )
        refusals.add()
        raise Unauthentic(message)
    return found


@functools.cache
def secrets() -> tuple[tuple[str, str, str], ...]:
    """(scheme, secret, scheme:fingerprint) of each configured webhook secret."""
    found = []
    for text in settings.load().zoho_webhook_secrets:
        scheme, _, secret = text.rpartition(":")
        scheme = scheme or ("standard_webhooks" if secret.startswith("whsec_") else "zoho")
        found.append((scheme, secret, f"{scheme}:{hashlib.sha256(secret.encode()).hexdigest()[:8]}"))
    return tuple(found)


def store(letters: Sequence[Letter]) -> list[dict[str, Any] | Unauthentic]:
    """Store the rows of several requests together and ring; the answer of each, in order.

    An answer is Unauthentic where that request must be refused after all: its secret does not count now.

    Raises: Unavailable, when it is not known that everything is stored.
    """
    rows = _rows(letters)
    odd: dict[int, str] = {}
    bells = []
    for start in range(0, len(rows), GROUP):
        stored = _stored(rows[start : start + GROUP])
        odd |= {start + position: said for position, said in stored.odd.items()}
        bells.append(stored)
    ring.after_storing(bells)
    return _answers(letters, odd)


class Storing:
    """Several requests on their way into the database: as `store`, for event loops."""

    def __init__(self, letters: Sequence[Letter]) -> None:
        """Raises: Unavailable, when `store` must be called instead."""
        rows = _rows(letters)
        if len(rows) > GROUP:
            message = "More than one group."
            raise Unavailable(message)
        self._letters = letters
        with refusals.told() as self._refused:
            self._receiving = inbox.Receiving(rows, self._refused)
        self.fileno = self._receiving.fileno
        self.abandon = self._receiving.abandon

    def finish(self) -> tuple[list[dict[str, Any] | Unauthentic], Callable[[], None] | None]:
        """The answers, and the ring that must be sent before they are given, if there is one."""
        try:
            stored = self._receiving.stored()
        except AppError:
            refusals.give_back(self._refused)
            raise
        answers = _answers(self._letters, stored.odd)
        return answers, functools.partial(ring.after_storing, [stored]) if ring.is_due(stored) else None


def _rows(letters: Sequence[Letter]) -> list[dict[str, Any]]:
    return [row for letter in letters for row in letter.rows]


def _answers(letters: Sequence[Letter], odd: dict[int, str]) -> list[dict[str, Any] | Unauthentic]:
    log.info("events.stored", requests=len(letters), events=sum(len(letter.rows) for letter in letters), odd=len(odd))
    answers = []
    position = 0
    for letter in letters:
        answers.append(_answer(letter, [odd.get(position + offset) for offset in range(len(letter.rows))]))
        position += len(letter.rows)
    return answers


def receive(request: Request) -> dict[str, Any]:
    """Accept one webhook; the body of its 202.

    Raises: what `read` raises; Unauthentic, when its secret does not count now; Unavailable, when it is not stored.
    """
    return accepted(store([read(request)])[0])


def accepted(answer: dict[str, Any] | Unauthentic) -> dict[str, Any]:
    """The body of a 202.

    Raises: Unauthentic, when that is what the database said.
    """
    if isinstance(answer, Unauthentic):
        raise answer
    return answer


def _stored(rows: list[dict[str, Any]]) -> Stored:
    """Store `rows`; a row that the database refuses goes into quarantine and does not take the others with it."""
    try:
        with refusals.told() as refused:
            return inbox.receive(rows, refused)
    except (Invalid, Conflict) as error:
        if len(rows) == 1:
            if rows[0]["errors"] is not None and "body64" in rows[0]:
                raise
            return inbox.receive([_quarantined(rows[0], error)])
    half = len(rows) // 2
    first, second = _stored(rows[:half]), _stored(rows[half:])
    return Stored(second.at, first.ring or second.ring, first.odd | {half + at: said for at, said in second.odd.items()})


def _quarantined(row: dict[str, Any], error: AppError) -> dict[str, Any]:
    body = base64.b64decode(row["body64"]) if "body64" in row else row["body"].encode()
    kept = {key: value for key, value in row.items() if key not in {"body", "payload", "headers", "query"}}
    return kept | {
        "body64": base64.b64encode(body).decode(),
        "errors": [{"pointer": "", "message": f"the database cannot store it: {error.detail}"}],
        "stamp": None,
        "entity_id": "",
        "path": [],
    }


def row_of(reading: Reading, common: dict[str, Any]) -> dict[str, Any]:
    """What is stored of a reading; `common`: what all events of its request have in common."""
    entity = reading.entity
    wanted = settings.load().zoho_organization_id
    faults = list(reading.faults)
    if wanted and reading.organization and reading.organization != wanted:
        faults.append({"pointer": "/organization_id", "message": f"this database belongs to organization {wanted}"})
    content = hashlib.sha256(reading.body).hexdigest()[:32]
    if not faults and reading.record is not None:
        try:
            content = keys.content_hash(reading.record, entity.version_keys, reading.body if reading.payload is None else None)
        except RecursionError:
            faults.append({"pointer": "", "message": "it is nested too deep"})
    if reading.delivery_id:
        # What tells deliveries apart must not depend on the content: a second one under the same id is a conflict.
        key = keys.idempotency_key(None, "delivery", entity.label, reading.delivery_id)
    else:
        stamp = reading.stamp.isoformat() if reading.stamp else ""
        key = keys.idempotency_key(
            reading.stamp, wanted, entity.label, reading.entity_id, reading.operation, stamp, content, "faulty" if faults else ""
        )
    row = {
        "id": keys.event_id(key),
        "key": key,
        "entity": entity.label,
        "entity_id": _clean(reading.entity_id),
        "operation": reading.operation,
        "stamp": reading.stamp,
        "hash": content,
        "organization": wanted,
        "path": reading.path,
        "flags": reading.flags,
        "errors": faults or None,
        "priority": entity.priority,
        "rank": entity.rank,
        "hint": not reading.stamp and not faults,
        **common,
    }
    if reading.payload is not None:
        row["payload"] = reading.payload
    return row | _body(reading.body)


def _body(raw: bytes) -> dict[str, str]:
    """The raw body as text where it is text, which is what Postgres reads fastest; else in base64."""
    with contextlib.suppress(UnicodeDecodeError):
        text = raw.decode()
        if "\x00" not in text:
            return {"body": text}
    return {"body64": base64.b64encode(raw).decode()}


def _answer(letter: Letter, odd: list[str | None]) -> dict[str, Any] | Unauthentic:
    if "expired" in odd:
        message = "The secret that signed this is not, or no longer, active."
        return Unauthentic(message)
    if letter.batch:
        errors = [
            {"event_index": index, "error": "; ".join(fault["message"] for fault in row["errors"])}
            for index, row in enumerate(letter.rows)
            if row["errors"]
        ]
        total = len(letter.rows)
        return {
            "success": True,
            "total_events": total,
            "accepted": total - len(errors),
            "rejected": len(errors),
            "errors": errors,
        }
    row, said = letter.rows[0], odd[0]
    return {
        "success": True,
        "message": _message(row, said),
        "event_id": row["id"],
        "idempotency_key": row["key"],
        "queued": said is None and not row["errors"],
    }


def _message(row: dict[str, Any], odd: str | None) -> str:
    if odd == "duplicate":
        return "This event was already known."
    if odd == "conflict":
        return "The delivery id came before with another content: kept in quarantine."
    if row["errors"]:
        return f"Kept in quarantine: {row['errors'][0]['message']}."
    return "Stored."


def _is_batch(readings: list[Reading], request: Request) -> bool:
    return len(readings) > 1 or readings[0].body is not request.body or readings[0].faults == zoho.EMPTY_BATCH


def redacted_query(request: Request) -> str:
    """The query as it may be kept: the values of secret-sounding arguments left out."""
    return "&".join(
        f"{name}={redact(value, name)}" if sign else name
        for name, sign, value in (pair.partition("=") for pair in request.query.split("&") if pair)
    )


def _clean(text: str) -> str:
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
