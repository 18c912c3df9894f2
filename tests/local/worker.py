"""The receiving side of the look-alike's tests: a loopback HTTP server that answers as told."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Received:
    """One request a worker got, and when."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass
class Worker:
    """A loopback HTTP server that answers as told: each answer is a status, seconds to wait, and headers."""

    url: str = ""
    answers: list[tuple[int, float, dict[str, str]]] = field(default_factory=list)
    usual: tuple[int, float, dict[str, str]] = (200, 0.0, {})
    received: list[Received] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def header(self, name: str) -> list[str | None]:
        """The header's value in each request so far."""
        return [request.headers.get(name) for request in self.received]


@contextmanager
def serving() -> Iterator[Worker]:
    """A worker that listens."""
    told = Worker()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            with told.lock:
                told.received.append(Received(self.path, dict(self.headers.items()), body, time.time()))
                status, seconds, headers = told.answers.pop(0) if told.answers else told.usual
                told.at_once += 1
                told.most_at_once = max(told.most_at_once, told.at_once)
            if seconds:
                threading.Event().wait(seconds)
            with told.lock:
                told.at_once -= 1
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.url = f"http://127.0.0.1:{server.server_port}/work"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
