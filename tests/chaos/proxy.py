"""A proxy before Postgres that reads what clients say and cuts the line at a COMMIT: was it carried out, or not?

With `before`, the COMMIT is swallowed; with `after`, the server carries it out and its answer is swallowed. Either way
the client sees a connection that ended, and must act as if nothing had happened.
"""

from __future__ import annotations

import collections
import random
import re
import socket
import struct
import threading
from contextlib import suppress
from typing import Self

COMMIT = re.compile(rb"\bcommit\b", re.IGNORECASE)
SECONDS = 10


class Proxy:
    """Listens on a loopback port and speaks to a Postgres socket; `share` of all COMMITs are cut."""

    def __init__(self, server: str, *, share: float, seed: int = 1) -> None:
        self.share = share
        self.cuts: collections.Counter[str] = collections.Counter()
        self._server = server
        self._chance = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(SECONDS)
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        swallow = threading.Event()
        self._open |= {client, server}
        with client, server, suppress(OSError, EOFError):
            server.connect(self._server)
            answers = threading.Thread(target=self._answers, args=(server, client, swallow), daemon=True)
            answers.start()
            with suppress(OSError, EOFError):
                self._questions(client, server, swallow)
            with suppress(OSError):
                server.shutdown(socket.SHUT_WR)  # what it has received it still carries out
            answers.join(SECONDS)
        self._open -= {client, server}

    def _questions(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        (size,) = struct.unpack("!i", head := _read(client, 4))
        server.sendall(head + _read(client, size - 4))  # the one message without a type
        while True:
            head = _read(client, 5)
            message = head + _read(client, struct.unpack("!i", head[1:])[0] - 4)
            if head[:1] == b"Q" and COMMIT.search(message) and self._chance.random() < self.share:
                swallow.set()
                when = self._chance.choice(["before", "after"])
                self.cuts[when] += 1
                if when == "after":
                    server.sendall(message)
                return
            server.sendall(message)

    def _answers(self, server: socket.socket, client: socket.socket, swallow: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if not swallow.is_set():
                    client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)


def _read(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (part := end.recv(size - len(data))):
            raise EOFError
        data += part
    return data
