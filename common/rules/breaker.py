"""A circuit breaker as a state machine: after failures in a row nobody calls; then one probe at a time; probes that go
well close it again.

Every state and every probe has a token of its own; what is told under another one changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

LEASE = timedelta(seconds=30)  # longer than any call takes: a probe that has said nothing by then is dead
WHILE_PROBED = timedelta(seconds=5)  # after which those may ask again who came while a probe was on its way


class State(StrEnum):
    """Closed: everybody calls. Open: nobody does. Half open: one at a time, to find out."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True)
class Limits:
    """How much it takes."""

    failures: int  # in a row, to open
    successes: int  # of probes, to close
    open_for: timedelta


@dataclass(frozen=True)
class Breaker:
    """How one dependency stands."""

    state: State = State.CLOSED
    failures: int = 0
    successes: int = 0
    token: int = 0
    is_probing: bool = False
    opened_at: datetime | None = None
    next_probe_at: datetime | None = None  # None: it is closed


@dataclass(frozen=True)
class Refused:
    """No call now; how long until it makes sense to ask again."""

    wait: timedelta


def admitted(breaker: Breaker, now: datetime, fresh: int) -> Breaker | Refused:
    """The breaker once a call was let through, which carries its token. `fresh` is a token that nobody has had."""
    if breaker.next_probe_at is None:
        return breaker
    if now < breaker.next_probe_at:
        wait = breaker.next_probe_at - now
        return Refused(min(wait, WHILE_PROBED) if breaker.is_probing else wait)
    return replace(breaker, state=State.HALF_OPEN, token=fresh, is_probing=True, next_probe_at=now + LEASE)


def succeeded(breaker: Breaker, token: int, now: datetime, limits: Limits, fresh: int) -> Breaker:
    """The breaker after the call with this token went well."""
    if token != breaker.token:
        return breaker
    if breaker.state is State.CLOSED:
        return replace(breaker, failures=0)
    if not breaker.is_probing:
        return breaker
    if breaker.successes + 1 >= limits.successes:
        return Breaker(token=fresh)
    return replace(breaker, successes=breaker.successes + 1, is_probing=False, next_probe_at=now)


def failed(breaker: Breaker, token: int, now: datetime, limits: Limits, fresh: int) -> Breaker:
    """The breaker after the call with this token failed."""
    if token != breaker.token:
        return breaker
    if breaker.state is State.CLOSED:
        if breaker.failures + 1 < limits.failures:
            return replace(breaker, failures=breaker.failures + 1)
        return Breaker(State.OPEN, token=fresh, opened_at=now, next_probe_at=now + limits.open_for)
    if not breaker.is_probing:
        return breaker
    return Breaker(State.OPEN, token=fresh, opened_at=breaker.opened_at, next_probe_at=now + limits.open_for)


def untold(breaker: Breaker, token: int, now: datetime) -> Breaker:
    """The breaker after the call with this token ended without saying anything of the dependency: a probe may be made anew."""
    if token != breaker.token or not breaker.is_probing:
        return breaker
    return replace(breaker, is_probing=False, next_probe_at=now)


def reset(breaker: Breaker, fresh: int) -> Breaker:
    """The breaker closed by hand; a probe that is on its way has no say any more."""
    return breaker if breaker.state is State.CLOSED and not breaker.failures else Breaker(token=fresh)
