"""One HTTP call: verified TLS, connections that are kept, bounded in time and size, no redirect followed."""

from __future__ import annotations

import collections
import contextlib
import functools
import http.client
import io
import socket
import ssl
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from common.errors import Unavailable
from common.rules.http import Answer

CONNECT_SECONDS = 5.0
SECONDS = 15.0  # for the whole exchange
BYTES = 32 * 1024 * 1024
CHUNK = 256 * 1024
# What a connection that was kept says when the other side closed it meanwhile: nothing was done with the request.
STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
MOST_IDLE, IDLE_SECONDS = 16, 60.0


class Oversized(Unavailable):
    """There is an answer, but it is larger than what the call takes."""


class _Idle(NamedTuple):
    connection: http.client.HTTPConnection
    since: float


_idle: collections.defaultdict[str, collections.deque[_Idle]] = collections.defaultdict(collections.deque)


@dataclass(frozen=True)
class Call:
    """One request to `origin`, such as https://www.zohoapis.com, and how much its answer may take."""

    method: str
    origin: str
    target: str  # path and query
    headers: Mapping[str, str]
    body: bytes = b""
    seconds: float = SECONDS
    limit: int = BYTES


def sent(call: Call) -> Answer:
    """The answer, whatever its status; header names in lower case.

    Raises: Unavailable, when there is no answer, or not all of it, within the call's seconds and bytes. Whether a POST
    took effect is then not known.
    """
    if call.method != "GET":  # on a connection of its own: nothing that may have taken effect is sent twice
        return _first(_opened(call.origin), call)
    kept = _kept(call.origin)
    if kept is not None:
        try:
            return _exchanged(kept, call)
        except STALE:
            close(call.origin)  # the others have been idle for as long
        except (OSError, http.client.HTTPException) as error:
            raise lost(call.origin, error) from error
    return _first(_opened(call.origin), call)


def sent_over(connection: http.client.HTTPConnection, call: Call) -> Answer:
    """The answer on a connection that the caller opened, which is closed with it.

    Raises: as `sent`.
    """
    try:
        return _exchanged(connection, call, is_ours=False)
    except (OSError, http.client.HTTPException) as error:
        raise lost(call.origin, error) from error


def close(origin: str | None = None) -> None:
    """Close the connections that are kept, to one origin or to all."""
    for each in [origin] if origin else list(_idle):
        while _idle[each]:
            with contextlib.suppress(IndexError):  # another thread was faster
                _idle[each].pop().connection.close()


def _kept(origin: str) -> http.client.HTTPConnection | None:
    """The connection that was used last, and not long ago: one that the net has dropped would answer nothing at all."""
    with contextlib.suppress(IndexError):
        idle = _idle[origin].pop()
        if time.monotonic() - idle.since < IDLE_SECONDS:
            return idle.connection
        idle.connection.close()
        close(origin)
    return None


def _first(connection: http.client.HTTPConnection, call: Call) -> Answer:
    try:
        return _exchanged(connection, call)
    except (OSError, http.client.HTTPException) as error:
        raise lost(call.origin, error) from error


def _exchanged(connection: http.client.HTTPConnection, call: Call, *, is_ours: bool = True) -> Answer:
    until = time.monotonic() + call.seconds
    raw: socket.socket = connection.sock
    can_be_kept = False
    try:
        _wait_at_most(raw, until)
        connection.response_class = functools.partial(_timed, until=until)  # type: ignore[assignment]
        connection.request(call.method, call.target, call.body or None, dict(call.headers))
        response = connection.getresponse()
        content = _read(response, call.limit)
        can_be_kept = is_ours and not response.will_close
        return Answer(response.status, content, {name.lower(): value for name, value in response.getheaders()})
    finally:
        if can_be_kept and call.method == "GET" and len(_idle[call.origin]) < MOST_IDLE:
            _idle[call.origin].append(_Idle(connection, time.monotonic()))
        else:
            connection.close()


def _read(response: http.client.HTTPResponse, limit: int) -> bytes:
    parts = []
    size = 0
    with response:
        while part := response.read1(CHUNK):
            parts.append(part)
            size += len(part)
            if size > limit:
                message = f"The answer is larger than {limit} bytes."
                raise Oversized(message)
        if response.length:  # of bytes that were promised and did not come
            raise http.client.IncompleteRead(b"".join(parts), response.length)
    return b"".join(parts)


class _Until(io.RawIOBase):
    """What a socket receives until a time: each read waits for what is left of the whole, those of the headers included, so
    that an answer that trickles in ends in time, too.
    """  # fmt: skip

    def __init__(self, raw: socket.socket, until: float) -> None:
        self._raw, self._until = raw, until
        self._reader = raw.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        _wait_at_most(self._raw, self._until)
        return self._reader.readinto(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def close(self) -> None:
        self._reader.close()
        super().close()


def _timed(raw: socket.socket, *given: Any, until: float, **named: Any) -> http.client.HTTPResponse:
    return http.client.HTTPResponse(_Until(raw, until), *given, **named)  # type: ignore[arg-type]


def _wait_at_most(raw: socket.socket, until: float) -> None:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    raw.settimeout(left)


def _opened(origin: str) -> http.client.HTTPConnection:
    parts = urllib.parse.urlsplit(origin)
    host = parts.hostname or ""
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=CONNECT_SECONDS, context=tls())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=CONNECT_SECONDS)
    )
    try:
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, http.client.HTTPException) as error:
        raise lost(origin, error) from error
    return connection


@functools.cache
def tls() -> ssl.SSLContext:
    """The one context that verifies."""
    return ssl.create_default_context()  # verifies; 20 ms, so one for all


def lost(origin: str, error: Exception) -> Unavailable:
    """What is raised for an answer that did not come, or a connection that was not made."""
    reason = "in time" if isinstance(error, TimeoutError) else f"({type(error).__name__}: {error})"
    return Unavailable(f"{urllib.parse.urlsplit(origin).hostname or origin} did not answer {reason}.", retry_after_seconds=10)
