"""The statements of tasks.sql, each one message and one transaction; what they mean is written there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Lock
from typing import Any

from common import db, encoding
from common.errors import Broken

_STATEMENTS = db.blocks(Path(__file__).with_name("tasks.sql").read_text())
_CONNECTIONS = 6
_SECONDS = 10.0
_MISSING = {"42P01", "3F000"}  # SQLSTATEs: no such table, no such schema


class Store:
    """Runs the named statements over a few connections of its own."""

    def __init__(self, database_url: str) -> None:
        self._pool = db.Pool(db.Address(database_url), _CONNECTIONS)

    def run(self, statement: str, given: object = None) -> list[Any]:
        """The statement's rows, each one JSON document.

        Raises: Unavailable, when Postgres is down or busy.
        """
        try:
            return self._run(statement, given)
        except Broken as error:
            if error.fields.get("sqlstate") not in _MISSING:
                raise
            # Someone reset the database under us.
            self._run("schema", None)
            return self._run(statement, given)

    def close(self) -> None:
        """Close the connections, those in use as soon as they are not."""
        self._pool.close()

    def _run(self, statement: str, given: object) -> list[Any]:
        # One message with one quoted literal: a quarter of the round trips of BEGIN, parse, execute, COMMIT.
        message = _STATEMENTS[statement].replace(":given", db.literal(encoding.dumps(given)))
        with self._pool.connection(message, _SECONDS) as (_, rows):
            return [row[0] for row in rows]


class Batch:
    """Writes what many threads hand in at once as one statement: whoever gets the turn writes for all who wait."""

    def __init__(self, write: Callable[[list[Any]], list[Any]]) -> None:
        self._write = write
        self._waiting: deque[tuple[Any, Future[Any]]] = deque()
        self._turn = Lock()

    def __call__(self, item: object) -> Any:
        """What `write` answers for this item."""
        mine: Future[Any] = Future()
        self._waiting.append((item, mine))
        with self._turn:
            if not mine.done():
                # Others go on appending meanwhile: take exactly what was counted.
                items, callers = zip(*[self._waiting.popleft() for _ in range(len(self._waiting))], strict=True)
                try:
                    for caller, answer in zip(callers, self._write(list(items)), strict=True):
                        caller.set_result(answer)
                except Exception as error:  # noqa: BLE001 - handed to every caller
                    for caller in callers:
                        caller.set_exception(error)
        return mine.result()
