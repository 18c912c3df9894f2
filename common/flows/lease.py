"""The lease: of all deployments that share a database one is ACTIVE, and the others are PASSIVE.

A PASSIVE deployment runs no schedule, works on no plan and calls nobody; it receives, and may apply what was received.
The ACTIVE one keeps its lease as long as anything of it is heard of, and loses it by time or to a person, never by being
idle. What is written under the lease is written in a transaction that guards it, so whoever was stopped for longer than it
lasts finds out at its next write, and that is refused.
"""

from __future__ import annotations

import time
from typing import Any

from common import db, log, settings
from common.db import Transaction
from common.errors import Conflict, Passive
from common.stores import leases
from common.stores.holding import ACTIVE, Held, hold, lost
from common.stores.leases import Shown

__all__ = ["ACTIVE", "FIELDS", "Held", "Watch", "guard", "held", "held_or_none", "hold", "release", "shown"]
CHECK_SECONDS = 1.0  # how long a lease is taken to stand, in a long call


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


# Writing under it ------------------------------------------------------------------------------------------------


def guard(tx: Transaction, held_: Held) -> None:
    """Keep the lease from being taken until this transaction ends: call it before what is written under the lease.

    Raises: LeaseLost, when it ran out or was handed over; counted as `fenced`.
    """
    if not leases.guard(tx, held_.name, held_.token):
        raise lost(held_)


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
            raise lost(self._held)
        self._until = time.monotonic() + CHECK_SECONDS


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
