"""Who holds a lease, and what those are told who do not; beside that the lease of migrators, which flows and shards need alike."""

from __future__ import annotations

import math
import os
from datetime import datetime
from typing import NamedTuple

from common import db, log, settings
from common.db import Transaction
from common.errors import AppError, LeaseLost, Passive, Unavailable
from common.stores import leases
from common.stores.leases import Standing

ACTIVE, MIGRATE = "active", "migrate"
ASKS = 3  # how often it is asked again who has it, when others take it in the same moment


class Held(NamedTuple):
    """A lease that is held."""

    name: str
    token: int
    holder: str
    expires_at: datetime


def hold(tx: Transaction, name: str = ACTIVE, holder: str | None = None) -> Held:
    """Take the lease for this deployment, or keep it.

    Raises: Passive, with `retry_after_seconds` until it may be free, while another has it or it was handed over.
    """
    wanting = holder or settings.load().deployment
    found = _asked(tx, name, wanting)
    if found.is_held and found.holder == wanting:
        return Held(name, found.token, wanting, found.expires_at)
    raise _passive(found, wanting)


def hold_to_migrate(tx: Transaction, before: Held | None = None) -> Held | None:
    """The lease of migrators, for all of one deployment; None while the schema has none. They queue up for the database beside it.

    Raises: Passive, while a migrator of another deployment is at it; LeaseLost, when one has been since `before`.
    """
    if before is None and not leases.is_there(tx):
        return None
    wanting = settings.load().deployment
    found = _asked(tx, MIGRATE, wanting)
    if before is not None and (found.holder != wanting or (found.taken_over_with or 0) > before.token):
        raise lost(before)
    if not found.is_held or found.holder != wanting:
        raise _passive(found, wanting)
    return Held(MIGRATE, found.token, wanting, found.expires_at)


def end_migrating(tx: Transaction, held: Held) -> None:
    """No more migrations: other deployments may begin theirs."""
    leases.end(tx, held.name, held.token)


def lost(held: Held) -> LeaseLost:
    """What is raised, once it is counted: in a transaction of its own, because the other is rolled back."""
    try:
        with db.transaction("worker") as tx:
            leases.count_fenced(tx)
    except AppError as error:
        log.warning("lease.not_counted", reason=error.detail)
    log.warning("lease.lost", lease=held.name, holder=held.holder, number=held.token)  # no secret, as a token of another kind is
    message = f"The lease '{held.name}' of the deployment '{held.holder}' is lost (token {held.token}): this was not written."
    return LeaseLost(message, retry_after_seconds=1)


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
