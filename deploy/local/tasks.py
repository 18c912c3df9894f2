"""A local stand-in for Google Cloud Tasks: REST v2 over Postgres, for the real client and loopback targets only.

It keeps the service's promises (names that stay taken, retries, limits, deadlines) and, on request, its rare sins:
a task lost, a task delivered twice. It does not slow a queue down after errors, ramp up, or check who calls.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import http.client
import importlib
import io
import json
import logging
import math
import os
import queue
import random
import re
import secrets
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, unquote, urlsplit

import pg8000.native

Document = dict[str, Any]
Token = Callable[[str, str], str]

_log = logging.getLogger("tidemark.local.tasks")

_METHODS: Final = {1: "POST", 2: "GET", 3: "HEAD", 4: "PUT", 5: "DELETE", 6: "PATCH", 7: "OPTIONS"}
_NUMBERS: Final = {name: number for number, name in _METHODS.items()}
_LOOPBACK: Final = {"127.0.0.1": ["127.0.0.1"], "::1": ["::1"], "localhost": ["127.0.0.1", "::1"]}
_SUCCESS: Final = range(200, 300)
_LONGEST_DEADLINE: Final = 1800
_IDLE_SECONDS: Final = 2
_TASK_BYTES: Final = 1024 * 1024
_HEADER_BYTES: Final = 80 * 1024
_REQUEST_BYTES: Final = 8 * 1024 * 1024
_RETRY: Final = {
    "maxAttempts": 100,
    "minBackoff": 0.1,
    "maxBackoff": 3600.0,
    "maxDoublings": 16,
    "maxRetryDuration": 0.0,
}
# What the service sets itself or needs for its own connection; everyone else's wish for them is ignored.
_OWN_HEADERS: Final = re.compile(
    r"(host|content-length|user-agent|connection|transfer-encoding|x-(google|appengine|cloudtasks)-.*)",
    re.IGNORECASE,
)
_PARENT: Final = r"projects/[^/]+/locations/[^/]+"
_QUEUE: Final = _PARENT + r"/queues/[A-Za-z0-9-]{1,100}"
_TASK: Final = _QUEUE + r"/tasks/[A-Za-z0-9_-]{1,500}"
_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    411: "INVALID_ARGUMENT",
    503: "UNAVAILABLE",
}


class Wrong(Exception):  # noqa: N818  (it is an answer)
    """An answer other than 200, in the service's words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


# Rules


def pause_before_retry(failures: int, retry: Mapping[str, float]) -> float:
    """Seconds to wait after so many failed attempts: doubled `maxDoublings` times, then linear, then level."""
    doublings = min(failures - 1, int(retry["maxDoublings"]))
    steps = max(1, failures - int(retry["maxDoublings"]))
    return float(min(retry["maxBackoff"], retry["minBackoff"] * 2**doublings * steps))


def is_spent(attempts: int, age_seconds: float, retry: Mapping[str, float]) -> bool:
    """Whether no further attempt is made: the attempts and, where one is set, the time are both used up."""
    by_count, by_age = retry["maxAttempts"], retry["maxRetryDuration"]
    if by_count == -1 and by_age == 0:
        return False
    return (by_count == -1 or attempts >= by_count) and age_seconds >= by_age


# Postgres


def _statements() -> dict[str, str]:
    blocks = re.split(r"^-- name: (\w+)\n", Path(__file__).with_name("tasks.sql").read_text(), flags=re.MULTILINE)
    return dict(zip(blocks[1::2], blocks[2::2], strict=True))


