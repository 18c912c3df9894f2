"""Keeping a lane while one thing takes longer than its lease."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from common.errors import Unavailable
from common.rules.shard import Context, Lost

BEAT_SECONDS = 10.0


@contextlib.contextmanager
def kept(context: Context) -> Iterator[None]:
    """The lane is kept however long what is inside takes. Who loses it goes on: what is inside must bear to be done by another."""
    over = threading.Event()

    def keep() -> None:
        with contextlib.suppress(Lost):
            while not over.wait(BEAT_SECONDS):
                with contextlib.suppress(Unavailable):  # the next beat comes before the lease ends
                    context.beat(None)

    thread = threading.Thread(target=keep, name="beat")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
