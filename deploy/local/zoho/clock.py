"""The stand-in's time: the real one, or one that stands still until it is turned."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """Tells the time and how long it has been running; with `start`, it stands there and only `turn` moves it."""

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start
        self._turned = timedelta()

    def now(self) -> datetime:
        """The time, in UTC."""
        return (self._start or datetime.now(UTC)) + self._turned

    def elapsed(self) -> float:
        """Seconds since some moment, by the monotonic clock and all turning: for limits, lives of tokens, the log of calls."""
        return (0.0 if self._start else time.monotonic()) + self._turned.total_seconds()

    def turn(self, seconds: float) -> None:
        """Move on, or with a negative number back."""
        self._turned += timedelta(seconds=seconds)
