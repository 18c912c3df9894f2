"""HTTP/1.1 on one port of 127.0.0.1, a thread for each kept connection; it can also break off, dawdle and say nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
import traceback
from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import unquote

from common import log
from deploy.local.zoho.wire import Answer, Request, said

_LINE_BYTES = 65_536
_HEADERS = 100
_BODY_BYTES = 8 * 1024 * 1024
_DRIPS = 10
STOP_SECONDS = 2.0


class Server(ThreadingTCPServer):
    """Serves `answer`; `now` is what the Date header says."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, port: int, answer: Callable[[Request], Answer], now: Callable[[], datetime], listener: socket.socket | None = None
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler, bind_and_activate=listener is None)
        if listener is not None:
            self.socket.close()
            self.socket = listener
            self.server_address = listener.getsockname()
        self.answer, self.now = answer, now
        self.enough = threading.Event()
        self.open: set[socket.socket] = set()
        self.changed = threading.Condition()

    def start(self) -> None:
        """Serve in a thread of its own."""
        threading.Thread(target=self.serve_forever, args=(0.02,), name="zoho", daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a new connection, and know of it."""
        with self.changed:
            self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, and forget it."""
        super().shutdown_request(request)
        with self.changed:
            self.open.discard(request)
            self.changed.notify_all()

    def stop(self) -> None:
        """End every connection and listen no more."""
        self.enough.set()
        self.shutdown()
        self.server_close()
        with self.changed:
            for connection in self.open:
                _end(connection)
            self.changed.wait_for(lambda: not self.open, STOP_SECONDS)


class _Handler(StreamRequestHandler):
    disable_nagle_algorithm = True
    server: Server

    def handle(self) -> None:
        """Answer one request after another, until either side has had enough."""
        try:
            while not self.server.enough.is_set() and (request := self._request()):
                answer = self._answered(request)
                try:
                    goes_on = self._send(answer, is_last=request.headers.get("connection", "").lower() == "close")
                finally:
                    answer.end()
                if not goes_on:
                    return
        except OSError:
            return  # the caller went away
        except ValueError:
            self._send(said(400, 2, "The request cannot be read"), is_last=True)

    def _answered(self, request: Request) -> Answer:
        try:
            return self.server.answer(request)
        except Exception:  # noqa: BLE001 - a bug must not end the conversation
            log.error("request.failed", method=request.method, trace=traceback.format_exc())
            return said(500, 1000, "Internal error")

    def _request(self) -> Request | None:
        """The next request, None when the caller is done.

        Raises: ValueError, for what is no request; OSError, when the connection breaks.
        """
        line = self.rfile.readline(_LINE_BYTES).decode("latin-1")
        if not line:
            return None
        method, target, _ = line.split()
        headers: dict[str, str] = {}
        for _ in range(_HEADERS):
            name, _, value = self.rfile.readline(_LINE_BYTES).decode("latin-1").partition(":")
            if not name.strip():
                break
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        if "transfer-encoding" in headers or not 0 <= length <= _BODY_BYTES:
            message = f"send a Content-Length of {_BODY_BYTES} at most"
            raise ValueError(message)
        path, _, query = target.partition("?")
        return Request(method, unquote(path), query, headers, self.rfile.read(length) if length else b"")

    def _send(self, answer: Answer, *, is_last: bool) -> bool:
        """Send it, spoilt as it is to be; whether the connection may go on."""
        if "down" in answer.spoilt:
            return False
        body = answer.body[: len(answer.body) * 2 // 3] if "truncated" in answer.spoilt else answer.body
        head = (
            f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\nServer: ZGS\r\n"
            f"Date: {format_datetime(self.server.now(), usegmt=True)}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(body)}\r\n{answer.headers}{'Connection: close' + chr(13) + chr(10) if is_last else ''}\r\n"
        ).encode()
        if "cut" in answer.spoilt:
            self.connection.sendall(head + body[: len(body) // 2])
            return False
        if "slow" in answer.spoilt:
            self._drip(head + body, answer.spoilt["slow"])
        else:
            self.connection.sendall(head + body)
        return not is_last

    def _drip(self, text: bytes, seconds: float) -> None:
        step = -(-len(text) // _DRIPS)
        for first in range(0, len(text), step):
            self.server.enough.wait(seconds / _DRIPS)
            self.connection.sendall(text[first : first + step])


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may have ended already
        connection.shutdown(socket.SHUT_RDWR)