class Store:
    """Named statements of tasks.sql, each one message and one transaction, over a few reused connections."""

    def __init__(self, database_url: str, connections: int = 6) -> None:
        self._url = database_url
        self._sql = _statements()
        self._idle: list[pg8000.native.Connection] = []
        self._is_closed = False
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(connections)

    def run(self, statement: str, given: object = None) -> list[Any]:
        """The statement's rows, each one JSON document.

        Raises: Wrong 503 when Postgres is down; the connection is thrown away.
        """
        # One message with one quoted literal: a quarter of the round trips of BEGIN, parse, execute, COMMIT.
        sql = self._sql[statement].replace(":given", pg8000.native.literal(json.dumps(given)))
        with self._connection() as connection:
            return [row[0] for row in connection.run(sql) or []]

    def close(self, *, for_good: bool = False) -> None:
        """Close the idle connections; for good also those that are still in use, once they are not."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._is_closed = self._is_closed or for_good
        for connection in idle:
            _hang_up(connection)

    @contextmanager
    def _connection(self) -> Iterator[pg8000.native.Connection]:
        with self._room:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            try:
                connection = connection or self._connect()
                yield connection
            except (pg8000.native.InterfaceError, OSError) as error:
                # One dead connection means a restarted server: the idle ones are dead as well.
                _hang_up(connection)
                self.close()
                raise Wrong(503, "Postgres does not answer") from error
            except pg8000.native.DatabaseError as error:
                state = str(error.args[0].get("C", ""))
                if connection and state in {"42P01", "3F000"}:
                    # Someone reset the database under us; whoever calls again finds empty tables.
                    connection.run(self._sql["schema"])
                _hang_up(connection)
                if state in {"42P01", "3F000"} or state[:2] in {"57", "53", "40", "08"}:
                    raise Wrong(503, "Postgres does not serve right now") from error
                raise
            else:
                with self._lock:
                    keeps = not self._is_closed
                    if keeps:
                        self._idle.append(connection)
                if not keeps:
                    _hang_up(connection)

    def _connect(self) -> pg8000.native.Connection:
        url = urlsplit(self._url)
        folder = parse_qs(url.query).get("host", [""])[0]
        if folder.startswith("/"):
            sock = socket.socket(socket.AF_UNIX)
            where: Any = f"{folder}/.s.PGSQL.{url.port or 5432}"
        else:
            sock = socket.socket()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            where = (url.hostname or "127.0.0.1", url.port or 5432)
        try:
            sock.connect(where)
            return pg8000.native.Connection(
                unquote(url.username or "postgres"),
                password=unquote(url.password) if url.password else None,
                database=unquote(url.path.lstrip("/")) or None,
                application_name="tidemark local tasks",
                ssl_context=False,
                startup_params={"TimeZone": "UTC"},
                sock=sock,
            )
        except BaseException:
            sock.close()
            raise


def _hang_up(connection: pg8000.native.Connection | None) -> None:
    if connection:
        with suppress(Exception):
            connection.close()


@dataclass
class _Call:
    item: Document
    is_done: bool = False
    answer: Any = None
    error: Exception | None = None


class Batch:
    """Writes what many threads hand in at once as one statement: whoever gets the turn writes for all who wait."""

    def __init__(self, write: Callable[[list[Document]], list[Any]]) -> None:
        self._write = write
        self._waiting: list[_Call] = []
        self._turn = threading.Lock()

    def __call__(self, item: Document) -> Any:
        """What `write` answers for this item."""
        call = _Call(item)
        self._waiting.append(call)
        with self._turn:
            if not call.is_done:
                # Others go on appending meanwhile: take exactly what was counted.
                count = len(self._waiting)
                calls, self._waiting[:count] = self._waiting[:count], []
                try:
                    for waiting, answer in zip(calls, self._write([call.item for call in calls]), strict=True):
                        waiting.answer = answer
                except Exception as error:  # noqa: BLE001  (handed to every caller)
                    for waiting in calls:
                        waiting.error = error
                for waiting in calls:
                    waiting.is_done = True
        if call.error:
            raise call.error
        return call.answer


# The wire


def _shape(text: object, pattern: str, what: str) -> str:
    if not isinstance(text, str) or not re.fullmatch(pattern, text):
        raise Wrong(400, f"{what} is invalid")
    return text


def _object(value: object, what: str) -> Document:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Wrong(400, f"{what} must be an object")
    return value


def _number(value: object, least: float, most: float, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise Wrong(400, f"{what} must be a number from {least:g} to {most:g}")
    return value


def _seconds(value: object, what: str) -> float:
    return float(_shape(value, r"\d{1,10}(\.\d{1,9})?s", what)[:-1])


def _duration(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def _moment(value: object) -> datetime:
    try:
        when = datetime.fromisoformat(str(value))
    except ValueError:
        raise Wrong(400, "scheduleTime is not an RFC 3339 time") from None
    if when.tzinfo is None:
        raise Wrong(400, "scheduleTime needs a time zone")
    return when.astimezone(UTC)


def _rfc3339(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat().replace("+00:00", "Z")


def _retry_from(wire: object) -> Document:
    """The retry settings a caller gave, durations as seconds."""
    found = {key: value for key, value in _object(wire, "retryConfig").items() if key in _RETRY}
    for key, value in found.items():
        if key in {"maxAttempts", "maxDoublings"}:
            found[key] = int(_number(value, -1 if key == "maxAttempts" else 0, 2**31 - 1, key))
        else:
            found[key] = _seconds(value, key)
    if found.get("maxAttempts") == 0:
        del found["maxAttempts"]  # protobuf's way of saying: not given
    both = {**_RETRY, **found}
    if "maxBackoff" in found and both["minBackoff"] > both["maxBackoff"]:
        raise Wrong(400, "minBackoff must not exceed maxBackoff")
    return found


def _retry_to(retry: Document) -> Document:
    return {key: retry[key] if key in {"maxAttempts", "maxDoublings"} else _duration(retry[key]) for key in _RETRY if key in retry}


def _request_from(wire: Document) -> Document:
    """The checked HTTP request of a task, as it is stored."""
    if "httpRequest" not in wire:
        raise Wrong(400, "only tasks with an httpRequest are supported here")
    request = _object(wire["httpRequest"], "httpRequest")
    url = _shape(request.get("url"), r"https?://[!-~]{1,2075}", "httpRequest.url")
    method = request.get("httpMethod") or "POST"
    method = _METHODS.get(method) if isinstance(method, int) else method
    if method not in _NUMBERS:
        raise Wrong(400, "httpRequest.httpMethod is invalid")
    headers = _object(request.get("headers"), "httpRequest.headers")
    for name, value in headers.items():
        _shape(name, r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "a header's name")
        _shape(value, r"[\t -~]*", f"header {name}")
    header_bytes = sum(len(name) + len(value) for name, value in headers.items())
    if header_bytes > _HEADER_BYTES:
        raise Wrong(400, "the headers are larger than 80 KB")
    body = request.get("body") or ""
    try:
        size = len(base64.b64decode(body, validate=True))
    except (binascii.Error, TypeError, ValueError):
        raise Wrong(400, "httpRequest.body is not base64") from None
    if size and method not in {"POST", "PUT", "PATCH"}:
        raise Wrong(400, f"a {method} request cannot have a body")
    if size + header_bytes + len(url) > _TASK_BYTES:
        raise Wrong(400, f"Task size too large: {size + header_bytes + len(url)} bytes, {_TASK_BYTES} are allowed")
    stored = {"url": url, "httpMethod": method, "headers": headers, "body": body}
    if request.get("oidcToken") is not None:
        oidc = _object(request["oidcToken"], "oidcToken")
        keys = ("serviceAccountEmail", "audience")
        stored["oidcToken"] = {key: _shape(oidc[key], r"[!-~]{1,2083}", key) for key in keys if oidc.get(key)}
    elif "oauthToken" in request:
        raise Wrong(400, "oauthToken is not supported here; use oidcToken")
    return stored


def _task_to(row: Document, *, full: bool, ints: bool) -> Document:
    """A stored task in the service's words."""
    request = {key: value for key, value in row["request"].items() if value and (full or key != "body")}
    if ints:
        request["httpMethod"] = _NUMBERS[request["httpMethod"]]
    task = {
        "name": row["name"],
        "httpRequest": request,
        "scheduleTime": _rfc3339(row["scheduled_at"]),
        "createTime": _rfc3339(row["created_at"]),
        "dispatchDeadline": _duration(row["deadline_seconds"]),
        "dispatchCount": row.get("dispatches", 0),
        "responseCount": row.get("responses", 0),
        "view": (2 if ints else "FULL") if full else (1 if ints else "BASIC"),
    }
    if row.get("retry"):
        task["retryConfig"] = _retry_to(row["retry"])
    if row.get("first_dispatch_at"):
        task["firstAttempt"] = {"dispatchTime": _rfc3339(row["first_dispatch_at"])}
        last: Document = {
            "scheduleTime": _rfc3339(row["last_scheduled_at"]),
            "dispatchTime": _rfc3339(row["last_dispatch_at"]),
        }
        task["lastAttempt"] = last
        if row["last_response_at"]:
            last["responseTime"] = _rfc3339(row["last_response_at"])
        if status := row["last_status"]:
            last["responseStatus"] = {
                "code": 14 if status == http.client.SERVICE_UNAVAILABLE else 2,
                "message": f"HTTP status code {status}",
            }
    return task


