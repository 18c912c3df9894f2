"""One delivery: the HTTP request that a task stands for, sent to a target on this machine and to no other."""

from __future__ import annotations

import base64
import io
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final
from urllib.parse import urlsplit

Token = Callable[[str, str], str]

_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}
_LONGEST_WAIT: Final = 3600.0
# What the service sets itself or needs for its own connection; everyone else's wish for them is ignored.
_OWN_HEADERS: Final = re.compile(
    r"(host|content-length|user-agent|connection|transfer-encoding|x-(google|appengine|cloudtasks)-.*)", re.IGNORECASE
)


@dataclass(frozen=True)
class Delivery:
    """What came of it; status is None when no answer came in time, or none was asked for."""

    status: int | None
    reason: str
    retry_after: float = 0.0
    is_refused: bool = False


def deliver(task: Mapping[str, Any], token: Token | None) -> Delivery:
    """Send a claimed task's request and wait for the answer until its deadline."""
    request, seconds = task["request"], float(task["deadline_seconds"])
    if reason := _refusal(request["url"]):
        return Delivery(None, reason, is_refused=True)
    until = time.monotonic() + seconds
    url = urlsplit(request["url"])
    # Connections are not kept: one that closes just now would cost an attempt, a new one costs a fraction of a millisecond.
    connection = HTTPConnection(url.hostname or "", url.port, timeout=seconds)
    try:
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request(request["httpMethod"], target, base64.b64decode(request["body"]) or None, _headers(task, token))
        with HTTPResponse(_Paced(connection.sock, until), method=request["httpMethod"]) as response:  # type: ignore[arg-type]
            response.begin()
            while response.read(65536):
                pass
            return Delivery(response.status, f"HTTP {response.status}", _wait_asked_for(response.headers.get("Retry-After")))
    except TimeoutError:
        return Delivery(None, f"DEADLINE_EXCEEDED after {seconds:g} s")
    except (OSError, HTTPException) as error:
        return Delivery(None, f"UNAVAILABLE: {type(error).__name__}")
    finally:
        connection.close()


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


def _headers(task: Mapping[str, Any], token: Token | None) -> dict[str, str]:
    request = task["request"]
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
    if token and "oidcToken" in request:
        audience = request["oidcToken"].get("audience") or request["url"]
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        headers["Authorization"] = f"Bearer {token(audience, request['url'])}"
    return headers


def _wait_asked_for(header: str | None) -> float:
    """Seconds that a Retry-After header asks for; none of ours names a date."""
    return min(float(header), _LONGEST_WAIT) if header and header.isdigit() else 0.0


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
