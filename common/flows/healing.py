"""A shard that failed, while it is tried again: alone, with a token of its own."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from common import db, log, settings
from common.db import Transaction
from common.errors import Passive, Unavailable
from common.flows import chunks, splitting, stabilization, stages
from common.flows.chunks import Report
from common.flows.lease import Watch
from common.rules.remedies import MOST_ATTEMPTS, remedy
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
        self._can_be_split = splitting.can_be(work_)
        self._context = chunks.context(taken, work_, until, holder, self._beat)

    def go(self) -> None:
        """Run it once."""
        taken = self._taken
        if taken.heal_depth > settings.load().hxo_heal_depth_limit:
            with db.transaction("worker") as tx:
                shard_failures.give_back(tx, taken, timedelta())
                stages.halt(tx, taken.plan, f"Shard {taken.shard} of stage {self._work.id} was healed {taken.heal_depth - 1} times")
            return
        if taken.attempts >= MOST_ATTEMPTS and taken.action == "retry":  # its worker died with the last one
            self._fail(Failure("crashed", "the worker died at this shard", is_final=True))
            return
        try:
            if taken.action == "split" and self._split():
                return
            started = time.monotonic()
            ran = chunks.run(self._work, range(taken.origin, taken.origin + 1), self._context)
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

    def _split(self) -> bool:
        """Have it done in pieces; False when it has none, or there is no room for them: then it is tried once more as it is."""
        self._can_be_split = False
        found = splitting.pieces(self._work, self._taken.origin, self._context, self._taken.level)
        if found is None:
            return False

        def write(tx: Transaction) -> bool | None:
            self._lease.check(tx)
            return splitting.split(tx, self._taken, self._work, found)

        said = db.replayed(write, "worker")
        if said is False:
            raise Lost
        if said:
            self.opened = len(found)  # anybody may take one
            self._counts.chunks += 1
            log.info("shard.split", plan=self._taken.plan, stage=self._work.id, shard=self._taken.origin, pieces=len(found))
        return bool(said)

    def _heal(self, ran: Ran) -> None:
        def write(tx: Transaction) -> int:
            self._lease.check(tx)
            if not shard_failures.heal(tx, self._taken, ran.leaves[0]):
                raise Lost
            if ran.effect is not None:
                ran.effect(tx)
            splitting.gather(tx, self._taken, splitting.lock_whole(tx, self._taken), self._context.hash)
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

        can_be_split = self._can_be_split and taken.level < settings.load().hxo_heal_depth_limit
        due = remedy(attempts=taken.attempts + 1, is_final=failure.is_final, can_be_split=can_be_split)

        def write(tx: Transaction) -> int:
            # In the order of everybody else: what is counted stands in the plan's row, and who settles has the stage first.
            if not shard_failures.hold(tx, taken):
                return 0
            whole = splitting.lock_whole(tx, taken)
            plans.lock_stage(tx, taken.plan, taken.stage)
            said = shard_failures.fail(tx, taken, failure, due=due, wait=chunks.wait_after(taken.attempts + 1))
            if said == "dead":
                splitting.gather(tx, taken, whole, self._context.hash)
            opened = stages.settle(tx, taken.plan, taken.stage) if said == "dead" else 0
            stabilization.of_shards(tx, taken.plan, self._work, {taken.shard: failure})
            return opened

        self.opened = db.replayed(write, "worker")
        self._counts.chunks += 1
        self._counts.failed += 1
