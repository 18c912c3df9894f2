"""HTTP on 127.0.0.1 around the API: reads a request, answers in JSON, and says errors as the service says them."""

from __future__ import annotations

import json
import traceback
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from common import encoding, log
from common.errors import AppError, Refused
from deploy.local.tasks import wire
from deploy.local.tasks.api import Api
from deploy.local.tasks.wire import Document

_REQUEST_BYTES: Final = 8 * 1024 * 1024
_STATUSES: Final = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 409: "ALREADY_EXISTS", 503: "UNAVAILABLE"}


class Server(ThreadingTCPServer):
    """Answers callers, each on a thread of its own."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, api: Api) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.api = api


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one write: a head that travels alone waits 40 ms for the caller's acknowledgement
    server: Server

    def answer(self) -> None:
        """Answer one request."""
        try:
            code, answer = 200, self._answer()
        except AppError as error:
            code, answer = _error(error.status, error.detail)
        except Exception:  # noqa: BLE001 - a bug must not end the conversation
            log.error("request.failed", method=self.command, trace=traceback.format_exc())
            code, answer = _error(500, "Internal")
        body = encoding.dumps(answer).encode()
        self.send_response_only(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - http.server's names

    def _answer(self) -> Document:
        url = urlsplit(self.path)
        asked = {key: values[-1] for key, values in parse_qs(url.query).items()}
        answer = self.server.api.answer(self.command, unquote(url.path).lstrip("/"), asked | self._body())
        return wire.numbered(answer) if "enum-encoding=int" in asked.get("$alt", "") else answer

    def _body(self) -> Document:
        length = self.headers.get("Content-Length", "0")
        is_readable = "Transfer-Encoding" not in self.headers and length.isdigit() and int(length) <= _REQUEST_BYTES
        self.close_connection |= not is_readable  # what is not read stands in the way of the next request
        wire.require(is_readable, f"send a Content-Length of {_REQUEST_BYTES} at most")
        try:
            return wire.mapping(json.loads(self.rfile.read(int(length)) or "{}"), "the body")
        except ValueError as error:
            message = "the body is not JSON"
            raise Refused(message) from error

    def log_message(self, *_: object) -> None:
        """Nothing: a line per request would say what the database says better."""


def _error(code: int, message: str) -> tuple[int, Document]:
    return code, {"error": {"code": code, "status": _STATUSES.get(code, "INTERNAL"), "message": message}}
