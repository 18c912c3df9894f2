"""Source tokens: the access token of a source, which one of many refreshes while the others go on with the old one."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from common.db import Transaction

EARLY = timedelta(minutes=5)  # a token is refreshed so long before its end
LEASE = timedelta(seconds=30)  # how long a refresh may be on its way
WINDOW, MOST = timedelta(minutes=10), 8  # Zoho blocks at the eleventh refresh in ten minutes
MOST_AFTER_REFUSALS = 4


class Stored(NamedTuple):
    """What is known of a token."""

    access_token: str | None  # None: there is none for these credentials
    api_domain: str | None
    left: float  # seconds until its end; 0.0 when it is over
    is_refreshing: bool
    pause: float  # seconds until another refresh may begin
    refused: str | None
    recent: int  # refreshes in the window
    opens_in: float  # seconds until the oldest of them leaves it


def read(tx: Transaction, source: str, credentials: str) -> Stored | None:
    """The token as it stands; None when there never was one."""
    return tx.one(Stored, "source_tokens.read", source=source, credentials=credentials, window=WINDOW)


def claim(tx: Transaction, source: str, credentials: str) -> int | None:
    """The fence of the refresh that we are to make; None when it is not wanted, not ours, or one too many."""
    found: int | None = tx.value(
        "source_tokens.claim", source=source, credentials=credentials, lease=LEASE, early=EARLY, window=WINDOW, most=MOST
    )
    return found


def store(tx: Transaction, source: str, token: int, *, access_token: str, api_domain: str | None, seconds: float) -> bool:
    """Whether our refresh still held its fence, so that this is everybody's token now."""
    return (
        tx.run("source_tokens.store", source=source, token=token, access_token=access_token, api_domain=api_domain, seconds=seconds)
        == 1
    )


def fail(tx: Transaction, source: str, token: int, *, pause: float, refused: str | None) -> None:
    """Give the refresh up; nobody tries again for `pause` seconds. `refused`: why trying again is no use."""
    tx.run("source_tokens.fail", source=source, token=token, pause=pause, refused=refused)


def invalidate(tx: Transaction, source: str, access_token: str) -> bool:
    """Whether it was still everybody's token; the next who needs one makes a new one."""
    return (
        tx.run("source_tokens.invalidate", source=source, access_token=access_token, window=WINDOW, most=MOST_AFTER_REFUSALS) == 1
    )


def is_ending(tx: Transaction, source: str) -> bool:
    """Whether there is a token that should be refreshed, and nobody is at it."""
    return bool(tx.value("source_tokens.is_ending", source=source, early=EARLY))
