"""A gateway of a campaign: all functions on one port, in a process that comes and goes; and how anything is asked of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.processes import HOST, free_port


class Answer(NamedTuple):
    """What came back; status 0: nothing did, and whether anything was done is not known."""

    status: int
    retry_after: str | None
    body: Any


def request(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}, *, seconds: float = 10.0
) -> Answer:
    """One request, its connection closed after it."""
    connection = http.client.HTTPConnection(HOST, port, timeout=seconds)
    try:
        connection.request(method, path, body, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        text = answer.read()
        return Answer(answer.status, answer.headers.get("Retry-After"), json.loads(text) if text else None)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Answer(0, None, repr(error))
    finally:
        connection.close()


class Gateway:
    """All functions on one port, in a process that comes and goes."""

    def __init__(self, number: int, bear: Callable[[Gateway], int]) -> None:
        self.name = f"gateway {number}"
        self.port = free_port()
        self.births = 0
        self.memory: dict[str, list[tuple[float, float]]] = {}
        self.is_held = False  # nobody is to start it again yet
        self._bear = bear
        self._fd = -1
        self._pid = 0

    def bear(self) -> None:
        """Start it, or start it again."""
        self._pid = self._bear(self)
        self.births += 1
        if self._fd >= 0:
            os.close(self._fd)
        try:
            self._fd = os.pidfd_open(self._pid)
        except ProcessLookupError:  # it is dead already
            self._fd = -1

    @property
    def lives(self) -> bool:
        """Whether its process does."""
        return self._fd >= 0 and not select.select([self._fd], [], [], 0)[0]

    def send(self, number: signal.Signals) -> bool:
        """Signal it; whether it lived."""
        if not self.lives:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, number)
            return True
        return False

    def weigh(self) -> None:
        """Note how much memory it takes."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
            points = self.memory.setdefault(f"{self.name}, life {self.births}", [])
            points.append((time.monotonic(), pages * os.sysconf("SC_PAGESIZE") / 2**20))


def is_served(gateway: Gateway) -> bool:
    """Whether it answers."""
    if not gateway.lives:
        gateway.bear()
    return request(gateway.port, "GET", "/health/live", seconds=5.0).status == 200
