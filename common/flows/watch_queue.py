"""What is watched of the queue, the dead letters and the database itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from common.db import Transaction
from common.rules.hysteresis import Reading, Severity
from common.stores import signals

QUEUE = ("queue_backlog", "failure_rate", "dead_letters", "waiting_too_long")
SYSTEM = ("long_transaction", "secret_too_old")
COUNTED = 4  # times the critical threshold: what is beyond is not counted


def queue(tx: Transaction, values: Mapping[str, Any]) -> Iterator[Reading]:
    """How much waits, for how long, how much fails, and how much has failed for good."""
    most = COUNTED * max(values["alerts.queue_critical"], values["alerts.dlq_critical"])
    seen = signals.queue(tx, most=most)
    jumpy = values["alerts.open_after"]
    yield Reading(
        "queue_backlog",
        seen.waiting,
        values["queue_backlog_threshold"],
        _of(seen.waiting, values["alerts.queue_critical"]),
        f"{seen.waiting:,} events wait",
        "More comes than is applied, or nobody applies it. See /queue/stats, and whether the process function is rung and runs.",
        affected=seen.waiting,
        metadata={"waiting": seen.waiting, "critical_above": values["alerts.queue_critical"]},
        open_after=jumpy,
    )
    total = seen.failed + seen.finished
    rate = seen.failed / total if total >= values["alerts.fewest_events"] and seen.failed else 0.0
    yield Reading(
        "failure_rate",
        rate,
        float(values["failure_rate_threshold"]),
        Severity.ERROR,
        f"{100 * rate:.1f} % of the last hour's events failed",
        f"{seen.failed:,} of {total:,} became dead letters or went into quarantine. Their causes are at /dashboard/dead-letter.",
        affected=seen.failed,
        metadata={"failed": seen.failed, "completed": seen.finished, "minutes": 60},
        open_after=jumpy,
    )
    yield Reading(
        "dead_letters",
        seen.dead,
        values["alerts.dlq_warning"],
        _of(seen.dead, values["alerts.dlq_critical"]),
        f"{seen.dead:,} dead letters are unresolved",
        "Put their cause right, then replay them: /api/dead-letters has them grouped by cause.",
        affected=seen.dead,
        metadata={"unresolved": seen.dead, "critical_above": values["alerts.dlq_critical"]},
    )
    minutes = seen.oldest_seconds / 60
    yield Reading(
        "waiting_too_long",
        minutes,
        float(values["alerts.oldest_minutes"]),
        Severity.ERROR,
        f"An event that is due has waited for {minutes:.0f} minutes",
        "Nobody applies what is due. See whether ticks come and whether the process function is rung and runs.",
        affected=seen.waiting,
        metadata={"oldest_seconds": round(seen.oldest_seconds), "waiting": seen.waiting},
        open_after=jumpy,
    )


def _of(value: int, critical: int) -> Severity:
    return Severity.CRITICAL if value > critical else Severity.WARNING


def system(tx: Transaction, values: Mapping[str, Any]) -> Iterator[Reading]:
    """What keeps the database from cleaning up, and secrets that should have been exchanged."""
    limit = timedelta(minutes=float(values["alerts.snapshot_minutes"]))
    if found := signals.long_transactions(tx, limit):
        first = found[0]
        who = f"process {first.pid}" if first.pid is not None else f"the prepared transaction {first.application}"
        yield Reading(
            "long_transaction",
            first.seconds / 60,
            limit.total_seconds() / 60,
            Severity.WARNING,
            f"A transaction has been open for {first.seconds / 60:.0f} minutes",
            f"It is held by {who} of {first.username or 'somebody'} ({first.application or 'no name'}), which is "
            f"{first.state or 'in an unknown state'}. Until it ends, nothing that was deleted since can be cleaned up; end it with "
            + (f"pg_terminate_backend({first.pid})." if first.pid is not None else "rollback prepared."),
            affected=len(found),
            metadata={"transactions": [each._asdict() for each in found]},
        )
    days = float(values["alerts.secret_days"])
    if old := signals.old_secrets(tx, timedelta(days=days)):
        yield Reading(
            "secret_too_old",
            old[0].days,
            days,
            Severity.WARNING,
            f"A webhook secret has been in use for {old[0].days:.0f} days",
            f"Exchange {old[0].fingerprint}: add another to ZOHO_WEBHOOK_SECRETS, change it at the sender, then end the old one's "
            "window.",
            affected=len(old),
            metadata={"secrets": [each._asdict() for each in old]},
        )
