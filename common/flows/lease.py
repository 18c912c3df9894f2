"""The lease: of all deployments that share a database one is ACTIVE, and the others are PASSIVE.

A PASSIVE deployment runs no schedule, works on no plan and calls nobody; it receives, and may apply what was received.
The ACTIVE one keeps its lease as long as anything of it is heard of, and loses it by time or to a person, never by being
idle. What is written under the lease is written in a transaction that guards it, so whoever was stopped for longer than it
lasts finds out at its next write, and that is refused.
"""

from __future__ import annotations

import math
import os
import time
from datetime import datetime
from typing import Any, NamedTuple

from common import db, log, settings
from common.db import Transaction
from common.errors import AppError, Conflict, LeaseLost, Passive, Unavailable
from common.stores import leases
from common.stores.leases import Shown, Standing

ACTIVE, MIGRATE = "active", "migrate"
ASKS = 3  # how often it is asked again who has it, when others take it in the same moment
CHECK_SECONDS = 1.0  # how long a lease is taken to stand, in a long call


class Held(NamedTuple):
    """A lease that is held."""

    name: str
    token: int
    holder: str
    expires_at: datetime


def held(name: str = ACTIVE, holder: str | None = None) -> Held:
    """Take the lease for this deployment, or keep it.

    Raises: Passive, with `retry_after_seconds` until it may be free, while another has it or it was handed over.
    """
    with db.transaction("worker") as tx:
        return hold(tx, name, holder)


def held_or_none() -> Held | None:
    """The lease of the ACTIVE deployment, taken or kept; None while this one is PASSIVE."""
    try:
        return held()
    except Passive as passive:
        log.info("lease.passive", reason=passive.detail)
        return None


def hold(tx: Transaction, name: str = ACTIVE, holder: str | None = None) -> Held:
    """As `held`, inside a transaction."""
    wanting = holder or settings.load().deployment
    found = _asked(tx, name, wanting)
    if found.is_held and found.holder == wanting:
        return Held(name, found.token, wanting, found.expires_at)
    raise _passive(found, wanting)


def _asked(tx: Transaction, name: str, holder: str) -> Standing:
    for _ in range(ASKS):
        found = leases.hold(tx, name, holder=holder, pid=os.getpid())
        if found is not None and (found.is_held or found.is_left_to_others):
            return found
    message = f"Several deployments want the lease '{name}' in the same moment."
    raise Unavailable(message, retry_after_seconds=1)


def _passive(found: Standing, wanting: str) -> Passive:
    seconds = max(1, math.ceil(found.left or 0))
    if found.holder == wanting:
        message = f"The deployment '{wanting}' has handed over the lease '{found.name}', and leaves it to others for {seconds} s."
        return Passive(message, retry_after_seconds=seconds, holder=None)
    message = f"The deployment '{found.holder}' holds the lease '{found.name}' for {seconds} s at least; this one is '{wanting}'."
    return Passive(message, retry_after_seconds=seconds, holder=found.holder)


# Writing under it ------------------------------------------------------------------------------------------------


def guard(tx: Transaction, held_: Held) -> None:
    """Keep the lease from being taken until this transaction ends: call it before what is written under the lease.

    Raises: LeaseLost, when it ran out or was handed over; counted as `fenced`.
    """
    if not leases.guard(tx, held_.name, held_.token):
        raise _lost(held_)


class Watch:
    """A lease during a long call, which may lose it to others at any time."""

    def __init__(self, held_: Held) -> None:
        self._held = held_
        self._until = time.monotonic() + CHECK_SECONDS
        self.is_lost = False

    def guard(self, tx: Transaction) -> None:
        """As `guard`; for transactions that are short."""
        self._seen(is_ours=leases.guard(tx, self._held.name, self._held.token))

    def check(self, tx: Transaction) -> None:
        """As `guard`, but looked at once a second at most, and nobody waits: for what is fenced by a token of its own as well.

        Raises: LeaseLost.
        """
        if time.monotonic() >= self._until:
            self._seen(is_ours=leases.stands(tx, self._held.name, self._held.token))

    def stands(self) -> bool:
        """Whether it is still ours, as far as that is known for a second."""
        if time.monotonic() >= self._until and not self.is_lost:
            with db.transaction("worker", read_only=True) as tx:
                self.is_lost = not leases.stands(tx, self._held.name, self._held.token)
            self._until = time.monotonic() + CHECK_SECONDS
        return not self.is_lost

    def _seen(self, *, is_ours: bool) -> None:
        if not is_ours:
            self.is_lost = True
            raise _lost(self._held)
        self._until = time.monotonic() + CHECK_SECONDS