def _queue_to(row: Document, *, ints: bool) -> Document:
    """A stored queue in the service's words."""
    found = {
        "name": row["name"],
        "rateLimits": {
            "maxDispatchesPerSecond": row["dispatches_per_second"],
            "maxBurstSize": row["burst"],
            "maxConcurrentDispatches": row["concurrency"],
        },
        "retryConfig": _retry_to(row["retry"]),
        "state": {"RUNNING": 1, "PAUSED": 2}[row["state"]] if ints else row["state"],
    }
    if row["purged_at"]:
        found["purgeTime"] = _rfc3339(row["purged_at"])
    return found


# Delivery


class _Paced(io.RawIOBase):
    """What a socket sends until a moment; a worker that sends a byte now and then cannot stretch its deadline."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock, self._until = sock, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What HTTPResponse asks a socket for."""
        return io.BufferedReader(self)


@dataclass
class _Delivery:
    status: int | None
    reason: str
    retry_after: float = 0.0


class _Lines(threading.local):
    """Each worker thread's open connections, by address."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, int], tuple[socket.socket, float]] = {}


class Postman:
    """Delivers one HTTP request to a loopback target and tells what came back."""

    def __init__(self) -> None:
        self._lines = _Lines()

    def deliver(self, request: Document, headers: Mapping[str, str], seconds: float) -> _Delivery:
        """The target's answer; status is None when none came within the given seconds."""
        url = urlsplit(request["url"])
        until = time.monotonic() + seconds
        body = base64.b64decode(request["body"])
        has_body = body or request["httpMethod"] in {"POST", "PUT", "PATCH"}
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        lines = [f"{request['httpMethod']} {path} HTTP/1.1", f"Host: {url.netloc.rpartition('@')[2]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}"] if has_body else []
        message = "\r\n".join([*lines, "\r\n"]).encode("latin-1") + body
        where = (url.hostname or "", url.port or 80)
        sock = None
        try:
            sock = self._line(where, seconds)
            sock.sendall(message)
            response = http.client.HTTPResponse(_Paced(sock, until), method=request["httpMethod"])  # type: ignore[arg-type]
            response.begin()
            while response.read(65536):
                pass
            if not response.will_close:
                self._lines.open[where] = (sock, time.monotonic())
                sock = None
            wait = _wait_asked_for(response.headers.get("Retry-After"))
            return _Delivery(response.status, f"HTTP {response.status}", wait)
        except TimeoutError:
            return _Delivery(None, f"DEADLINE_EXCEEDED after {seconds:g} s")
        except (OSError, http.client.HTTPException) as error:
            return _Delivery(None, f"UNAVAILABLE: {type(error).__name__}")
        finally:
            if sock:
                sock.close()

    def hang_up(self) -> None:
        """Close the calling thread's open connections."""
        while self._lines.open:
            self._lines.open.popitem()[1][0].close()

    def _line(self, where: tuple[str, int], seconds: float) -> socket.socket:
        sock, used = self._lines.open.pop(where, (None, 0.0))
        # A line that became readable while idle was closed by the other side; an old one is about to be.
        if sock and time.monotonic() - used < _IDLE_SECONDS and not select.select([sock], [], [], 0)[0]:
            sock.settimeout(seconds)
            return sock
        if sock:
            sock.close()
        failure: OSError = OSError("no address")
        for address in _LOOPBACK[where[0]]:
            try:
                sock = socket.create_connection((address, where[1]), timeout=seconds)
            except OSError as error:
                failure = error
            else:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
        raise failure


