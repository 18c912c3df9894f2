"""The three limits of an organization: calls per minute, calls per day, calls at a time."""

from __future__ import annotations

import collections
from datetime import datetime, timedelta, timezone

from deploy.local.zoho.clock import Clock

MINUTE_SECONDS = 60.0


class Limits:
    """Counts calls and says which code refuses one; None switches a limit off. Whoever calls it holds the stand-in's lock.

    What is refused counts for nothing. The headers tell only of the day: nothing at Zoho tells of the minute.
    """

    def __init__(self, clock: Clock) -> None:
        self.minute: int | None = 100
        self.daily: int | None = 10_000
        self.in_flight: int | None = 10
        self.running = 0
        self._clock = clock
        self._recent: collections.deque[float] = collections.deque()
        self._day = ""
        self._today = 0

    def off(self) -> None:
        """Limit nothing."""
        self.minute = self.daily = self.in_flight = None

    def take(self, zone: timezone) -> int | None:
        """Begin a call that `end` ends, or the code that refuses it: 1070, 44 or 45."""
        self._roll(zone)
        now = self._clock.elapsed()
        while self._recent and self._recent[0] <= now - MINUTE_SECONDS:
            self._recent.popleft()
        if self.in_flight is not None and self.running >= self.in_flight:
            return 1070
        if self.daily is not None and self._today >= self.daily:
            return 45
        if self.minute is not None and len(self._recent) >= self.minute:
            return 44
        self._recent.append(now)
        self._today += 1
        self.running += 1
        return None

    def end(self) -> None:
        """End a call that was let in."""
        self.running -= 1

    def headers(self, zone: timezone) -> str:
        """The lines that tell of the day; Reset is in seconds."""
        self._roll(zone)
        limit = 10_000 if self.daily is None else self.daily
        left = limit if self.daily is None else max(limit - self._today, 0)
        here = self._clock.now().astimezone(zone)
        rollover = datetime.combine(here.date() + timedelta(days=1), datetime.min.time(), zone)
        reset = int((rollover - here).total_seconds())
        return f"X-Rate-Limit-Limit: {limit}\r\nX-Rate-Limit-Remaining: {left}\r\nX-Rate-Limit-Reset: {reset}\r\n"

    def _roll(self, zone: timezone) -> None:
        day = self._clock.now().astimezone(zone).strftime("%Y-%m-%d")
        if day != self._day:
            self._day, self._today = day, 0
