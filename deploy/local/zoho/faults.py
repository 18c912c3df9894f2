"""What goes wrong on request: each fault for the next calls, for some seconds, or until it is cleared."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from deploy.local.zoho.clock import Clock

NAMES = {
    "unauthorized": "401 with code 57, whatever the token",
    "minute": "429 with code 44",
    "daily": "429 with code 45",
    "busy": "429 with code 1070",
    "error": "500 with a page of HTML",
    "unavailable": "503 with a page of HTML",
    "failing": "200 with code 1000",
    "truncated": "JSON that ends in its middle, said to be whole",
    "cut": "the connection ends in the middle of the answer",
    "slow": "the answer takes `value` seconds to arrive",
    "held": "the call waits until the fault is cleared",
    "down": "the connection ends without an answer, at the accounts server too",
    "repeating": "every page of a list is its first one, and there is always one more",
    "unfiltered": "last_modified_time is ignored, where it was honoured before",
}
# These are the whole answer; the others spoil a right one.
REFUSALS = ("unauthorized", "minute", "daily", "busy", "error", "unavailable", "failing")


@dataclass
class Fault:
    """One fault that stands."""

    name: str
    calls: int | None  # left; None: not counted
    until: float | None  # by the stand-in's clock; None: not timed
    after: int  # calls that it lets pass first
    path: str  # part of the path of the calls it happens to
    value: float


class Faults:
    """The faults that stand, and to which call they happen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._standing: list[Fault] = []
        self._changed = threading.Condition()

    def add(
        self,
        name: str,
        *,
        calls: int | None = None,
        seconds: float | None = None,
        after: int = 0,
        path: str = "",
        value: float = 1.0,
    ) -> None:
        """Let it happen to the next `calls` calls, for `seconds`, or, with neither, until it is cleared.

        `after` calls pass first; `path` narrows it to calls that have it in their path, such as "/items" or "/oauth".
        The accounts server is spared unless `path` names it or everything is down.

        Raises: ValueError, for a name that is not in NAMES.
        """
        if name not in NAMES:
            message = f"there is no fault {name!r}; there are: {', '.join(NAMES)}"
            raise ValueError(message)
        until = None if seconds is None else self._clock.elapsed() + seconds
        with self._changed:
            self._standing.append(Fault(name, calls, until, after, path, value))

    def clear(self, name: str = "") -> None:
        """End one, or all."""
        with self._changed:
            self._standing = [fault for fault in self._standing if name and fault.name != name]
            self._changed.notify_all()

    def strike(self, path: str) -> dict[str, float]:
        """The faults of one call and their values; counts it."""
        with self._changed:
            now = self._clock.elapsed()
            self._standing = [fault for fault in self._standing if fault.calls != 0 and (fault.until is None or fault.until > now)]
            struck: dict[str, float] = {}
            for fault in self._standing:
                if fault.path not in path or ("/oauth" in path and "/oauth" not in fault.path and fault.name != "down"):
                    continue
                if fault.after:
                    fault.after -= 1
                    continue
                if fault.calls is not None:
                    fault.calls -= 1
                struck[fault.name] = fault.value
            return struck

    def wait_while_held(self, seconds: float = 30.0) -> None:
        """Return once no call is held any more, or when `seconds` have passed."""
        with self._changed:
            self._changed.wait_for(lambda: all(fault.name != "held" for fault in self._standing), seconds)

    def told(self) -> list[dict[str, Any]]:
        """What stands, for people."""
        with self._changed:
            return [dict(vars(fault)) for fault in self._standing]