def _lost(held_: Held) -> LeaseLost:
    """What is raised, once it is counted: in a transaction of its own, because the other is rolled back."""
    try:
        with db.transaction("worker") as tx:
            leases.count_fenced(tx)
    except AppError as error:
        log.warning("lease.not_counted", reason=error.detail)
    log.warning("lease.lost", lease=held_.name, holder=held_.holder, number=held_.token)  # no secret, as a token of another kind is
    message = f"The lease '{held_.name}' of the deployment '{held_.holder}' is lost (token {held_.token}): this was not written."
    return LeaseLost(message, retry_after_seconds=1)


# Migrations ------------------------------------------------------------------------------------------------------


def hold_to_migrate(tx: Transaction, before: Held | None = None) -> Held | None:
    """The lease of migrators, for all of one deployment; None while the schema has none. They queue up for the database beside it.

    Raises: Passive, while a migrator of another deployment is at it; LeaseLost, when one has been since `before`.
    """
    if before is None and not leases.is_there(tx):
        return None
    wanting = settings.load().deployment
    found = _asked(tx, MIGRATE, wanting)
    if before is not None and (found.holder != wanting or (found.taken_over_with or 0) > before.token):
        raise _lost(before)
    if not found.is_held or found.holder != wanting:
        raise _passive(found, wanting)
    return Held(MIGRATE, found.token, wanting, found.expires_at)


def end_migrating(tx: Transaction, held_: Held) -> None:
    """No more migrations: other deployments may begin theirs."""
    leases.end(tx, held_.name, held_.token)


# People ----------------------------------------------------------------------------------------------------------


def release() -> dict[str, Any]:
    """Hand the lease over: whichever other deployment ticks next is ACTIVE. Its holder does not take it back for a while.

    Raises: Conflict, when nobody holds it.
    """
    actor = str(log.field("operator"))
    with db.transaction("operator") as tx:
        found = leases.release(tx, ACTIVE, actor=actor)
    if found is None:
        message = "Nobody holds the lease: whichever deployment ticks next takes it."
        raise Conflict(message)
    log.info("lease.released", holder=found.holder, number=found.token, by=actor)
    return {
        "success": True,
        "message": f"The deployment '{found.holder}' is PASSIVE now; another takes over at its next tick.",
        "released_from": found.holder,
        "token": found.token,
        "released_at": found.released_at,
    }


def shown(found: Shown | None) -> dict[str, Any]:
    """What /health tells of the lease of which deployment is ACTIVE; all null before there was one."""
    if found is None:
        return dict.fromkeys(FIELDS)
    is_active = found.is_held and found.holder == settings.load().deployment
    values = (
        is_active,
        "ACTIVE" if is_active else "PASSIVE",
        is_active,
        found.holder,
        found.holder_pid,
        found.idle,
        found.heartbeat_age,
        found.takeover and found.takeover | {"expired_for_seconds": float(found.takeover["expired_for_seconds"])},
    )
    return dict(zip(FIELDS, values, strict=True))


# The lock is held by this deployment or not (`active`, `lock_acquired`); who has it is told by `lock_holder`, a deployment, and
# `lock_holder_pid`, its process that was last heard of. `lock_idle_duration`: for how long nobody has held it, in seconds.
FIELDS = (
    "active",
    "lock_state",
    "lock_acquired",
    "lock_holder",
    "lock_holder_pid",
    "lock_idle_duration",
    "lock_heartbeat_age",
    "lock_takeover_event",
)
