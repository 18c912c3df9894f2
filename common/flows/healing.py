"""A shard that failed, while it is tried again: alone, with a token of its own."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from common import db, log, settings
from common.db import Transaction
from common.errors import Passive, Unavailable
from common.flows import chunks, stages
from common.flows.chunks import Report
from common.flows.lease import Watch
from common.rules.shard import Failure, Lost, Ran
from common.stores import lanes, plans, shard_failures
from common.stores.plans import Work
from common.stores.shard_failures import Taken


class Healing:
    """A shard that failed, being tried again."""

    def __init__(self, taken: Taken, work_: Work, holder: str, *, report: Report, until: float, lease: Watch) -> None:
        self.opened = 0  # lanes, by what this ended
        self._counts = report
        self._taken = taken
        self._lease = lease
        self._work = work_
        self._context = chunks.context(taken, work_, until, holder, self._beat)

    def go(self) -> None:
        """Run it once."""
        taken = self._taken
        if taken.heal_depth > settings.load().hxo_heal_depth_limit:
            with db.transaction("worker") as tx:
                shard_failures.give_back(tx, taken, timedelta())
                stages.halt(tx, taken.plan, f"Shard {taken.shard} of stage {self._work.id} was healed {taken.heal_depth - 1} times")
            return
        if taken.attempts >= chunks.MOST_ATTEMPTS:  # its worker died with the last one
            self._fail(Failure("crashed", "the worker died at this shard", is_final=True))
            return
        try:
            started = time.monotonic()
            ran = chunks.run(self._work, range(taken.shard, taken.shard + 1), self._context)
            if time.monotonic() - started > self._work.shard_timeout.total_seconds():
                self._fail(Failure("timeout", f"it took {time.monotonic() - started:.1f} s"))
            elif ran.failures:
                self._fail(next(iter(ran.failures.values())))
            else:
                self._heal(ran)
        except Lost:
            self._counts.lost += 1
        except Unavailable as error:
            wait = 0 if isinstance(error, Passive) else error.retry_after_seconds  # whoever is ACTIVE now may go on with it
            self._counts.given_back += 1
            with db.transaction("worker") as tx:
                shard_failures.give_back(tx, taken, timedelta(seconds=wait))
        except Exception as error:  # noqa: BLE001 - whatever a kind does wrong is its shard's failure
            self._fail(chunks.failure_of(error))

    def _beat(self, _: Any = None) -> None:
        with db.transaction("worker") as tx:
            self._lease.check(tx)
            if not shard_failures.beat(tx, self._taken, chunks.LEASE):
                raise Lost

    def _heal(self, ran: Ran) -> None:
        def write(tx: Transaction) -> int:
            self._lease.check(tx)
            if not shard_failures.heal(tx, self._taken, ran.leaves[0]):
                raise Lost
            if ran.effect is not None:
                ran.effect(tx)
            if ran.more and plans.goes_on(tx, self._taken.plan, self._taken.stage, self._taken.shard):
                lanes.add_one(tx, self._taken.plan, self._taken.stage)
            return stages.settle(tx, self._taken.plan, self._taken.stage)

        self.opened = db.replayed(write, "worker")
        self._counts.chunks += 1
        self._counts.shards += 1

    def _fail(self, failure: Failure) -> None:
        taken = self._taken
        log.error(
            "shard.failed", plan=taken.plan, stage=self._work.id, shard=taken.shard, code=failure.code, attempt=taken.attempts + 1
        )

        def write(tx: Transaction) -> int:
            # In the order of everybody else: what is counted stands in the plan's row, and who settles has the stage first.
            if not shard_failures.hold(tx, taken):
                return 0
            plans.lock_stage(tx, taken.plan, taken.stage)
            said = shard_failures.fail(tx, taken, failure, wait=chunks.wait_after(taken.attempts + 1), most=chunks.MOST_ATTEMPTS)
            return stages.settle(tx, taken.plan, taken.stage) if said == "dead" else 0

        self.opened = db.replayed(write, "worker")
        self._counts.chunks += 1
        self._counts.failed += 1
