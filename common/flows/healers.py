"""Healers: each one bounded look at something that may have come to a halt; running one twice, or twice at once, is harmless.

Each returns how much it put right, or how much it found that a person must look at and told so by an alert.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from datetime import timedelta

from common import db, log
from common.db import Transaction
from common.flows import (
    breakers,
    fires,
    plan_verbs,
    quarantine,
    replays,
    ring,
    seal,
    source_healers,
    stages,
    sweep,
    tidying,
    validation,
    watch,
    work,
)
from common.stores import (
    alerts,
    bells,
    configuration,
    counters,
    dead_letters,
    lanes,
    plans,
    schedules,
)

LIMIT = 1000  # rows of one healer in one pass
LONGEST_CALL = timedelta(minutes=20)  # longer than any function may take: one that began before that is dead
UNBEGUN = timedelta(hours=24)  # how long a fire is rung for
SEAL_SECONDS = 10.0  # that closing trees of results may take
REREAD = 100  # quarantined events read again in one pass
PLANS = 20
ALONE = timedelta(minutes=15)  # after which a plan that nobody works on is told of
SLIPPED = timedelta(minutes=10)  # after which a slot that is not recorded is told of
COUNTED = 20_000  # events that may wait while their number is counted


# Work that stands still --------------------------------------------------------------------------------------------


def expired_leases() -> int:
    """Take over receipts and leases of workers that died."""
    return sweep.recover("heal", LIMIT)


def unrung_work() -> int:
    """Ring for events that are ready and for lanes that are free although nobody was rung for them."""
    with db.transaction("worker") as tx:
        is_needed = bells.is_needed(tx)
    return int(is_needed and ring.ring("process")) + work.call_for_more(most=work.FIRST_RINGS)


def replays_under_way() -> int:
    """Take replays further."""
    return replays.advance_and_ring()


def dead_letters_due() -> int:
    """Try dead letters again that are a day old: each event a few times for ever."""
    with db.transaction("worker") as tx:
        values = configuration.all_values(tx)
        revived = dead_letters.revive_due(
            tx,
            hours=values["healing.dead_letter_hours"],
            most=values["healing.dead_letter_retries"],
            limit=values["healing.dead_letter_batch"],
        )
    if revived:
        ring.ring("process")
    return revived


def known_shapes() -> int:
    """Apply quarantined events whose shape is known now; each is read once with each version of its shape."""
    well = quarantine.heal(REREAD)
    if well:
        ring.ring("process")
    return well


# Schedules and plans -----------------------------------------------------------------------------------------------


def stranded_fires() -> int:
    """End fires whose function died."""
    with db.transaction("worker") as tx:
        return schedules.fail_stranded(tx, age=LONGEST_CALL, limit=LIMIT)


def unbegun_fires() -> int:
    """End fires that nobody began for a day."""
    with db.transaction("worker") as tx:
        return schedules.give_up(tx, age=UNBEGUN, limit=LIMIT)


def missed_slots() -> int:
    """Tell of schedules whose slot came long ago and was not recorded although ticks are seen."""
    with db.transaction("worker") as tx:
        slipped = schedules.slipped(tx, age=SLIPPED, limit=LIMIT)
        if not slipped:
            alerts.resolve(tx, alert_type="slots_missed")
            return 0
        names = ", ".join(each.name for each in slipped[:5])
        alerts.raise_alert(
            tx,
            alert_type="slots_missed",
            severity="error",
            title=f"{len(slipped)} schedules are due and do not fire",
            message=f"Ticks come, but the slots of {names} are not recorded. Look for tick.part_failed in the log.",
            affected=len(slipped),
            metadata={"schedules": [each._asdict() for each in slipped[:20]]},
        )
    return len(slipped)


def stranded_plans() -> int:
    """Open what could be opened of plans that stand still, end those that are over, and tell of those that nobody works on."""
    with db.transaction("worker") as tx:
        adrift, laneless = plans.adrift(tx, PLANS), plans.laneless(tx, PLANS)
    for plan in adrift:
        db.replayed(functools.partial(_open_next, plan), "worker")
    for stranded in laneless:
        with db.transaction("worker") as tx:
            lanes.add_one(tx, stranded.plan, stranded.no)
    if adrift or laneless:
        work.call_for_more(most=work.FIRST_RINGS)
    return len(adrift) + len(laneless) + _tell_of_stuck_plans()


def _open_next(plan: str, tx: Transaction) -> int:
    return stages.open_next(tx, plan)


def _tell_of_stuck_plans() -> int:
    with db.transaction("worker") as tx:
        stuck = plans.stuck(tx, age=ALONE, limit=PLANS)
        if not stuck:
            alerts.resolve(tx, alert_type="plan_stranded")
            return 0
        first = stuck[0]
        alerts.raise_alert(
            tx,
            alert_type="plan_stranded",
            severity="error",
            title=f"Nobody works on the plan {first.name}",
            message=f"For {first.seconds / 60:.0f} minutes. See whether a function is deployed whose SHARD_KINDS has {first.kind}.",
            affected=len(stuck),
            metadata={"plans": [each._asdict() for each in stuck]},
        )
    return len(stuck)


def overdue_plans() -> int:
    """End plans whose timebox is over, and stages whose last worker died before it could."""
    return plan_verbs.stop_overdue()


def unsealed_plans() -> int:
    """Close the trees of results of plans that are over."""
    return seal.seal_all(time.monotonic() + SEAL_SECONDS)


# What is counted, and what is old --------------------------------------------------------------------------------------


def counters_off() -> int:
    """Make up for what the counter of waiting events is off; by how much it was."""
    with db.transaction("worker") as tx:
        off = counters.repair_waiting(tx, most=COUNTED)
    if off:
        log.warning("counter.repaired", counter="waiting", off=off)
    return abs(off)


# In this order; another one is a function and a line. `alerts` comes last: it tells of what the others have left.
HEALERS: dict[str, Callable[[], int]] = {
    "expired_leases": expired_leases,
    "stranded_fires": stranded_fires,
    "unbegun_fires": unbegun_fires,
    "unanswered_fires": fires.follow_up,
    "missed_slots": missed_slots,
    "overdue_plans": overdue_plans,
    "stranded_plans": stranded_plans,
    "replays": replays_under_way,
    "dead_letters": dead_letters_due,
    "known_shapes": known_shapes,
    "missing_parents": source_healers.missing_parents,
    "unrung_work": unrung_work,
    "stalled_cursors": source_healers.stalled_cursors,
    "unprobed_breakers": breakers.probe_due,
    "expiring_access": source_healers.expiring_access,
    "counters": counters_off,
    "lost_rows": validation.walk,
    "unsealed_plans": unsealed_plans,
    "old_rows": tidying.old_rows,
    "old_fires": tidying.old_fires,
    "old_seen_ids": tidying.old_seen_ids,
    "old_statistics": tidying.old_statistics,
    "alerts": watch.watch,
}
