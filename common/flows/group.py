"""Group commit: requests that arrive while one group is being stored are stored together as the next one.

No delay is added: an idle receiver stores a lone event at once, a busy one stores many with one commit. An answer is
given only after the commit that holds its event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Group(Generic[Item, Answer]):
    """Gathers items of one event loop; `store` works on a list of them in a thread of its own, one list at a time."""

    def __init__(self, store: Callable[[Sequence[Item]], Sequence[Answer]], *, most: int) -> None:
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
        loop = asyncio.get_running_loop()
        while self._waiting:
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                answers = await loop.run_in_executor(self._thread, self._store, [item for item, _ in group])
            except Exception as error:  # noqa: BLE001 - it belongs to those who wait, not to this task
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), answer in zip(group, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
