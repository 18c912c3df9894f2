"""Breakers: which dependencies are called, and letting calls through again by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from common import db, log
from common.db import Transaction
from common.errors import Unknown
from common.outgoing import breakers as outgoing
from common.rules import breaker as rules
from common.stores import alerts, breakers

MOST = 100  # that one pass tells of


def listed() -> dict[str, Any]:
    """Every dependency with its state and what was counted.

    `successful` lacks what instances have not told yet: the calls of the last second before one ended, at most.
    """
    with db.transaction("status", read_only=True) as tx:
        found = breakers.all_of_them(tx)
    return {"circuit_breakers": [_shown(each) for each in found], "count": len(found), "timestamp": datetime.now(UTC)}


def _shown(breaker: breakers.Shown) -> dict[str, Any]:
    counted = {"successful": breaker.successful, "failed": breaker.failed, "rejected": breaker.rejected}
    return {
        "name": breaker.name,
        "state": breaker.state,
        "failures_in_a_row": breaker.failures,
        "probes_that_went_well": breaker.successes,
        "is_probing": breaker.is_probing,
        "opened_at": breaker.opened_at,
        "next_probe_at": breaker.next_probe_at,
        "last_failure": breaker.last_failure,
        "last_failure_at": breaker.last_failure_at,
        "reset_at": breaker.reset_at,
        "reset_by": breaker.reset_by,
        "statistics": {"total": sum(counted.values()), **counted, "state_changes": breaker.state_changes},
    }


def reset(name: str) -> dict[str, Any]:
    """Let every call through again, now.

    Raises: Unknown, when there is no such dependency.
    """
    actor = log.field("operator")

    def write(tx: Transaction) -> bool:
        locked = breakers.lock(tx, name)
        if locked is None:
            message = f"There is no circuit breaker {name[:64]}."
            raise Unknown(message)
        after = rules.reset(locked.breaker, locked.fresh)
        is_change = after.state is not locked.breaker.state
        breakers.reset(tx, name, token=after.token, is_change=is_change, actor=actor)
        alerts.resolve(tx, alert_type=outgoing.alert_type(name))
        return is_change

    was_closed = not db.replayed(write, "operator")
    outgoing.forget(name)
    log.info("breaker.reset", breaker=name, operator=actor, was_closed=was_closed)
    message = f"{name} was closed already; its failures are forgotten." if was_closed else f"{name} is called again."
    return {"success": True, "message": message, "name": name, "state": "closed"}


def probe_due() -> int:
    """Tell of breakers that a probe has long been due for, though nobody made one; how many there are.

    Nothing is called from here: the next call of whoever needs the dependency is the probe.
    """
    return db.replayed(_tell_unprobed, "worker")


def _tell_unprobed(tx: Transaction) -> int:
    names = breakers.unprobed(tx, limit=MOST)
    for name in names:
        locked = breakers.lock(tx, name)
        if locked is None or locked.next_probe_at is None:
            continue
        alerts.raise_alert(
            tx,
            alert_type=outgoing.alert_type(name),
            severity="error",
            title=f"{name} failed too often, and nobody has tried it since",
            message=f"A probe has been due since {locked.next_probe_at:%Y-%m-%d %H:%M} UTC. Either nothing needs {name}, or "
            "what does has come to a halt. The next call will be the probe; resetting the breaker lets all calls through.",
            metadata={"breaker": name, "opened_at": str(locked.opened_at), "next_probe_at": str(locked.next_probe_at)},
        )
    return len(names)
