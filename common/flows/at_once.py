"""Asking several at once, and waiting for none of them longer than HXO_FEDERATION_TIMEOUT."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from common import settings

T = TypeVar("T")


def each(ask: Callable[[T], None], rows: Sequence[T]) -> None:
    """`ask` every row in a thread of its own, which keeps what it hears. One that is late goes on, and nobody waits for it."""
    threads = [threading.Thread(target=ask, args=(row,), daemon=True) for row in rows]
    for thread in threads:
        thread.start()
    until = time.monotonic() + settings.load().hxo_federation_timeout.total_seconds()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
