"""A server on loopback, for what calls somebody; a test that wants it imports its fixture."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from common.outgoing import calls


class Served(ThreadingHTTPServer):
    """A server on loopback: what it answers stands in `answers` by path, what it was asked in `asked`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        self.place = f"127.0.0.1:{self.server_address[1]}"
        self.url = f"http://{self.place}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, headers, body = self.server.answers.get(self.path, (200, {}, b"{}"))
        self.server.asked.append(f"{self.command} {self.path}")
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the library's word for it

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def served():
    server = Served()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
    calls.close()
