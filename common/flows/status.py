"""Status: how things stand, read back and never assumed. What is not known yet is null."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from common import db
from common.errors import Invalid, Unavailable, Unknown
from common.flows import lease, migrate
from common.rules import latency, scores
from common.rules.http import Request
from common.rules.instants import instant
from common.stores import health, leases, schema_versions

STARTED = time.monotonic()
MOST = 200


def live() -> dict[str, Any]:
    """That this process answers; touches nothing else."""
    return {"status": "ok", "alive": True}


def overview() -> tuple[int, dict[str, Any]]:
    """What /health tells; 503 with the same fields when the database is down."""
    facts: dict[str, Any] = {
        "status": "error",
        "uptime": int(time.monotonic() - STARTED),
        **lease.shown(None),
        "webhook_mode": True,
        "db_schema_ready": None,
        "queue": {"total_received": None, "total_processed": None, "queue_depth": None, "drop_rate": None},
    }
    try:
        with db.transaction("status", read_only=True) as tx:
            version, summary = schema_versions.newest(tx), health.summary(tx)
            is_ready = version is not None and version >= migrate.wanted_version()
            held = leases.find(tx, lease.ACTIVE) if is_ready else None
    except Unavailable:
        return 503, facts
    facts |= {
        **lease.shown(held),
        "status": "ok" if is_ready else "error",
        "db_schema_ready": is_ready,
        "queue": {
            "total_received": summary.received,
            "total_processed": summary.processed,
            "queue_depth": summary.depth,
            "drop_rate": summary.refused / summary.offered if summary.offered else 0.0,
        },
    }
    return 200, facts


def database() -> dict[str, Any]:
    """What /api/db/health tells."""
    started = time.perf_counter()
    with db.transaction("status", read_only=True) as tx:
        facts = health.database(tx)
    pool = db.pool()
    return {
        "status": "ok",
        "response_ms": round((time.perf_counter() - started) * 1000, 2),
        **facts._asdict(),
        "wanted_schema_version": migrate.wanted_version(),
        "pool": {"size": pool.size, "in_use": pool.in_use},
    }


def queue() -> dict[str, Any]:
    """What /queue/stats tells: how many events are in each state, and how each ended so far."""
    with db.transaction("status", read_only=True) as tx:
        states, counters = health.queue(tx), health.counters(tx)
    counts = {state.status: state.events for state in states}
    return {
        **counts,
        "total": sum(counts.values()),
        "oldest_at": {state.status: state.oldest_at for state in states if state.oldest_at},
        "outcomes": {name: amount for name, amount in counters.items() if name != "waiting" and not latency.is_counter(name)},
        "timestamp": datetime.now(UTC),
    }


def webhooks() -> dict[str, Any]:
    """What /webhooks/health tells: a score, its parts over the last hour, and what takes points from it."""
    with db.transaction("status", read_only=True) as tx:
        counts, dead, summary = health.hour(tx), health.dead(tx), health.summary(tx)
    received, duplicate = counts.get("received", 0), counts.get("duplicate", 0)
    delay = latency.histogram(counts).mean_seconds or 0.0
    duplicate_percent = scores.percent(duplicate, received + duplicate, empty=0.0)
    success_percent = scores.success_percent(counts)
    score = scores.health_score(
        duplicate_percent=duplicate_percent, success_percent=success_percent, dead_letters=dead, delay_seconds=delay
    )
    issues = _issues(duplicate_percent, success_percent, dead, delay)
    return {
        "health_score": score,
        "status": scores.named(score),
        "inbox_stats": {
            "received": received,
            "duplicate": duplicate,
            "duplicate_percent": duplicate_percent,
            "refused": counts.get("refused", 0),
            "quarantined": counts.get("quarantined", 0),
            "waiting": summary.depth,
        },
        "processing_stats": {
            "completed": counts.get("completed", 0),
            "success_percent": success_percent,
            "average_delay_seconds": delay,
            "outcomes": {name: counts.get(name, 0) for name in ("applied", "unchanged", "superseded", "ambiguous")},
        },
        "failure_analysis": {"dead_letters": dead, "retried": counts.get("retried", 0)},
        "issues": issues,
        "recommendations": [issue["action"] for issue in issues],
    }


def _issues(duplicate_percent: float, success_percent: float, dead: int, delay: float) -> list[dict[str, str]]:
    found = []
    if duplicate_percent > 10:  # noqa: PLR2004 - from here on all twenty points are near
        found.append(_issue("warning", "duplicates", f"{duplicate_percent} % of deliveries were known already.",
                            "Look at /webhooks/duplicates: a workflow rule may fire twice."))  # fmt: skip
    if success_percent < scores.LEAST_SUCCESS:
        found.append(_issue("error", "failures", f"Only {success_percent} % of the last hour's events went well.",
                            "Look at /dashboard/dead-letter for their causes."))  # fmt: skip
    if dead:
        found.append(_issue("error", "dead_letters", f"{dead} events have spent their attempts.",
                            "Put the cause right, then try them again from /dashboard/dead-letter."))  # fmt: skip
    if delay > 10:  # noqa: PLR2004
        found.append(_issue("warning", "delay", f"Events take {delay:.0f} s from receipt to table.",
                            "See whether the process function is rung: /queue/stats tells how much waits."))  # fmt: skip
    return found


def _issue(severity: str, kind: str, message: str, action: str) -> dict[str, str]:
    return {"severity": severity, "type": kind, "message": message, "details": message, "action": action}


def duplicates(request: Request) -> dict[str, Any]:
    """What /webhooks/duplicates tells."""
    with db.transaction("status", read_only=True) as tx:
        found = health.duplicates(tx, limit=limit_of(request))
    return {"duplicates": [each._asdict() for each in found], "count": len(found)}


def recent_events(request: Request) -> dict[str, Any]:
    """What /dashboard/recent-events tells, latest first; `next` goes into `before` to read on."""
    limit = limit_of(request)
    arguments = request.arguments
    try:
        before = instant(arguments.get("before"))
    except ValueError as error:
        message = f"'before' is {error}."
        raise Invalid(message) from error
    with db.transaction("status", read_only=True) as tx:
        found = health.recent_events(tx, limit=limit, entity=arguments.get("entity"), before=before)
    following = found[-1].received_at if len(found) == limit else None
    return {"events": [each._asdict() for each in found], "count": len(found), "next": following}


def event(identifier: str) -> dict[str, Any]:
    """One event, whole."""
    with db.transaction("status", read_only=True) as tx:
        found = health.event(tx, id_of(identifier))
    if found is None:
        message = f"There is no event {identifier}."
        raise Unknown(message)
    return found._asdict()


def dead_letters(request: Request) -> dict[str, Any]:
    """What /dashboard/dead-letter tells: dead letters and quarantined events, told apart by `kind`."""
    with db.transaction("status", read_only=True) as tx:
        found, unresolved = health.dead_letters(tx, limit=limit_of(request)), health.dead(tx)
    return {"items": [each._asdict() for each in found], "count": len(found), "unresolved_dead_letters": unresolved}


def limit_of(request: Request) -> int:
    """The argument `limit`.

    Raises: Invalid, unless it is a whole number from 1 to 200.
    """
    text = request.arguments.get("limit", "50")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST:
        message = f"'limit' must be a whole number from 1 to {MOST}."
        raise Invalid(message, errors=[{"pointer": "limit", "message": message}])
    return int(text)


def id_of(text: str) -> UUID:
    """An id from a path.

    Raises: Invalid, when it cannot be one.
    """
    try:
        return UUID(text)
    except ValueError as error:
        message = f"'{text[:64]}' is not an id."
        raise Invalid(message) from error
