"""Limits: slots of a source's limited rate, one row per organization, whoever calls from wherever.

A slot is reserved before the call: whoever has one waits for its moment and asks no more. Each function here needs a
short transaction of its own, as a row that is locked during a call would make one call at a time of all.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from common.db import Transaction
from common.rules.urgency import Urgency


class Slot(NamedTuple):
    """The next slot, ours if it was granted."""

    is_granted: bool
    is_spent: bool  # the day has no calls left for this urgency
    wait: float  # seconds until the slot; negative, when it was free all the while
    resets_in: float  # seconds until the source's next day
    used: int  # slots of this day, this one included
    told_limit: int | None  # calls a day, as the source says; None: it has not said
    slowdown: float  # 1.0: none
    at: datetime  # when it was asked for, by the database's clock


class State(NamedTuple):
    """How things stand with one organization."""

    source: str
    organization_id: str
    calls_per_minute: float  # now
    slowdown: float
    blocked_until: datetime | None
    blocked_reason: str | None
    used_today: int
    left_today: int
    day_limit: int
    resets_at: datetime | None  # None: no call was made today
    next_slot_in: float  # seconds; 0.0: at once


def take(tx: Transaction, source: str, organization: str, urgency: Urgency, *, patience: float) -> Slot | None:
    """The next slot, granted if it is at most `patience` seconds away; None when the organization is not known yet."""
    return tx.one(Slot, "limits.take", source=source, organization=organization, urgency=urgency.value, patience=patience)


def introduce(tx: Transaction, source: str, organization: str) -> None:
    """Make an organization known."""
    tx.run("limits.open", source=source, organization=organization)


def is_blocked(tx: Transaction, source: str, organization: str) -> bool:
    """Whether the source has told everybody to stop, also those who have a slot."""
    return bool(tx.value("limits.is_blocked", source=source, organization=organization))


def block(tx: Transaction, source: str, organization: str, *, seconds: float, reason: str, slower: bool) -> None:
    """Let nobody call for so long; `slower`: and call less often afterwards."""
    tx.run("limits.block", source=source, organization=organization, seconds=seconds, reason=reason, slower=slower)


def hear(
    tx: Transaction, source: str, organization: str, *, day_limit: int | None, remaining: int | None, resets_in: int | None
) -> None:
    """Note what an answer says of the day's calls, None for what it does not say. Its word counts when it leaves us less."""
    tx.run("limits.hear", source=source, organization=organization, day_limit=day_limit, remaining=remaining, resets_in=resets_in)


def state(tx: Transaction) -> list[State]:
    """Every organization that has called."""
    return tx.all(State, "limits.state")
