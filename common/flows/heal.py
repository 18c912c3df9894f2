"""Heal: one pass over everything that may have come to a halt. Each healer is bounded and may be run at any time, by anybody."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from common import db, log, settings
from common.errors import AppError, Unavailable
from common.flows import stabilization
from common.flows.auto_healing import RECOVERED
from common.flows.healers import HEALERS
from common.flows.process import SHARE
from common.stores import healers

NO_TIME = "the pass had no time left for it"


def heal(seconds: float | None = None) -> dict[str, Any]:
    """Run every healer; how much each healed. What each did is written down after its turn, so that a pass that dies tells, too.

    No healer begins after `seconds`; None: after what a function may take.
    Raises: Unavailable, when one failed, after all the others have had their turn.
    """
    until = time.monotonic() + (seconds or settings.load().function_timeout_seconds.total_seconds() * SHARE)
    with db.transaction("worker") as tx:
        healers.beat(tx)
    counts: dict[str, int] = {}
    failures: dict[str, str] = {}
    for name, healer in HEALERS.items():
        started = time.monotonic()
        counts[name], fault = (0, NO_TIME) if started >= until else _healed(name, healer)
        if fault is not None and fault is not NO_TIME:
            failures[name] = fault
        with db.transaction("worker") as tx:
            healers.ran(tx, name, took_ms=int((time.monotonic() - started) * 1000), healed=counts[name], error=fault)
    log.info("heal.passed", **counts, failed=sorted(failures))
    if failures:
        message = "Some healers failed: " + "; ".join(f"{name}: {detail}" for name, detail in failures.items())
        raise Unavailable(message)
    return {
        "stuck_tasks_recovered": sum(counts[name] for name in RECOVERED),
        "dlq_items_retried": counts["dead_letters"],
        "alerts_created": counts["alerts"],
        "timestamp": datetime.now(UTC),
        "healers": counts,
    }


def _healed(name: str, healer: Callable[[], int]) -> tuple[int, str | None]:
    """How much a healer healed, or why it failed; a bug in one is a ticket, and does not keep the others from healing."""
    try:
        with stabilization.boundary("system.heal", f"The healer {name} broke", passing=AppError) as outcome:
            return healer(), None
    except AppError as error:
        return 0, error.detail
    except Exception as error:  # noqa: BLE001 - no ticket is wanted, and the others have their turn all the same
        log.error("healer.broke", healer=name, error=type(error).__name__, detail=str(error)[:500])
        return 0, type(error).__name__
    return 0, type(outcome.error).__name__
