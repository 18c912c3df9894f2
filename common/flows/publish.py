"""Publish: tell the subscribers of the bus, each at its own pace, and keep the bus within its bounds.

A notice was written by the transaction that it tells of. A subscription is taken under a token, told of one notice after the
other, and moved on under that token; whoever dies in between leaves it to the next, who tells it again under the same id.
No transaction is open while a receiver is called, so it may do whatever it likes meanwhile, and be told of that in its turn.
"""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from common import db, encoding, log, settings
from common.db import Transaction
from common.errors import AppError, Broken, Throttled
from common.flows.subscriptions import secrets
from common.outgoing import subscribers
from common.rules import deliveries as waits
from common.rules import notices as rules
from common.rules.cursors import Cursor
from common.stores import alerts, notices, subscriptions
from common.stores.subscriptions import Taken

SECONDS = 10.0  # after which nothing more is begun
AT_ONCE = 4  # subscriptions that are told at the same time: one that hangs keeps nobody else back
BATCH = 50  # notices that are read at once
MOST_TRIMS = 20
TELL_AFTER = 4  # attempts that failed: more than half an hour
ERROR = 500  # characters that are kept


def publish() -> int:
    """Tell the subscribers of what is there, as long as there is time, then trim; how many notices were told.

    Raises: Unavailable, when the database is.
    """
    until = time.monotonic() + SECONDS
    _settle()
    told = 0
    if settings.load().genesis_enabled:
        with db.transaction("worker") as tx:
            is_anybody = subscriptions.are_behind(tx)
        if is_anybody:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                told = sum(each.result() for each in [pool.submit(_tell_all, until) for _ in range(AT_ONCE)])
    trim()
    return told


def _settle() -> None:
    """After a restore from another cluster nothing new would ever be seen: its transactions have higher numbers than ours."""
    with db.transaction("worker") as tx:
        count = notices.renumber(tx) if notices.are_from_elsewhere(tx) else 0
    if count:
        log.warning("notices.renumbered", notices_and_cursors=count)


def trim() -> int:
    """Let the oldest notices go, beyond HXO_EVENT_CACHE_LIMIT and `notices.keep_days`; how many went."""
    keep = settings.load().hxo_event_cache_limit
    with db.transaction("worker") as tx:
        if not notices.may_be_trimmed(tx, keep=keep):
            return 0
    gone = db.replayed(lambda tx: notices.trim(tx, keep=keep), "worker")
    if gone.subscriptions:
        log.warning("notices.trimmed_untold", notices=gone.notices, subscriptions=gone.subscriptions)
    return gone.notices


def _tell_all(until: float) -> int:
    """One subscription after the other, until none is behind."""
    told = 0
    while time.monotonic() < until:
        taken = db.replayed(subscriptions.take, "worker")
        if taken is None:
            break
        told += _Telling(taken, until).go()
    return told


