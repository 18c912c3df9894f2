"""Servers that say what a test wants, byte for byte."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from common.outgoing import calls

Serve = Callable[..., "Said"]


class Said:
    """A server that answers each request with the next of its scripts, and keeps what it was asked.

    A script is the bytes to send; None ends the connection without a word, and so does an answer that says so.
    """

    def __init__(self, scripts: Sequence[bytes | None], tls: ssl.SSLContext | None = None) -> None:
        self.scripts = list(scripts)
        self.requests: list[str] = []
        self.connections = 0
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listening.accept()
                self.connections += 1
                with contextlib.suppress(OSError), accepted:
                    self._converse(self._tls.wrap_socket(accepted, server_side=True) if self._tls else accepted)

    def _converse(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            while line := reader.readline().decode():
                length = 0
                while (header := reader.readline().decode()) not in {"\r\n", ""}:
                    if header.lower().startswith("content-length:"):
                        length = int(header.split(":")[1])
                self.requests.append(line.split(" HTTP")[0] + " " + reader.read(length).decode())
                script = self.scripts.pop(0)
                if script is None:
                    return
                connection.sendall(script)
                if b"Connection: close" in script:
                    return

    def close(self) -> None:
        self._listening.close()


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture
def serve() -> Iterator[Serve]:
    """`serve(b"...", None, ...)`: a server with these scripts."""
    servers: list[Said] = []

    def start(*scripts: bytes | None, tls: ssl.SSLContext | None = None) -> Said:
        servers.append(Said(scripts, tls))
        return servers[-1]

    yield start
    calls.close()
    for server in servers:
        server.close()
