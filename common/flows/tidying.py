"""Tidying: what is old enough goes, in transactions so short that nobody waits for them."""

from __future__ import annotations

import time
from datetime import timedelta

from common import db, log
from common.stores import configuration, retention, schedules, seen_ids, statistics

LIMIT = 1000  # rows of one healer in one pass
SECONDS = 10.0  # that taking away what has a setting may take
BATCH = 1000  # rows that go in one transaction
KEPT = timedelta(days=90)  # how long it is told of that a schedule fired, and of comparisons


def old_rows() -> int:
    """Take away what is older than its setting, in short transactions, in turns, until all is gone or the time is up."""
    until = time.monotonic() + SECONDS
    with db.transaction("worker") as tx:
        values = configuration.all_values(tx)
    gone = dict.fromkeys(retention.RETAINED, 0)
    left = list(retention.RETAINED)
    while left and time.monotonic() < until:
        for name in list(left):
            with db.transaction("worker") as tx:
                count = retention.RETAINED[name](tx, days=values[f"retention.{name}_days"], limit=BATCH)
            gone[name] += count
            if count == 0:
                left.remove(name)
    if any(gone.values()):
        log.info("retention.cleaned", unfinished=left, **gone)
    return sum(gone.values())


def old_fires() -> int:
    """Forget fires that ended long ago."""
    with db.transaction("worker") as tx:
        return schedules.prune(tx, age=KEPT, limit=LIMIT)


def old_seen_ids() -> int:
    """Forget what lists had that were read long ago."""
    with db.transaction("worker") as tx:
        return seen_ids.clean_up(tx, limit=LIMIT)


def old_statistics() -> int:
    """Forget comparisons that ended long ago."""
    with db.transaction("worker") as tx:
        return statistics.clean_up(tx, days=KEPT.days, limit=LIMIT)
