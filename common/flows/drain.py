"""Draining a release: it takes nothing new, finishes what it holds or has it taken by the deadline, and hands over the lease.

A release is drained, of one deployment: another release, or another deployment on the same database, is not touched by it.
Nobody waits in the background: each call, tick and question of the release that is drained moves this on.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from common import db, log, settings
from common.db import Transaction
from common.errors import Conflict, Invalid
from common.rules.http import Request
from common.stores import drains, leases, notices, releases
from common.stores.holding import ACTIVE

DEADLINE, LONGEST = 30, 3600  # seconds
MOST_WAIT, POLL = 25.0, 0.25  # seconds; the HTTP APIs in front of functions wait for 29
FIELDS = ("deadline_seconds", "release", "deployment", "resume")


def ask(given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Drain this release, or the one that is named: 202, for it goes on after this. `{"resume": true}` lets it take work again.

    Raises: Invalid, for what cannot be understood; Conflict, when it is to resume and is not being drained.
    """
    deployment, release, patience = _read(given)
    actor = str(log.field("operator"))
    if given.get("resume"):
        return 200, _resumed(deployment, release, actor)
    with db.transaction("operator") as tx:
        drains.begin(tx, deployment, release, patience=patience, actor=actor)
        _tell(tx, "drain", actor, deployment, release)
    log.info("drain.begun", deployment=deployment, release=release, deadline_seconds=patience.total_seconds())
    settle(deployment, release)
    return 202, _shown(deployment, release)


def resume() -> dict[str, Any]:
    """Let this release take something again.

    Raises: Conflict, when it is not being drained.
    """
    current = settings.load()
    return _resumed(current.deployment, current.running_release, str(log.field("operator")))


def wait_for_idle(request: Request) -> tuple[int, dict[str, Any]]:
    """How this release stands, as soon as it holds nothing: 200; or when the time that is asked for is up: 202.

    Raises: Invalid, unless `timeout` is a number of seconds up to 25.
    """
    current = settings.load()
    until = time.monotonic() + _timeout(request.arguments.get("timeout", "10"))
    while True:
        settle()
        found = _shown(current.deployment, current.running_release)
        if found["idle"] or time.monotonic() >= until:
            return 200 if found["idle"] else 202, found
        time.sleep(max(0.0, min(POLL, until - time.monotonic())))


def settle(deployment: str | None = None, release: str | None = None) -> bool:
    """Move the draining of a release on, of this one if none is named; whether it is being drained."""
    current = settings.load()
    deployment, release = deployment or current.deployment, release or current.running_release
    with db.transaction("worker") as tx:
        found = drains.find(tx, deployment, release)
        if found is None:
            return False
        held = drains.at_work(tx, deployment, release).lanes
        if held and found.is_due:
            log.warning("drain.handed_back", deployment=deployment, release=release, lanes=held)
            drains.hand_back(tx, deployment, release)
            held = 0
        if not held:
            if found.idle_at is None:
                drains.settle(tx, deployment, release)
            _hand_over(tx, deployment, release)
    return True


def _hand_over(tx: Transaction, deployment: str, release: str) -> None:
    """Give the lease to another deployment, if one is there, and no other release of this one, which would hold the same lease.

    Where nobody is there yet, it is not kept either: it runs out, and whoever comes takes it.
    """
    heard = releases.heard(tx)
    if all(each.deployment == deployment for each in heard):
        return
    if any(each.deployment == deployment and each.release != release for each in heard):
        return
    lease = leases.find(tx, ACTIVE)
    if lease is not None and lease.is_held and lease.holder == deployment:
        leases.release(tx, ACTIVE, actor=f"drain of {release}")
        log.info("drain.lease_handed_over", deployment=deployment, release=release)


def _resumed(deployment: str, release: str, actor: str) -> dict[str, Any]:
    with db.transaction("operator") as tx:
        was = drains.end(tx, deployment, release)
        if was:
            _tell(tx, "resume", actor, deployment, release)
    if not was:
        message = f"The release {release} of the deployment '{deployment}' is not being drained."
        raise Conflict(message)
    log.info("drain.ended", deployment=deployment, release=release)
    return _shown(deployment, release)


def _tell(tx: Transaction, action: str, actor: str, deployment: str, release: str) -> None:
    payload = {"action": action, "actor": actor, "deployment": deployment, "release": release}
    notices.add(tx, "hxo.audit", payload, source="drain", kind="audit")


def _shown(deployment: str, release: str) -> dict[str, Any]:
    """How it stands; numbers and times are null where there is nothing that they could tell of."""
    with db.transaction("status", read_only=True) as tx:
        found = drains.find(tx, deployment, release)
        held = drains.at_work(tx, deployment, release)
        lease = leases.find(tx, ACTIVE)
    is_active = lease is not None and lease.is_held and lease.holder == deployment
    return {
        "deployment": deployment,
        "release": release,
        "draining": found is not None,
        "idle": not held.lanes and not (held.retries and is_active),
        "lanes_held": held.lanes,
        "retries_held": held.retries,
        "lease_held": is_active,
        "asked_at": found and found.asked_at,
        "asked_by": found and found.asked_by,
        "deadline_at": found and found.deadline_at,
    }


def _read(given: dict[str, Any]) -> tuple[str, str, timedelta]:
    current = settings.load()
    known = f"is not known; there are {', '.join(FIELDS)}"
    faults = [{"pointer": f"/{name}", "message": known} for name in given if name not in FIELDS]
    seconds = given.get("deadline_seconds", DEADLINE)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds <= LONGEST:
        faults.append({"pointer": "/deadline_seconds", "message": f"must be a whole number from 0 to {LONGEST}"})
    named = {name: given.get(name, own) for name, own in (("deployment", current.deployment), ("release", current.running_release))}
    faults += [
        {"pointer": f"/{name}", "message": "must be a text of 1 to 64 characters"}
        for name, value in named.items()
        if not isinstance(value, str) or not 0 < len(value) <= 64 or "\x00" in value  # noqa: PLR2004 - as RELEASE may have
    ]
    if not isinstance(given.get("resume", False), bool):
        faults.append({"pointer": "/resume", "message": "must be true or false"})
    if faults:
        message = "This cannot be drained as it stands."
        raise Invalid(message, errors=faults)
    return named["deployment"], named["release"], timedelta(seconds=seconds)


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MOST_WAIT:
        message = f"'timeout' must be a number of seconds from 0 to {MOST_WAIT:.0f}."
        raise Invalid(message, errors=[{"pointer": "timeout", "message": message}])
    return seconds
