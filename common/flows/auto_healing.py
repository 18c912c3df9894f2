"""Auto-healing as operators see it: what each healer did, and a pass on their word. It loads little: status reads it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from common import db, log
from common.stores import healers

RECOVERED = ("expired_leases", "stranded_fires", "stranded_plans")  # what the users know as stuck tasks
SECONDS_BY_HAND = 10.0  # somebody waits for the answer


def stats() -> dict[str, Any]:
    """What /api/bff/tds/auto-healing/stats tells: when healing last ran, and what each healer did then and so far."""
    with db.transaction("status", read_only=True) as tx:
        last, every = healers.last_pass(tx), healers.every(tx)
    totals = {each.name: each.total for each in every}
    has_run = last is not None and bool(every)
    return {
        "last_run": last.seen_at if last and has_run else None,
        "age_seconds": last.age_seconds if last and has_run else None,
        "interval_minutes": last.interval_minutes if last else None,
        "is_running": bool(last and has_run and last.age_seconds <= 2 * 60 * last.interval_minutes),
        "healers": [each._asdict() for each in every],
        "totals": {
            "stuck_tasks_recovered": sum(totals.get(name, 0) for name in RECOVERED),
            "dlq_items_retried": totals.get("dead_letters", 0),
            "alerts_created": totals.get("alerts", 0),
        },
        "timestamp": datetime.now(UTC),
    }


def run() -> dict[str, Any]:
    """One healing pass, now.

    Raises: Unavailable, when one of the healers failed.
    """
    from common.flows import heal  # noqa: PLC0415 - it loads every healer there is

    log.info("heal.asked_for", operator=log.field("operator"))
    return heal.heal(SECONDS_BY_HAND)