def _wait_asked_for(header: str | None) -> float:
    """Seconds a Retry-After header asks for, at most an hour."""
    if not header:
        return 0.0
    try:
        numeric = header.strip().isdigit()
        wait = float(header) if numeric else (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    return min(max(wait, 0.0), 3600.0)


def _refusal(url: str) -> str | None:
    """Why a target is not dispatched to; None when it may be."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "the URL cannot be parsed"
    if parts.scheme != "http":
        return f"only http targets are dispatched locally, not {parts.scheme}"
    return None if host in _LOOPBACK and port != 0 else f"only loopback targets are dispatched locally, not {host}"


# The server


@dataclass
class Faults:
    """How often to sin: probabilities that a task vanishes after it was accepted, or is delivered twice."""

    lose: float = 0.0
    double: float = 0.0
    seed: int | None = None
    _dice: random.Random = field(default_factory=random.Random, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self._dice.seed(self.seed)

    def draw(self) -> tuple[bool, bool]:
        """Whether the next task is lost, whether it is doubled; the same for the same seed and order."""
        with self._lock:
            return self._dice.random() < self.lose, self._dice.random() < self.double


class LocalTasks:
    """The look-alike: a REST server and a dispatcher over one database, started and stopped as one.

    `token(audience, url)` makes the bearer token of tasks with an oidcToken; without it they get no such header.
    `concurrency` is what new queues get; `lease` is how long a killed dispatcher's tasks wait for redelivery;
    `shortest_deadline` and `tombstone` are the service's unless a test has no time for them.
    """

    def __init__(
        self,
        database_url: str,
        port: int = 0,
        *,
        token: Token | None = None,
        lose: float = 0.0,
        double: float = 0.0,
        seed: int | None = None,
        concurrency: int = 8,
        workers: int = 64,
        lease: timedelta = timedelta(seconds=10),
        tombstone: timedelta = timedelta(hours=1),
        shortest_deadline: timedelta = timedelta(seconds=15),
    ) -> None:
        self.port = port
        self.faults = Faults(lose, double, seed)
        self._token = token
        self._defaults = _limits({"maxConcurrentDispatches": concurrency}) | {"retry": dict(_RETRY)}
        self._workers = workers
        self._lease, self._tombstone = lease.total_seconds(), tombstone.total_seconds()
        self._shortest = shortest_deadline.total_seconds()
        self._store = Store(database_url)
        self._create = Batch(self._write_tasks)
        self._finish = Batch(self._write_outcomes)
        self._postman = Postman()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._errands: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._busy = 0
        self._hired = 0
        self._busy_lock = threading.Lock()
        self._running: dict[str, int] = {}
        self._callers: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Create the schema where it is missing, listen on 127.0.0.1 and dispatch what is due."""
        self._store.run("schema")
        self._listener = listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = listener.getsockname()[1]
        for duty in (partial(self._accept, listener), self._dispatch, self._keep):
            thread = threading.Thread(target=duty, name="tasks", daemon=True)
            thread.start()
            self._threads.append(thread)
        _log.info("tasks.listening port=%d", self.port)

    def stop(self, patience: timedelta = timedelta(seconds=1)) -> None:
        """Stop within two seconds; what is still being dispatched then is given back for redelivery."""
        self._stopping.set()
        self._wake.set()
        if self._listener:
            # Only shutdown wakes a thread that sits in accept().
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for thread in self._threads:
            thread.join(0.5)
        give_up = time.monotonic() + patience.total_seconds()
        while self._running and time.monotonic() < give_up:
            time.sleep(0.005)
        if left := [{"name": name, "token": token} for name, token in list(self._running.items())]:
            with suppress(Exception):
                self._store.run("release", left)
            _log.warning("tasks.given_back count=%d", len(left))
        for sock in list(self._callers):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for _ in range(self._hired):
            self._errands.put(None)
        self._store.close(for_good=True)

    # Answering

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._callers.add(sock)
            threading.Thread(target=self._converse, args=(sock,), name="tasks-caller", daemon=True).start()

    def _converse(self, sock: socket.socket) -> None:
        try:
            with sock, sock.makefile("rb") as reader:
                while not self._stopping.is_set() and self._exchange(sock, reader):
                    pass
        except (OSError, ValueError):
            pass  # the caller hung up, or does not speak HTTP
        finally:
            self._callers.discard(sock)

    def _exchange(self, sock: socket.socket, reader: io.BufferedReader) -> bool:
        """Answer one request; whether the connection may carry another."""
        line = reader.readline(16384)
        if not line:
            return False
        method, target, version = line.decode("latin-1").split()
        headers: dict[str, str] = {}
        while (line := reader.readline(16384)) not in {b"\r\n", b"\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        size = int(headers.get("content-length") or 0)
        fits = 0 <= size <= _REQUEST_BYTES
        keeps = fits and version != "HTTP/1.0" and headers.get("connection", "").lower() != "close"
        if headers.get("expect", "").lower() == "100-continue":
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        keeps = keeps and "transfer-encoding" not in headers
        try:
            _check_length(headers, fits=fits)
            code, answer = 200, self._answer(method, target, reader.read(size))
        except Wrong as wrong:
            code, answer = wrong.code, _error(wrong.code, _STATUSES[wrong.code], str(wrong))
        except Exception:  # noqa: BLE001  (a bug must not end the conversation)
            _log.exception("request.failed method=%s", method)
            code, answer = 500, _error(500, "INTERNAL", "Internal")
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 {code} {http.client.responses[code]}\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n"
        # One write: a head that travels alone waits 40 ms for the caller's acknowledgement.
        sock.sendall(head.encode() + (b"\r\n" if keeps else b"Connection: close\r\n\r\n") + body)
        return keeps

    def _answer(self, method: str, target: str, body: bytes) -> Document:
        path, _, query = target.partition("?")
        path = unquote(path).lstrip("/")
        for verb, pattern, answer in self._ROUTES:
            if verb == method and (found := re.fullmatch(pattern, path)):
                try:
                    given = json.loads(body) if body.strip() else {}
                except ValueError:
                    raise Wrong(400, "the body is not JSON") from None
                asked = {key: values[-1] for key, values in parse_qs(query).items()}
                return answer(self, found.groupdict(), _object(given, "the body"), asked)
        raise Wrong(404, f"no such method here: {method} {path[:200]}")

    def _answer_health(self, _at: dict[str, str], _given: Document, _asked: dict[str, str]) -> Document:
        return {"ok": self._store.run("get_queue", {"name": ""}) == []}

    def _answer_faults(self, _at: dict[str, str], given: Document, _asked: dict[str, str]) -> Document:
        seed = given.get("seed")
        self.faults = Faults(
            _number(given.get("lose", 0.0), 0, 1, "lose"),
            _number(given.get("double", 0.0), 0, 1, "double"),
            None if seed is None else int(_number(seed, 0, 2**63, "seed")),
        )
        return {"lose": self.faults.lose, "double": self.faults.double, "seed": self.faults.seed}

    def _answer_create(self, at: dict[str, str], given: Document, asked: dict[str, str]) -> Document:
        wire = _object(given.get("task"), "task")
        named = wire.get("name") or ""
        # Random, because the service's own names are; a counter would invite callers to read order into them.
        name = _shape(named, _TASK, "task.name") if named else f"{at['queue']}/tasks/{secrets.randbits(63)}"
        if not name.startswith(f"{at['queue']}/tasks/"):
            raise Wrong(400, "task.name does not belong to the queue")
        # Without a time the database's clock decides, not ours: both need not agree.
        scheduled = _moment(wire["scheduleTime"]) if wire.get("scheduleTime") else None
        if scheduled and scheduled > datetime.now(UTC) + timedelta(days=30):
            raise Wrong(400, "scheduleTime is more than 30 days ahead")
        deadline = _seconds(wire["dispatchDeadline"], "dispatchDeadline") if wire.get("dispatchDeadline") else 600.0
        if not self._shortest <= deadline <= _LONGEST_DEADLINE:
            raise Wrong(400, f"dispatchDeadline must be from {_duration(self._shortest)} to {_LONGEST_DEADLINE}s")
        lost, doubled = self.faults.draw()
        task = {
            "name": name, "queue": at["queue"], "is_named": bool(named), "is_lost": lost, "is_doubled": doubled,
            "request": _request_from(wire), "retry": _retry_from(wire.get("retryConfig")) or None,
            "deadline_seconds": deadline, "scheduled_at": scheduled and scheduled.isoformat(),
            "queue_defaults": self._defaults,
        }  # fmt: skip
        made = self._create(task)
        if made is None:
            raise Wrong(409, f"Requested entity already exists: {name}")
        self._wake.set()
        return _task_to(task | made, full=_is_full(given.get("responseView")), ints=_ints(asked))

    def _answer_get(self, at: dict[str, str], _given: Document, asked: dict[str, str]) -> Document:
        found = self._one("get_task", {"name": at["task"]})
        return _task_to(found, full=_is_full(asked.get("responseView")), ints=_ints(asked))

    def _answer_list(self, at: dict[str, str], _given: Document, asked: dict[str, str]) -> Document:
        size = _page_size(asked)
        self._one("get_queue", {"name": at["queue"]})
        rows = self._store.run("list_tasks", {"queue": at["queue"], "after": asked.get("pageToken", ""), "size": size})
        full = _is_full(asked.get("responseView"))
        return _page("tasks", [_task_to(row, full=full, ints=_ints(asked)) for row in rows], size)

    def _answer_delete(self, at: dict[str, str], _given: Document, _asked: dict[str, str]) -> Document:
        self._one("delete_task", {"name": at["task"]})
        return {}

    def _answer_run(self, at: dict[str, str], given: Document, asked: dict[str, str]) -> Document:
        found = self._one("run_task", {"name": at["task"]})
        self._wake.set()
        return _task_to(found, full=_is_full(given.get("responseView")), ints=_ints(asked))

    def _answer_create_queue(self, at: dict[str, str], given: Document, asked: dict[str, str]) -> Document:
        name = _shape(given.get("name"), _QUEUE, "queue.name")
        if not name.startswith(f"{at['parent']}/queues/"):
            raise Wrong(400, "queue.name does not belong to the location")
        rates = self._rates() | _object(given.get("rateLimits"), "rateLimits")
        row = {"name": name, **_limits(rates), "retry": {**_RETRY, **_retry_from(given.get("retryConfig"))}}
        if not (made := self._store.run("create_queue", row)):
            raise Wrong(409, "Queue already exists")
        return _queue_to(made[0], ints=_ints(asked))

    def _answer_change_queue(self, at: dict[str, str], given: Document, asked: dict[str, str]) -> Document:
        found = self._store.run("get_queue", {"name": at["queue"]})
        wire = _queue_to(found[0], ints=True) if found else {"rateLimits": self._rates(), "retryConfig": _retry_to(_RETRY)}
        mask = [path for path in asked.get("updateMask", "").split(",") if path] or ["rateLimits", "retryConfig"]
        for path in mask:
            group, _, key = re.sub(r"_([a-z])", lambda letter: letter[1].upper(), path).partition(".")
            if group not in {"rateLimits", "retryConfig"}:
                raise Wrong(400, f"cannot update {path[:100]}")
            given_group = _object(given.get(group), group)
            wire[group] |= {name: value for name, value in given_group.items() if key in {"", name}}
        row = {
            "name": at["queue"],
            **_limits(wire["rateLimits"]),
            "retry": {**_RETRY, **_retry_from(wire["retryConfig"])},
        }
        changed = self._store.run("change_queue", row)[0]
        self._wake.set()
        return _queue_to(changed, ints=_ints(asked))

    def _answer_get_queue(self, at: dict[str, str], _given: Document, asked: dict[str, str]) -> Document:
        return _queue_to(self._one("get_queue", {"name": at["queue"]}), ints=_ints(asked))

    def _answer_list_queues(self, at: dict[str, str], _given: Document, asked: dict[str, str]) -> Document:
        size = _page_size(asked)
        where = {"parent": f"{at['parent']}/queues/", "after": asked.get("pageToken", ""), "size": size}
        return _page("queues", [_queue_to(row, ints=_ints(asked)) for row in self._store.run("list_queues", where)], size)

    def _answer_pause(self, at: dict[str, str], _given: Document, asked: dict[str, str]) -> Document:
        return _queue_to(self._one("set_queue_state", {"name": at["queue"], "state": "PAUSED"}), ints=_ints(asked))

    def _answer_resume(self, at: dict[str, str], _given: Document, asked: dict[str, str]) -> Document:
        found = self._one("set_queue_state", {"name": at["queue"], "state": "RUNNING"})
        self._wake.set()
        return _queue_to(found, ints=_ints(asked))

    def _answer_purge(self, at: dict[str, str], _given: Document, asked: dict[str, str]) -> Document:
        return _queue_to(self._one("purge_queue", {"name": at["queue"]}), ints=_ints(asked))

    def _one(self, statement: str, given: Document) -> Document:
        rows: list[Document] = self._store.run(statement, given)
        if not rows:
            raise Wrong(404, f"Requested entity was not found: {given['name']}")
        return rows[0]

    def _rates(self) -> Document:
        return {
            "maxDispatchesPerSecond": self._defaults["rate"],
            "maxConcurrentDispatches": self._defaults["concurrency"],
        }

    def _write_tasks(self, tasks: list[Document]) -> list[Document | None]:
        """The row of each task that was made, None for a name that was taken."""
        first = {task["name"]: task for task in reversed(tasks)}
        made = {row["name"]: row for row in self._store.run("create_tasks", list(first.values()))}
        return [made.get(task["name"]) if first[task["name"]] is task else None for task in tasks]

    # Dispatching

    def _dispatch(self) -> None:
        """Claim what is ready and hand it to workers; Postgres says what is ready, the event only says look now."""
        while not self._stopping.is_set():
            self._wake.clear()
            if self._stopping.is_set():
                return
            wait: float | None = None
            try:
                if not (claimed := self._claim()):
                    # Asked first, claimed again after: what becomes ready in between is in one of the two.
                    wait = self._store.run("next_due")[0]
                    claimed = self._claim()
            except Exception as error:  # noqa: BLE001  (a dispatcher that ends would be noticed by nobody)
                _log.warning("dispatch.waiting reason=%s", error)
                claimed, wait = [], 0.2
            for task in claimed:
                self._running[task["name"]] = task["token"]
                self._employ(partial(self._attempt, task))
                if task["is_doubled"] and task["dispatches"] == 1:
                    # At the same moment, not after: only then do two handlers meet.
                    self._employ(partial(self._deliver, task))
            if not claimed:
                self._wake.wait(max(0.001, min(1.0, 1.0 if wait is None else float(wait))))

    def _claim(self) -> list[Document]:
        room = self._workers - self._busy
        return self._store.run("claim", {"room": room, "lease_seconds": self._lease}) if room > 0 else []

    def _employ(self, errand: Callable[[], Any]) -> None:
        with self._busy_lock:
            self._busy += 1
            hire = self._busy > self._hired
            self._hired += hire
        if hire:
            threading.Thread(target=self._work, name="tasks-worker", daemon=True).start()
        self._errands.put(errand)

    def _work(self) -> None:
        while True:
            errand = self._errands.get()
            if errand is None:
                self._postman.hang_up()
                return
            try:
                errand()
            except Exception:  # noqa: BLE001  (a bug must not end the worker; the task's lease ends by itself)
                _log.exception("attempt.failed")
            finally:
                with self._busy_lock:
                    self._busy -= 1
                self._wake.set()

    def _attempt(self, task: Document) -> None:
        try:
            if refusal := _refusal(task["request"]["url"]):
                _log.error("task.refused name=%s reason=%s", task["name"], refusal)
                self._finish(_outcome(task, None, "refused", refusal))
                return
            began = time.monotonic()
            got = self._deliver(task)
            if got.status in _SUCCESS:
                self._finish(_outcome(task, got.status, "done", None))
                return
            age = float(task["age_seconds"]) + time.monotonic() - began
            if is_spent(task["dispatches"], age, task["retry"]):
                _log.error("task.exhausted name=%s attempts=%d reason=%s", task["name"], task["dispatches"], got.reason)
                self._finish(_outcome(task, got.status, "exhausted", got.reason))
                return
            pause = max(pause_before_retry(task["dispatches"], task["retry"]), got.retry_after)
            facts = (task["name"], task["dispatches"], got.reason, pause)
            _log.info("task.failed name=%s attempt=%d reason=%s retry_seconds=%g", *facts)
            self._finish(_outcome(task, got.status, None, got.reason, pause))
        finally:
            if self._running.get(task["name"]) == task["token"]:
                self._running.pop(task["name"], None)

    def _deliver(self, task: Document) -> _Delivery:
        request = task["request"]
        if _refusal(request["url"]):
            return _Delivery(None, "refused")
        headers = {name: value for name, value in request["headers"].items() if not _OWN_HEADERS.fullmatch(name)}
        _, _, _, _, _, queue_id, _, task_id = task["name"].split("/")
        headers |= {
            "User-Agent": "Google-Cloud-Tasks",
            "X-CloudTasks-QueueName": queue_id,
            "X-CloudTasks-TaskName": task_id,
            "X-CloudTasks-TaskRetryCount": str(task["dispatches"] - 1),
            "X-CloudTasks-TaskExecutionCount": str(task["executions"]),
            "X-CloudTasks-TaskETA": f"{float(task['eta']):.6f}",
        }
        if task["dispatches"] > 1:
            headers["X-CloudTasks-TaskRetryReason"] = ""
            if task["last_status"]:
                headers["X-CloudTasks-TaskPreviousResponse"] = str(task["last_status"])
        if "oidcToken" in request and self._token:
            audience = request["oidcToken"].get("audience") or request["url"]
            headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            headers["Authorization"] = f"Bearer {self._token(audience, request['url'])}"
        return self._postman.deliver(request, headers, float(task["deadline_seconds"]))

    def _write_outcomes(self, outcomes: list[Document]) -> list[None]:
        self._store.run("finish", outcomes)
        return [None] * len(outcomes)

    def _keep(self) -> None:
        """Keep the leases of what is being dispatched, and let old names go."""
        while not self._stopping.wait(min(1.0, self._lease / 4)):
            try:
                if mine := list(self._running.items()):
                    renewed = [{"name": name, "token": token, "lease_seconds": self._lease} for name, token in mine]
                    self._store.run("renew", renewed)
                self._store.run("forget", {"tombstone_seconds": self._tombstone})
            except Exception as error:  # noqa: BLE001  (the next round may do better)
                _log.warning("lease.not_kept reason=%s", error)

    _ROUTES: ClassVar[tuple[tuple[str, str, Callable[..., Document]], ...]] = (
        ("POST", rf"v2/(?P<queue>{_QUEUE})/tasks", _answer_create),
        ("GET", rf"v2/(?P<queue>{_QUEUE})/tasks", _answer_list),
        ("GET", rf"v2/(?P<task>{_TASK})", _answer_get),
        ("DELETE", rf"v2/(?P<task>{_TASK})", _answer_delete),
        ("POST", rf"v2/(?P<task>{_TASK}):run", _answer_run),
        ("POST", rf"v2/(?P<parent>{_PARENT})/queues", _answer_create_queue),
        ("GET", rf"v2/(?P<parent>{_PARENT})/queues", _answer_list_queues),
        ("GET", rf"v2/(?P<queue>{_QUEUE})", _answer_get_queue),
        ("PATCH", rf"v2/(?P<queue>{_QUEUE})", _answer_change_queue),
        ("POST", rf"v2/(?P<queue>{_QUEUE}):pause", _answer_pause),
        ("POST", rf"v2/(?P<queue>{_QUEUE}):resume", _answer_resume),
        ("POST", rf"v2/(?P<queue>{_QUEUE}):purge", _answer_purge),
        ("POST", r"faults", _answer_faults),
        ("GET", r"healthz", _answer_health),
    )


def _outcome(task: Document, status: int | None, outcome: str | None, reason: str | None, delay: float = 0.0) -> Document:
    return {
        "name": task["name"], "token": task["token"], "status": status, "outcome": outcome, "reason": reason,
        "delay_seconds": delay,
    }  # fmt: skip


def _check_length(headers: Mapping[str, str], *, fits: bool) -> None:
    if "transfer-encoding" in headers:
        raise Wrong(411, "send a Content-Length")
    if not fits:
        raise Wrong(400, "the request is too large")


def _error(code: int, status: str, message: str) -> Document:
    return {"error": {"code": code, "status": status, "message": message}}


def _limits(wire: Document) -> Document:
    """A queue's limits as they are stored, defaults for what is missing."""
    rate = _number(wire.get("maxDispatchesPerSecond") or 500, 0.001, 500, "maxDispatchesPerSecond")
    concurrent = _number(wire.get("maxConcurrentDispatches") or 1000, 1, 5000, "maxConcurrentDispatches")
    # The service answers 100 for 500 a second.
    return {"rate": rate, "burst": max(1, math.ceil(rate / 5)), "concurrency": int(concurrent)}


def _ints(asked: Mapping[str, str]) -> bool:
    return "enum-encoding=int" in asked.get("$alt", "")


def _is_full(view: object) -> bool:
    return view in {2, "2", "FULL"}


def _page(what: str, found: list[Document], size: int) -> Document:
    return {what: found, "nextPageToken": found[-1]["name"] if len(found) == size else ""}


def _page_size(asked: Mapping[str, str]) -> int:
    text = asked.get("pageSize") or "1000"
    return min(int(text), 1000) if text.isdigit() and int(text) else 1000


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.tasks", description="Local Cloud Tasks look-alike (REST v2); reads DATABASE_URL."
    )
    parser.add_argument("--port", type=int, default=9023)
    parser.add_argument("--concurrency", type=int, default=8, help="concurrent dispatches of a queue that nobody configured")
    parser.add_argument("--lease-seconds", type=float, default=10, help="how long a killed dispatcher's tasks wait for redelivery")
    parser.add_argument("--lose", type=float, default=0, help="probability that an accepted task vanishes")
    parser.add_argument("--double", type=float, default=0, help="probability that a task is delivered twice")
    parser.add_argument("--seed", type=int, help="makes lose and double repeatable")
    parser.add_argument("--token", help="module:function that makes a bearer token from (audience, url)")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if not (database_url := os.environ.get("DATABASE_URL")):
        parser.error("DATABASE_URL is not set")
    token: Token | None = None
    if given.token:
        module, _, function = given.token.partition(":")
        token = getattr(importlib.import_module(module), function)
    # Callers, dispatcher and workers take turns on one interpreter; the usual 5 ms turn would be most of the latency.
    sys.setswitchinterval(0.0005)
    tasks = LocalTasks(
        database_url, given.port, token=token, lose=given.lose, double=given.double, seed=given.seed,
        concurrency=given.concurrency, lease=timedelta(seconds=given.lease_seconds),
    )  # fmt: skip
    enough = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: enough.set())
    tasks.start()
    enough.wait()
    tasks.stop()


if __name__ == "__main__":
    main()
