"""Sweep: a bounded look at what has come to a halt, beside whatever a function was called for."""

from __future__ import annotations

import threading
import time

from common import log
from common.errors import AppError
from common.flows import process, replays

EVERY_SECONDS = 5.0  # at most once in so many, in one process
LIMIT = 50  # events


class _Clock:
    """When this process swept last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = 0.0

    def is_time(self) -> bool:
        """Whether it is time again; then it is this caller's to do."""
        with self._lock:
            now = time.monotonic()
            if self._at and now - self._at < EVERY_SECONDS:
                return False
            self._at = now
            return True

    def forget(self) -> None:
        """Let the next one be due at once."""
        with self._lock:
            self._at = 0.0


clock = _Clock()


def recover(worker: str, limit: int) -> int:
    """Take over from workers that died; how many events that put back.

    Raises: Unavailable, when the database is, or has another schema.
    """
    swept = process.sweep(process.rules_for(worker), limit=limit)
    if swept:
        process.wake_when_due()  # what was swept waits a moment before it is tried again
    return swept


def sweep(worker: str, limit: int = 100) -> int:
    """As `recover`, and take replays further; how many events that put back."""
    return recover(worker, limit) + replays.advance_and_ring()


def beside(function: str) -> int:
    """Sweep beside a call of `function`, now and then. That fails nothing: the call was for something else."""
    if not clock.is_time():
        return 0
    try:
        return sweep(function, LIMIT)
    except AppError as error:
        log.warning("sweep.failed", beside=function, error=error.detail)
        return 0
