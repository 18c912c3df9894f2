"""The journal: what a stand-in knows, in a file, so that the next one with that file is the same organization.

One line of JSON for each change, the past that was invented at its birth included: later code may invent another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from deploy.local.zoho.kinds import KINDS, Change

SLACK = 2  # times as many lines as records, and it is written anew


class Entry(NamedTuple):
    """A change, and the number that the next id was to be made of when it was over."""

    number: int
    change: Change


class Journal:
    """The file. Only one stand-in may have it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Entry]:
        """Every record's last change, in the order in which the records came; none when the file is not there yet.

        Raises: OSError, when it cannot be read.
        """
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        last: dict[str, Entry] = {}
        for entry in _whole(lines):
            last[entry.change.id] = entry
        if len(lines) > SLACK * len(last):
            unfinished = self._path.with_name(f"{self._path.name}.new")
            unfinished.write_bytes(b"".join(map(_line, last.values())))
            unfinished.replace(self._path)
        return list(last.values())

    def add(self, entries: Iterable[Entry]) -> None:
        """Write changes down before anybody is told of them.

        Raises: OSError, when they cannot be written.
        """
        with self._path.open("ab") as file:
            file.write(b"".join(map(_line, entries)))


def _whole(lines: list[bytes]) -> Iterator[Entry]:
    """The entries; a line that was cut off when its writer was killed is none."""
    for line in lines:
        try:
            yield _entry(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue


def _line(entry: Entry) -> bytes:
    change = entry.change
    said = {"number": entry.number, "label": change.kind.label, "id": change.id, "operation": change.operation, "at": change.at}
    return b"\n" + orjson.dumps(said | {"record": change.record})  # first: so that a line cut off spoils no other


def _entry(said: dict[str, Any]) -> Entry:
    at = datetime.fromisoformat(said["at"])
    return Entry(said["number"], Change(KINDS[said["label"]], said["id"], said["operation"], at, said["record"]))
