"""Heal: one pass over everything that may have come to a halt. Each healer is bounded and may be run at any time, by anybody."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from common import db, log
from common.errors import AppError, Unavailable
from common.flows import fires, plan_verbs, process, seal
from common.stores import schedules, seen_ids, statistics

LIMIT = 1000  # rows of one healer in one pass
LONGEST_CALL = timedelta(minutes=20)  # longer than any function may take: one that began before that is dead
UNBEGUN = timedelta(hours=24)  # how long a fire is rung for
SEAL_SECONDS = 10.0  # that closing trees of results may take
KEPT = timedelta(days=90)  # how long it is told of that a schedule fired


def heal() -> dict[str, Any]:
    """Run every healer; how much each healed.

    Raises: Unavailable, when one failed, after all the others have had their turn.
    """
    counts: dict[str, int] = {}
    failures: dict[str, str] = {}
    for name, healer in HEALERS.items():
        try:
            counts[name] = healer()
        except AppError as error:
            failures[name] = error.detail
    log.info("heal.passed", **counts, failed=sorted(failures))
    if failures:
        message = "Some healers failed: " + "; ".join(f"{name}: {detail}" for name, detail in failures.items())
        raise Unavailable(message)
    recovered = counts["expired_leases"] + counts["stranded_fires"]
    return {"stuck_tasks_recovered": recovered, "timestamp": datetime.now(UTC), "healers": counts}


def _expired_leases() -> int:
    swept = process.sweep(process.rules_for("heal"), limit=LIMIT)
    if swept:
        process.wake_when_due()
    return swept


def _stranded_fires() -> int:
    with db.transaction("worker") as tx:
        return schedules.fail_stranded(tx, age=LONGEST_CALL, limit=LIMIT)


def _unbegun_fires() -> int:
    with db.transaction("worker") as tx:
        return schedules.give_up(tx, age=UNBEGUN, limit=LIMIT)


def _old_fires() -> int:
    with db.transaction("worker") as tx:
        return schedules.prune(tx, age=KEPT, limit=LIMIT)


def _overdue_plans() -> int:
    return plan_verbs.stop_overdue()


def _unsealed_plans() -> int:
    return seal.seal_all(time.monotonic() + SEAL_SECONDS)


def _old_seen_ids() -> int:
    with db.transaction("worker") as tx:
        return seen_ids.clean_up(tx, limit=LIMIT)


def _old_statistics() -> int:
    with db.transaction("worker") as tx:
        return statistics.clean_up(tx, days=KEPT.days, limit=LIMIT)


HEALERS: dict[str, Callable[[], int]] = {
    "expired_leases": _expired_leases,
    "stranded_fires": _stranded_fires,
    "unbegun_fires": _unbegun_fires,
    "unanswered_fires": fires.follow_up,
    "old_fires": _old_fires,
    "overdue_plans": _overdue_plans,
    "unsealed_plans": _unsealed_plans,
    "old_seen_ids": _old_seen_ids,
    "old_statistics": _old_statistics,
}
