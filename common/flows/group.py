"""Group commit: requests that arrive while one group is being stored are stored together as the next one.

No delay is added: an idle receiver stores a lone event at once, a busy one stores many with one commit. An answer is
given only after the commit that holds its event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from common.errors import AppError, Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)
SECONDS = 10


class Begun(Protocol[Answer_co]):
    """Work that the database is at; its file descriptor is readable when it is done."""

    def fileno(self) -> int:
        """What to wait for."""

    def finish(self) -> tuple[Sequence[Answer_co], Callable[[], None] | None]:
        """The answers, and what must be done before they are given but would hold up the loop."""

    def abandon(self) -> None:
        """Wait no longer; whether it was done is not known."""


class Group(Generic[Item, Answer]):
    """Gathers items of one event loop.

    `begin` sends a list of them on its way, which costs no thread: handing over to one and back took longer than the
    database did. Where that cannot be done, or fails, `store` does the same in a thread, slowly and with all patience.
    """

    def __init__(
        self,
        begin: Callable[[Sequence[Item]], Begun[Answer]],
        store: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        most: int,
    ) -> None:
        self._begin = begin
        self._store = store
        self._most = most
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._worker: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> Answer:
        """The item's answer, after the commit that holds it.

        Raises: what `store` raised for its group.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            seen = 0
            while seen < len(self._waiting) < self._most:  # what has arrived but not been read yet comes along
                seen = len(self._waiting)
                await asyncio.sleep(0)
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                answers = await self._stored([item for item, _ in group])
            except Exception as error:  # noqa: BLE001 - it belongs to those who wait, not to this task
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), answer in zip(group, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)

    async def _stored(self, items: Sequence[Item]) -> Sequence[Answer]:
        loop = asyncio.get_running_loop()
        try:
            begun = self._begin(items)
            await _readable(begun)
            answers, rest = begun.finish()
        except AppError:
            return await loop.run_in_executor(self._thread, self._store, items)
        if rest:
            await loop.run_in_executor(self._thread, rest)
        return answers


async def _readable(begun: Begun[Answer]) -> None:
    """Raises: Unavailable, when nothing came within ten seconds."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(begun.fileno(), _set, ready)
    try:
        async with asyncio.timeout(SECONDS):
            await ready
    except BaseException as error:
        loop.remove_reader(begun.fileno())
        begun.abandon()
        if isinstance(error, TimeoutError):
            message = "The database did not answer in time."
            raise Unavailable(message) from error
        raise
    loop.remove_reader(begun.fileno())


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
