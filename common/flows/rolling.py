"""A rolling update: the schema follows the code while plans run.

A tick that finds the schema older than its code pauses what would be begun, lets what is under way finish or lapse, migrates
(only what adds, which older code does not mind), and lets everybody go on. Whoever dies in it is followed by the next tick,
and the pause ends by itself. Webhooks are received all the while: they begin nothing.
"""

from __future__ import annotations

import time
from datetime import timedelta

from common import db, log
from common.stores import migrations, pauses, schema_versions

PAUSE = timedelta(seconds=120)
WAIT_SECONDS = 15.0  # for what is under way, in one tick
PATIENCE_SECONDS = 60.0  # over several: then it is migrated beside it, which locks that are not waited for allow
POLL_SECONDS = 0.1
FIRST = 24  # the migration that brings pauses


def update() -> list[str] | None:
    """Bring the schema up to this code: what ran. None: others are still at work, and the next tick goes on.

    Raises: as `migrations.run` does, with everybody going on meanwhile.
    """
    with db.transaction("worker", read_only=True) as tx:
        version = schema_versions.newest(tx)
    if version is not None and version >= FIRST and not _is_quiet():
        log.info("rolling.waits", schema=version, wanted=migrations.wanted_version())
        return None
    try:
        ran = migrations.run_pending(contract=False)
        log.info("rolling.migrated", schema=migrations.wanted_version(), count=len(ran))
    finally:
        resume()
    return ran


def resume() -> None:
    """Let everybody go on."""
    with db.transaction("worker") as tx:
        pauses.end(tx)


def _is_quiet() -> bool:
    """Whether nothing is under way any more, or has been for too long."""
    until = time.monotonic() + WAIT_SECONDS
    with db.transaction("worker") as tx:
        paused_for = pauses.begin(tx, PAUSE)
    while True:
        with db.transaction("worker", read_only=True) as tx:
            busy = pauses.at_work(tx)
        if not busy or paused_for >= PATIENCE_SECONDS:
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(POLL_SECONDS)
