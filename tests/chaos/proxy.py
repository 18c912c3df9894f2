"""A proxy before Postgres that reads what clients say and cuts the line at a COMMIT: was it carried out, or not?

With `before`, the COMMIT is swallowed; with `after`, the server carries it out and its answer is swallowed. Either way
the client sees a connection that ended, and must act as if nothing had happened. Besides it can be slow, swallow
everything for a while, refuse, and reset every connection.

`python -m tests.chaos.proxy SOCKET SEED` is one in a process of its own: it says its port, then obeys JSON objects, one a
line, such as {"share": 0.1, "latency": 0.05, "stalled": true, "down": true, "reset": true}, and answers with its counts.
"""

from __future__ import annotations

import collections
import json
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

COMMIT = re.compile(rb"\bcommit\b", re.IGNORECASE)
SECONDS = 10


class Proxy:
    """Listens on a loopback port and speaks to a Postgres socket; `share` of all COMMITs are cut."""

    def __init__(self, server: str, *, share: float, seed: int = 1) -> None:
        self.share = share
        self.latency = 0.0  # seconds, for each message of a client
        self.is_down = False
        self.cuts: collections.Counter[str] = collections.Counter()
        self._flowing = threading.Event()
        self._flowing.set()
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

    def stall(self, *, is_on: bool) -> None:
        """Swallow everything from here on, in both directions; or let it arrive after all."""
        self._flowing.clear() if is_on else self._flowing.set()

    def reset(self) -> int:
        """End every connection with a RST, as a middlebox does that forgot them; how many."""
        ends = [end for end in list(self._open) if end.family == socket.AF_INET]
        for end in ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD)  # wakes who reads it, whose close then sends the RST
        return len(ends)

    def obey(self, order: dict[str, Any]) -> dict[str, int]:
        """What an order of another process says; the counts so far."""
        self.share = order.get("share", self.share)
        self.latency = order.get("latency", self.latency)
        self.is_down = order.get("down", self.is_down)
        if "stalled" in order:
            self.stall(is_on=order["stalled"])
        ended = self.reset() if order.get("reset") else 0
        return {**self.cuts, "open": len(self._open) // 2, "reset": ended}

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.is_down:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.close()
                    continue
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
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
        self._open -= {client, server}

    def _questions(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        (size,) = struct.unpack("!i", head := _read(client, 4))
        server.sendall(head + _read(client, size - 4))  # the one message without a type
        while True:
            head = _read(client, 5)
            message = head + _read(client, struct.unpack("!i", head[1:])[0] - 4)
            if self.latency:
                time.sleep(self.latency * self._chance.uniform(0.5, 1.5))
            self._flowing.wait(SECONDS * 3)
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
                self._flowing.wait(SECONDS * 3)
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


class Remote:
    """A proxy in a process of its own."""

    def __init__(self, server: str, seed: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.proxy", server, str(seed)], cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._lock = threading.Lock()
        self.port = int(self._answer())

    def order(self, **order: Any) -> dict[str, int]:
        """Have it do so; its counts."""
        with self._lock:
            assert self._process.stdin
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            found: dict[str, int] = json.loads(self._answer())
        return found

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> bytes:
        assert self._process.stdout
        return self._process.stdout.readline()


def main() -> None:
    """Serve until stdin ends."""
    proxy = Proxy(sys.argv[1], share=0.0, seed=int(sys.argv[2]))
    threading.Thread(target=proxy._accept, daemon=True).start()
    sys.stdout.write(f"{proxy.port}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(proxy.obey(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
