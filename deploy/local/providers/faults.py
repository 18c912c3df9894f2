"""What goes wrong on request: for the next calls or deploys, or until it is cleared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NAMES = {
    # Of calls: these are chosen by a part of the path, and by the method.
    "conflict": "409",
    "throttled": "429, to be tried again after `value` seconds",
    "error": "500 with a page of HTML",
    "unavailable": "503",
    "refused": "403",
    "garbled": "200 with something that is no JSON",
    "empty": "202 without a body; it is done all the same",
    "lost": "502, though it was done",
    "slow": "the answer takes `value` seconds",
    # Of deploys: these are chosen by the name of the place, and by the commit.
    "fails": "the deploy ends in the state `value`",
    "stuck": "the deploy stays in the state `value`, or in the one before the last",
    "strange": "the deploy stays in a state that nobody has heard of",
    "lies": "the deploy says that it is live, and the old version runs on",
    "late": "the deploy is listed only after `value` looks",
    "doubled": "one call begins two deploys",
}


@dataclass
class Fault:
    """One that stands."""

    name: str
    calls: int | None  # left; None: until it is cleared
    after: int  # calls or deploys that it lets pass first
    path: str
    method: str
    place: str
    commit: str
    value: Any


class Faults:
    """Those that stand."""

    def __init__(self) -> None:
        self._standing: list[Fault] = []

    def add(
        self, name: str, *, calls: int | None = 1, after: int = 0, path: str = "", method: str = "", place: str = "",
        commit: str = "", value: Any = None,
    ) -> None:  # fmt: skip
        """Let it happen to the next `calls` (None: to all, until it is cleared).

        Raises: ValueError, for a name that is not in NAMES.
        """
        if name not in NAMES:
            message = f"there is no fault {name!r}; there are: {', '.join(NAMES)}"
            raise ValueError(message)
        self._standing.append(Fault(name, calls, after, path, method, place, commit, value))

    def clear(self, name: str = "") -> None:
        """End one, or all."""
        self._standing = [fault for fault in self._standing if name and fault.name != name]

    def told(self) -> list[dict[str, Any]]:
        """Those that stand, for people."""
        return [vars(fault) for fault in self._standing]

    def called(self, name: str, method: str, path: str) -> Fault | None:
        """The fault of that name that happens to this call, which is counted."""
        return self._taken([each for each in self._standing if each.name == name and each.path in path and each.method in method])

    def takes(self, name: str, place: str, commit: str | None) -> Fault | None:
        """The fault of that name that happens to this deploy, which is counted."""
        matching = [each for each in self._standing if each.name == name and each.place in {"", place}]
        return self._taken([each for each in matching if each.commit in {"", commit}])

    def _taken(self, matching: list[Fault]) -> Fault | None:
        for fault in matching:
            if fault.after > 0:
                fault.after -= 1
                continue
            if fault.calls is not None:
                fault.calls -= 1
                if fault.calls <= 0:
                    self._standing.remove(fault)
            return fault
        return None
