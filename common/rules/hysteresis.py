"""Hysteresis: what one look at a condition does to its alert. Pure: what was, what is, and the minute come in.

A condition is over its threshold, calm (at most a share of it, 0.8), or in between. It opens after so many looks in a row
that found it over, and closes after so many that found it calm, or when it has not been over for a while. One that comes
back soon after it closed is the same trouble: its alert is opened again, and from then on only a long calm closes it. So a
value that swings around its threshold has one alert, however it swings.

A minute counts once, however often it is looked at: the last look of a minute is the one that counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple


class Severity(StrEnum):
    """From the least to the worst, as tds_alert_severity has them."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


@dataclass(frozen=True)
class Reading:
    """What a look at one condition found."""

    alert_type: str
    value: float
    threshold: float
    severity: Severity
    title: str
    message: str
    entity: str | None = None
    affected: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    open_after: int = 1  # looks in a row

    @property
    def key(self) -> tuple[str, str | None]:
        """There is one open alert for it at most."""
        return self.alert_type, self.entity

    @property
    def is_over(self) -> bool:
        """Whether it is as bad as to be told."""
        return self.value > self.threshold

    def is_calm(self, share: float) -> bool:
        """Whether it is so far below that it may be called over."""
        return self.value <= self.threshold * share


class Policy(NamedTuple):
    """When an alert closes, and what counts as the same trouble again."""

    calm: float = 0.8  # of the threshold
    close_after: int = 2  # calm looks in a row
    gap: timedelta = timedelta(minutes=15)  # or this long without having been over
    reopen: timedelta = timedelta(minutes=60)  # after it closed by itself


class State(NamedTuple):
    """What is remembered of a condition."""

    is_open: bool = False
    minute: datetime | None = None  # of the last look
    over: int = 0  # minutes in a row that were over, this one included
    calm: int = 0  # minutes in a row that were calm, this one included
    over_at: datetime | None = None  # when it was last over
    closed_at: datetime | None = None  # when its alert was last closed for it
    flaps: int = 0  # how often it was opened again since
    muted_until: datetime | None = None  # an operator resolved it while it was true


class Move(StrEnum):
    """What becomes of the alert."""

    NONE = "none"
    OPEN = "open"
    REOPEN = "reopen"
    KEEP = "keep"
    CLOSE = "close"


def step(state: State, reading: Reading | None, at: datetime, policy: Policy) -> tuple[State, Move]:
    """What a look at `at` changes. `reading` None: the condition could not be true, such as that of an entity that is gone."""
    is_over = reading is not None and reading.is_over
    is_calm = reading is None or (not is_over and reading.is_calm(policy.calm))
    state = _looked(state, at, is_over=is_over, is_calm=is_calm)
    if state.is_open:
        if is_over or not _is_closing(state, at, policy):
            return state, Move.KEEP
        return state._replace(is_open=False, closed_at=at), Move.CLOSE
    if not is_over or reading is None or state.over < reading.open_after or state.muted_until is not None:
        return state, Move.NONE
    if state.closed_at is not None and at - state.closed_at < policy.reopen:
        return state._replace(is_open=True, flaps=state.flaps + 1), Move.REOPEN
    return state._replace(is_open=True, flaps=0), Move.OPEN


def _looked(state: State, at: datetime, *, is_over: bool, is_calm: bool) -> State:
    minute = at.replace(second=0, microsecond=0)
    more = int(state.minute is None or minute > state.minute)
    muted = state.muted_until
    if muted is not None and (not is_over or at >= muted):
        muted = None  # it was false once, or nobody has looked into it for long enough
    return state._replace(
        minute=max(minute, state.minute or minute),
        over=max(state.over + more, 1) if is_over else 0,
        calm=max(state.calm + more, 1) if is_calm else 0,
        over_at=at if is_over else state.over_at,
        muted_until=muted,
    )


def _is_closing(state: State, at: datetime, policy: Policy) -> bool:
    has_been_quiet = state.over_at is None or at - state.over_at >= policy.gap
    return has_been_quiet or (state.calm >= policy.close_after and not state.flaps)


def is_forgotten(state: State, at: datetime, policy: Policy) -> bool:
    """Whether nothing of the state matters any more, so that its row may go."""
    is_idle = not state.is_open and not state.over and state.muted_until is None
    return is_idle and (state.closed_at is None or at - state.closed_at >= policy.reopen)