class _Telling:
    """A subscription while it is ours."""

    def __init__(self, taken: Taken, until: float) -> None:
        self._taken = taken
        self._until = until
        self._upto = taken.cursor
        self._told = 0

    def go(self) -> int:
        """Tell it of one notice after the other; how many it took."""
        if self._taken.attempts > waits.MOST_ATTEMPTS:  # everybody who tried died at it
            self._close("every attempt ended without a word of whoever made it", None)
            return 0
        try:
            while time.monotonic() < self._until and self._batch():
                pass
        except subscribers.Gone as error:
            self._close("its receiver answered that it is gone (410)", error)
            return self._told
        except AppError as error:
            self._put_off(error)
            return self._told
        except Exception as error:  # noqa: BLE001 - one that cannot even be written must not keep the others back
            self._put_off(Broken(f"It could not be sent ({type(error).__name__})."))
            return self._told
        with db.transaction("worker") as tx:
            subscriptions.give_back(tx, self._taken, self._upto)
        return self._told

    def _batch(self) -> bool:
        """Whether there may be more after the next few, or it is still ours."""
        taken = self._taken
        if taken.lost and taken.lost_upto is not None and self._upto < taken.lost_upto:
            gap = rules.gap(taken.id, self._upto, taken.lost_upto, taken.lost, datetime.now(UTC))
            return self._tell(gap, gap["id"], taken.lost_upto, lost=taken.lost)
        with db.transaction("worker", read_only=True) as tx:
            horizon = notices.horizon(tx)
            found = notices.read(tx, taken.topics, after=self._upto, upto=horizon.upto, limit=BATCH)
            if horizon.trimmed > self._upto and subscriptions.has_lost(tx, taken):
                return False  # trimmed since it was taken: it is told of that first, by whoever takes it next
        for notice in found:
            if time.monotonic() >= self._until:
                return False
            identifier = rules.message_id(taken.id, notice.id)
            if not self._tell(rules.envelope(notice), identifier, notice.cursor):
                return False
        if len(found) < BATCH:
            self._upto = max(self._upto, horizon.upto)
        return len(found) == BATCH

    def _tell(self, told: dict[str, Any], identifier: str, upto: Cursor, *, lost: int = 0) -> bool:
        """Whether it is still ours after it was told.

        Raises: what `subscribers.post` does.
        """
        taken = self._taken
        body = encoding.dumps(log.redact(rules.message(told)))
        subscribers.post(taken.url, secrets(taken.id), identifier, body)

        def write(tx: Transaction) -> bool:
            if taken.attempts >= TELL_AFTER:
                alerts.resolve(tx, alert_type=_alert(taken))
            return subscriptions.advance(tx, taken, upto, lost=lost)

        if not db.replayed(write, "worker"):
            log.warning("subscription.lost", subscription=taken.id)
            return False
        self._upto, self._told = upto, self._told + 1
        self._taken = taken._replace(attempts=1, lost=taken.lost - lost)
        log.info("notice.told", subscription=taken.id, topic=told["topic"], notice=told["id"])
        return True

    def _put_off(self, error: AppError) -> None:
        taken, detail = self._taken, str(log.redact(error.detail))[:ERROR]
        wait = waits.wait(taken.attempts, random.random())  # noqa: S311
        if wait is None:
            self._close(f"it took nothing for about three days; the last attempt: {detail}", error)
            return
        asked = timedelta(seconds=error.retry_after_seconds if isinstance(error, Throttled) else 0)

        def write(tx: Transaction) -> None:
            is_ours = subscriptions.put_off(tx, taken, wait=max(wait, asked), error=detail)
            if is_ours and taken.attempts >= TELL_AFTER:
                alerts.raise_alert(
                    tx,
                    alert_type=_alert(taken),
                    severity="warning",
                    title="A subscriber of the bus takes nothing",
                    message=f"Subscription {taken.id}: {detail} It is tried again for about three days, then closed.",
                    metadata={"subscription": taken.id},
                )

        db.replayed(write, "worker")
        log.warning("subscription.put_off", subscription=taken.id, attempt=taken.attempts, error=detail)

    def _close(self, reason: str, error: AppError | None) -> None:
        taken = self._taken
        detail = None if error is None else str(log.redact(error.detail))[:ERROR]

        def write(tx: Transaction) -> None:
            if subscriptions.close(tx, taken, reason=reason, error=detail):
                alerts.raise_alert(
                    tx,
                    alert_type=_alert(taken),
                    severity="error",
                    title="A subscription of the bus is closed",
                    message=f"Subscription {taken.id}: {reason}. Whoever wants to be told on subscribes anew, after {self._upto}.",
                    metadata={"subscription": taken.id},
                )

        db.replayed(write, "worker")
        log.error("subscription.closed", subscription=taken.id, reason=reason)


def _alert(taken: Taken) -> str:
    return f"subscription_untold:{taken.id}"
