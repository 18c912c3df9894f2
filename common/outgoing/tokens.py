"""The access token of a source: one for everybody, refreshed by one while the others go on with the old one.

No transaction is open while the source is asked for a new one; a lease and its fence stand in for the lock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from common import db, log, settings
from common.errors import AppError, SourceRefused, Throttled, Unavailable
from common.outgoing import breakers
from common.stores import source_tokens
from common.stores.source_tokens import EARLY, Stored

POLL_SECONDS = 0.1
LAST = 10.0  # seconds before its end in which a token is used no more
PAUSE, PAUSE_AFTER_REFUSAL = 10.0, 60.0


class Fresh(NamedTuple):
    """What the source answered."""

    access_token: str
    api_domain: str | None
    seconds: float  # that it counts


class Access(NamedTuple):
    """A token that counts."""

    access_token: str
    api_domain: str | None


class _Known(NamedTuple):
    settings: settings.Settings  # that it was got with
    access: Access
    until: float


_known: dict[str, _Known] = {}


def current(source: str, credentials: str, refresh: Callable[[], Fresh], until: float) -> Access:
    """A token that counts; it is made by `refresh` if it must be, but only by one process at a time.

    `credentials` is a fingerprint of what `refresh` works with. `refresh` may raise Unavailable and SourceRefused.
    Raises: SourceRefused, when the source gives none, now or the last time; Unavailable, when somebody else has not made
    one by `until` (of time.monotonic), and when too many were made lately.
    """
    known = _known.get(source)
    if known and known.settings is settings.load() and time.monotonic() < known.until:
        return known.access
    while True:
        stored = _read(source, credentials)
        if stored and stored.access_token and stored.left > EARLY.total_seconds():
            return _kept(source, Access(stored.access_token, stored.api_domain), stored.left - EARLY.total_seconds())
        suspended = breakers.refused(_accounts(source))
        token = None if suspended else _claimed(source, credentials)
        if token is not None:
            return _refreshed(source, token, refresh)
        stored = _read(source, credentials)  # anew: who stopped us may be done
        if stored and stored.access_token and stored.left > LAST:
            return Access(stored.access_token, stored.api_domain)
        if suspended:
            raise suspended
        if stored:
            _check_that_waiting_helps(source, stored)
        if time.monotonic() + POLL_SECONDS >= until:
            message = f"The access token of {source} is being refreshed."
            raise Unavailable(message, retry_after_seconds=2)
        time.sleep(POLL_SECONDS)


def _accounts(source: str) -> str:
    """The dependency that gives tokens: it may be down while the source itself is not, and the other way round."""
    return f"{source}_accounts"


def _claimed(source: str, credentials: str) -> int | None:
    with db.transaction("worker") as tx:
        return source_tokens.claim(tx, source, credentials)


def _read(source: str, credentials: str) -> Stored | None:
    with db.transaction("worker") as tx:
        return source_tokens.read(tx, source, credentials)


def refused(source: str, access: Access) -> None:
    """The source did not accept this token: nobody uses it any more, unless a new one has helped nobody lately."""
    _known.pop(source, None)
    with db.transaction("worker") as tx:
        invalidated = source_tokens.invalidate(tx, source, access.access_token)
    log.warning("access.refused", source=source, invalidated=invalidated)


def _check_that_waiting_helps(source: str, stored: Stored) -> None:
    """Nothing, when somebody is about to bring a token.

    Raises: as `current` does.
    """
    if stored.is_refreshing and stored.pause > 0:
        return
    if stored.pause > 0 and stored.refused:
        raise SourceRefused(stored.refused)
    if stored.pause > 0:
        message = f"The access token of {source} could not be refreshed a moment ago."
        raise Unavailable(message, retry_after_seconds=max(1, math.ceil(stored.pause)))
    if stored.recent >= source_tokens.MOST:
        message = f"The access token of {source} was refreshed {stored.recent} times within ten minutes; more would block it."
        raise Throttled(message, retry_after_seconds=max(1, math.ceil(stored.opens_in)))


def _refreshed(source: str, token: int, refresh: Callable[[], Fresh]) -> Access:
    try:
        with breakers.guarded(_accounts(source)):
            fresh = refresh()
    except AppError as error:
        is_final = isinstance(error, SourceRefused)
        longest = error.retry_after_seconds if isinstance(error, Unavailable) else 0
        with db.transaction("worker") as tx:
            pause = PAUSE_AFTER_REFUSAL if is_final else max(PAUSE, longest)
            source_tokens.fail(tx, source, token, pause=pause, refused=error.detail if is_final else None)
        raise
    log.protect(fresh.access_token)
    with db.transaction("worker") as tx:
        stored = source_tokens.store(
            tx, source, token, access_token=fresh.access_token, api_domain=fresh.api_domain, seconds=fresh.seconds
        )
    log.info("access.refreshed", source=source, seconds=fresh.seconds, is_everybodys=stored)
    access = Access(fresh.access_token, fresh.api_domain)
    return _kept(source, access, fresh.seconds - EARLY.total_seconds()) if stored else access


def _kept(source: str, access: Access, seconds: float) -> Access:
    log.protect(access.access_token)
    _known[source] = _Known(settings.load(), access, time.monotonic() + seconds)
    return access
