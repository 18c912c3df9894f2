"""Ring: send a task that says there is work. Losing or doubling one is harmless, and failing to ring fails nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from common import log, lookup, settings
from common.errors import AppError
from common.stores.inbox import Stored

_rung: dict[str, int] = {}


def ring(function: str, *, at: datetime | None = None, name: str | None = None, light: bool = False, **body: Any) -> bool:
    """Ring `function`, at once or at a time; whether the queue took it.

    `name` makes it one of a kind: the queue drops another of that name. `light` keeps the client library unloaded.
    """
    queue = lookup.find("queues", settings.load().queue)
    try:
        queue.ring(function, body, at=at, name=name, light=light)
    except AppError as error:
        # The work is in the database: tick rings for what nobody was rung for.
        log.warning("ring.failed", function=function, error=error.detail)
        return False
    return True


def is_due(stored: Stored) -> bool:
    """Whether `after_storing` would ring."""
    return stored.ring or _rung.get("process") != math.floor(stored.at)


def after_storing(groups: Sequence[Stored]) -> None:
    """Ring for events that were just stored: at once if nobody is at work, and once at the end of this second.

    The second ring stands for all that is committed within the second. It is named after the second and due when
    that is over, so it comes after them: a worker that had just found nothing cannot miss them.
    """
    if not groups:
        return
    if any(stored.ring for stored in groups):
        ring("process", light=True)
    second = math.floor(groups[-1].at)
    if _rung.get("process") != second:
        _rung["process"] = second
        ring("process", at=datetime.fromtimestamp(second + 1, UTC), name=f"process-{second}", light=True)
