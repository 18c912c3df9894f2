"""The bus, for those who ask: notices in their order after a cursor, the newest of them, and how the bus is."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

from common import db, log, settings
from common.db import Transaction
from common.errors import Invalid, Unknown
from common.flows import subscriptions
from common.flows.status import limit_of
from common.rules import cursors, topics
from common.rules.cursors import Cursor
from common.rules.http import Request
from common.rules.notices import envelope
from common.stores import notices
from common.stores import subscriptions as store

LONGEST = 25.0  # seconds that a poll waits
SHARE = 0.8  # of what a function may take
BETWEEN = 0.5  # seconds between two looks
MOST_WAITING = 8  # polls that wait in one instance; others are answered at once
_waiting = threading.BoundedSemaphore(MOST_WAITING)


def events(request: Request) -> dict[str, Any]:
    """Notices after a cursor, in order: `next` goes into `after` to read on, and to be told later of what comes.

    Without `after`: from the oldest that is kept. `gap` is true when some after the cursor are gone.
    Raises: Unknown, for a topic that there is not; Invalid, for a cursor or limit that is none.
    """
    return _read(_pattern(request.arguments.get("topic", topics.EVERY)), _after(request), limit_of(request))


def subscribe(request: Request, topic: str) -> dict[str, Any]:
    """As `events`, of one topic; while there is nothing, it waits for `wait` seconds, 25 if not said otherwise."""
    pattern, after, limit, wait = _pattern(topic), _after(request), limit_of(request), _wait(request)
    found = _read(pattern, after, limit)
    if found["count"] or found["gap"] or not wait or not _waiting.acquire(blocking=False):
        return found
    try:
        until = time.monotonic() + min(wait, settings.load().function_timeout_seconds.total_seconds() * SHARE)
        while not (found["count"] or found["gap"]) and (left := until - time.monotonic()) > 0:
            time.sleep(min(BETWEEN, left))
            found = _read(pattern, cursors.read(found["next"]), limit)
    finally:
        _waiting.release()
    return found


def logs(request: Request) -> dict[str, Any]:
    """The newest notices, the newest first."""
    limit, pattern = limit_of(request), _pattern(request.arguments.get("topic", topics.EVERY))
    with db.transaction("status", read_only=True) as tx:
        found = notices.newest(tx, [pattern], limit=limit)
    return {"events": [log.redact(envelope(each)) for each in found], "count": len(found)}


def metrics() -> dict[str, Any]:
    """How much there is on the bus, by topic, and how far behind each subscription is."""
    with db.transaction("status", read_only=True) as tx:
        counts, sizes, horizon = notices.counts(tx), notices.sizes(tx), notices.horizon(tx)
        rows = store.listed(tx, limit=subscriptions.MOST)
    return {
        "kept": sizes.kept,
        "limit": settings.load().hxo_event_cache_limit,
        "held_back": sizes.held_back,
        "trimmed": sizes.trimmed,
        "trimmed_at": sizes.trimmed_at,
        "refused": sizes.refused,
        "oldest_at": min((each.oldest_at for each in counts), default=None),
        "newest_at": max((each.newest_at for each in counts), default=None),
        "last": str(horizon.upto),
        "topics": [each._asdict() for each in counts],
        "subscriptions": [
            {"id": row.id, "topics": row.topics, "state": row.state, "lag": row.lag, "lost": row.lost, "told": row.told}
            for row in rows
        ],
        "timestamp": datetime.now(UTC),
    }


def _read(pattern: str, after: Cursor | None, limit: int) -> dict[str, Any]:
    """In a transaction of its own, so that nobody who waits holds one."""
    with db.transaction("status", read_only=True) as tx:
        return _page(tx, pattern, after, limit)


def _page(tx: Transaction, pattern: str, after: Cursor | None, limit: int) -> dict[str, Any]:
    horizon = notices.horizon(tx)
    begin = after or horizon.trimmed
    if begin > horizon.upto:
        message = (
            f"'after' lies beyond the last notice ({horizon.upto}), as a cursor of another database does: read anew from there."
        )
        raise Invalid(message, errors=[{"pointer": "after", "message": message}], last=str(horizon.upto))
    found = notices.read(tx, [pattern], after=begin, upto=horizon.upto, limit=limit)
    is_gap = begin < horizon.trimmed
    return {
        "events": [log.redact(envelope(each)) for each in found],
        "count": len(found),
        "next": str(found[-1].cursor if len(found) == limit else horizon.upto),
        "gap": is_gap,
        "gap_from": str(begin) if is_gap else None,
        "gap_to": str(horizon.trimmed) if is_gap else None,
    }


def _pattern(text: str) -> str:
    if not topics.matching(text):
        message = f"There is no topic {text[:100]}; there are: {', '.join(sorted(topics.TOPICS))}."
        raise Unknown(message, topics=sorted(topics.TOPICS))
    return text


def _after(request: Request) -> Cursor | None:
    text = request.arguments.get("after", "")
    found = cursors.read(text)
    if text and found is None:
        message = "'after' must be what an answer said as 'next', or a notice as 'seq'."
        raise Invalid(message, errors=[{"pointer": "after", "message": message}])
    return found


def _wait(request: Request) -> float:
    text = request.arguments.get("wait", str(int(LONGEST)))
    if not text.isascii() or not text.isdigit() or int(text[:9]) > LONGEST:
        message = f"'wait' must be a whole number of seconds from 0 to {LONGEST:.0f}."
        raise Invalid(message, errors=[{"pointer": "wait", "message": message}])
    return float(text)
