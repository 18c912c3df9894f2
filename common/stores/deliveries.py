"""Deliveries: what people are to be told of alerts. Rows come from a trigger on the alerts; here they are taken and ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple

from common import encoding
from common.db import Transaction
from common.rules.deliveries import Taken

LEASE = timedelta(minutes=2)  # longer than a pass and the longest attempt


class Closed(NamedTuple):
    """A channel whose receiver wants nothing any more."""

    channel: str
    fingerprint: str  # of the address that said so


def remind(tx: Transaction) -> int:
    """Make a delivery more for alerts that are bad, and open for long; how many."""
    return tx.run("deliveries.remind")


def skip(tx: Transaction, *, channels: Sequence[str], reason: str, limit: int) -> int:
    """Close what is due on channels other than these."""
    return tx.run("deliveries.skip", channels=encoding.rows(list(channels)), reason=reason, limit=limit)


def take(tx: Transaction, channel: str, *, limit: int) -> list[Taken]:
    """What is due, ours until the lease ends, in the order in which it happened."""
    found = tx.all(Taken, "deliveries.take", channel=channel, limit=limit, lease=LEASE)
    return sorted(found, key=lambda taken: (taken.created_at, taken.id))


def send(tx: Transaction, taken: Iterable[Taken]) -> int:
    """They were sent; how many of them were still ours. What was due of the same alerts from before is closed with them."""
    found: int = tx.value("deliveries.send", held=encoding.rows([{"id": str(each.id), "token": each.token} for each in taken]))
    return found


def put_off(tx: Transaction, taken: Iterable[tuple[Taken, float | None]], *, error: str, uncounted: bool = False) -> int:
    """They were not sent; each is due after so many seconds, or never again. `uncounted`: nor was it tried."""
    held = [{"id": str(each.id), "token": each.token, "wait": seconds} for each, seconds in taken]
    found: int = tx.value("deliveries.put_off", held=encoding.rows(held), error=error, uncounted=uncounted)
    return found


def close_channel(tx: Transaction, channel: str, *, fingerprint: str, reason: str) -> None:
    """Send nothing there any more, as long as the address is the same."""
    tx.run("deliveries.close_channel", channel=channel, fingerprint=fingerprint, reason=reason)


def open_channel(tx: Transaction, channel: str, *, fingerprint: str) -> bool:
    """Whether it had been closed with another address."""
    return tx.run("deliveries.open_channel", channel=channel, fingerprint=fingerprint) > 0


def closed(tx: Transaction) -> list[Closed]:
    """The channels that are closed."""
    return tx.all(Closed, "deliveries.closed")


def digest_above(tx: Transaction) -> int:
    """How many may be due by e-mail at once before one message tells of all."""
    found: int = tx.value("deliveries.digest_above")
    return found


def prune(tx: Transaction, *, limit: int) -> int:
    """Forget what ended long ago."""
    return tx.run("deliveries.prune", limit=limit)


def is_needed(tx: Transaction) -> bool:
    """Whether there may be anything to send or to forget."""
    return bool(tx.value("deliveries.is_needed"))
