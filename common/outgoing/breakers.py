"""Circuit breakers around calls to others: one state per dependency for every instance, in the database.

While a dependency is well, a call costs no query: that it was closed is remembered for a second, and calls that went well
are told of with the next look. So what is counted as successful may lack the last second of an instance that has ended;
failures, refusals and changes of state are written when they happen.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

from common import db, log, settings
from common.db import Transaction
from common.errors import Suspended, Throttled, Unavailable
from common.rules import breaker as rules
from common.rules.breaker import Breaker, Refused, State
from common.stores import alerts, breakers
from common.stores.breakers import Locked

REMEMBERED = 1.0  # seconds for which "closed" is taken for true
SHORT = timedelta(seconds=2)
LONG_OPEN = timedelta(minutes=15)  # after which it is no hiccup any more
WORDS = 300  # characters of a failure that are kept


class _Known(NamedTuple):
    settings: settings.Settings  # that it was read with
    breaker: Breaker
    until: float  # of time.monotonic()


class _Permit(NamedTuple):
    name: str
    token: int
    is_probe: bool
    is_awaited: bool  # there have been failures, which a success must end


_known: dict[str, _Known] = {}
_untold: Counter[tuple[str, str]] = Counter()  # calls that went well, by database and dependency
_counting = threading.Lock()


@contextmanager
def guarded(name: str) -> Iterator[None]:
    """Let a call to the dependency `name` be made inside, if it may be, and tell everybody how it went.

    What is inside must be the call alone: Unavailable means that the dependency is in trouble, Throttled says nothing of
    it (it may be our own limit), and whatever else happens, even another error, means that it answered.
    Raises: Suspended, at once, while the dependency is not called; whatever is raised inside.
    """
    permit = _permit(name)
    try:
        yield
    except (Throttled, Suspended):
        _told(permit, _neither)
        raise
    except Unavailable as error:
        _told(permit, _failure(error))
        raise
    except Exception:
        _well(permit)
        raise
    except BaseException:
        _told(permit, _neither)
        raise
    _well(permit)


def check(name: str) -> None:
    """Nothing, if a call may be made now; takes no probe, so it is for before something is spent on the call.

    Raises: Suspended.
    """
    refusal = refused(name)
    if refusal:
        raise refusal


def refused(name: str) -> Suspended | None:
    """Why no call may be made now."""
    if _remembered(name):
        return None
    seen = _look(name)
    said = rules.admitted(seen.breaker, seen.at, seen.token)
    return _suspended(name, said) if isinstance(said, Refused) else None


def forget(name: str) -> None:
    """Look at the database before the next call."""
    _known.pop(name, None)


def flush() -> None:
    """Tell of the calls that went well; for the end of a pass that may be the last of its instance."""
    with _counting:
        names = [name for url, name in _untold if url == settings.load().database_url]
    for name in names:
        _look(name)


# Before the call -------------------------------------------------------------------------------------------------


def _permit(name: str) -> _Permit:
    """Raises: Suspended."""
    seen = _remembered(name) or _look(name).breaker
    if seen.state is State.CLOSED:
        return _Permit(name, seen.token, is_probe=False, is_awaited=seen.failures > 0)
    said = db.replayed(lambda tx: _admitted(tx, name), "worker", timeout=SHORT)
    if isinstance(said, Refused):
        raise _suspended(name, said)
    if said.is_probing:
        log.info("breaker.probed", breaker=name)
    return _Permit(name, said.token, is_probe=said.is_probing, is_awaited=said.failures > 0)


def _remembered(name: str) -> Breaker | None:
    """The breaker, if it was closed a moment ago."""
    known = _known.get(name)
    if known and known.settings is settings.load() and time.monotonic() < known.until:
        return known.breaker
    return None


def _remember(name: str, breaker: Breaker) -> None:
    if breaker.state is State.CLOSED:
        _known[name] = _Known(settings.load(), breaker, time.monotonic() + REMEMBERED)
    else:
        _known.pop(name, None)


def _look(name: str) -> breakers.Seen:
    with _counting:
        successful = _untold.pop((settings.load().database_url, name), 0)
    with db.transaction("worker", timeout=SHORT) as tx:
        while True:
            seen = breakers.look(tx, name, successful=successful)
            if seen is not None:
                break
            breakers.introduce(tx, name)
    _remember(name, seen.breaker)
    return seen


def _admitted(tx: Transaction, name: str) -> Breaker | Refused:
    locked = _locked(tx, name)
    said = rules.admitted(locked.breaker, locked.at, locked.fresh)
    if isinstance(said, Refused):
        breakers.store(tx, name, locked.breaker, is_change=False, rejected=1)
    elif said != locked.breaker:
        breakers.store(tx, name, said, is_change=said.state is not locked.breaker.state)
    return said


def _suspended(name: str, said: Refused) -> Suspended:
    seconds = max(1, math.ceil(said.wait.total_seconds()))
    return Suspended(
        f"{name} has failed too often and is not called now; it may be tried in {seconds} s.", retry_after_seconds=seconds
    )


# After it --------------------------------------------------------------------------------------------------------


class _Told(NamedTuple):
    after: Breaker
    failure: str | None = None
    is_success: bool = False


def _well(permit: _Permit) -> None:
    if permit.is_probe or permit.is_awaited or _fails_lately(permit):
        _told(permit, _success)
        return
    with _counting:
        _untold[settings.load().database_url, permit.name] += 1


def _fails_lately(permit: _Permit) -> bool:
    known = _remembered(permit.name)
    return known is not None and known.token == permit.token and known.failures > 0


def _success(permit: _Permit, locked: Locked) -> _Told:
    after = rules.succeeded(locked.breaker, permit.token, locked.at, locked.limits, locked.fresh)
    return _Told(after, is_success=True)


def _neither(permit: _Permit, locked: Locked) -> _Told:
    return _Told(rules.untold(locked.breaker, permit.token, locked.at))


def _failure(error: Unavailable) -> Callable[[_Permit, Locked], _Told]:
    text = str(log.redact(error.detail))[:WORDS]

    def told(permit: _Permit, locked: Locked) -> _Told:
        return _Told(rules.failed(locked.breaker, permit.token, locked.at, locked.limits, locked.fresh), text)

    return told


def _told(permit: _Permit, what: Callable[[_Permit, Locked], _Told]) -> None:
    """Write what a call tells of its dependency. That cannot be done while the database is away: then a probe lapses."""
    if what is _neither and not permit.is_probe:
        return

    def write(tx: Transaction) -> tuple[Breaker, Breaker]:
        locked = _locked(tx, permit.name)
        before, said = locked.breaker, what(permit, locked)
        is_change = said.after.state is not before.state
        breakers.store(
            tx,
            permit.name,
            said.after,
            is_change=is_change,
            successful=int(said.is_success),
            failed=int(said.failure is not None),
            failure=said.failure,
        )
        if is_change:
            _tell(tx, permit.name, locked, said.after, said.failure)
        return before, said.after

    try:
        before, after = db.replayed(write, "worker", timeout=SHORT)
    except Unavailable as error:
        log.warning("breaker.not_told", breaker=permit.name, reason=error.detail)
        return
    _remember(permit.name, after)
    if after.state is not before.state:
        say = log.info if after.state is State.CLOSED else log.error
        say("breaker.changed", breaker=permit.name, was=before.state.value, now=after.state.value)


def _locked(tx: Transaction, name: str) -> Locked:
    while True:
        locked = breakers.lock(tx, name)
        if locked is not None:
            return locked
        breakers.introduce(tx, name)


# Telling people --------------------------------------------------------------------------------------------------


def alert_type(name: str) -> str:
    """One per breaker: an alert is open once per type."""
    return f"breaker_open:{name}"


def _tell(tx: Transaction, name: str, locked: Locked, after: Breaker, failure: str | None) -> None:
    if after.state is State.CLOSED:
        alerts.resolve(tx, alert_type=alert_type(name))
        return
    if locked.breaker.state is State.CLOSED:
        breakers.count_opened(tx)
    is_long = after.opened_at is not None and locked.at - after.opened_at >= LONG_OPEN
    alerts.raise_alert(
        tx,
        alert_type=alert_type(name),
        severity="error" if is_long else "warning",
        title=f"{name} is not called, because it failed too often",
        message=f"The last failure: {failure} It is probed every {locked.open_for.total_seconds():.0f} s, and work that needs it "
        "waits and goes on by itself.",
        metadata={"breaker": name, "opened_at": str(after.opened_at), "next_probe_at": str(after.next_probe_at)},
    )
