"""A lane while it is ours: chunk after chunk is run, and reported in one transaction.

The guarded write of the lane comes first, and only if that lane is still ours are the chunk's effects, its leaves and its
failures written, and the stage ended that it was the last of.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from common import db, log, settings, shards
from common.db import Transaction
from common.errors import Broken, Passive, Replayable, Unavailable, Waiting
from common.flows import chunks, pacing, splitting, stabilization, stages
from common.flows.chunks import Report
from common.flows.lease import Watch
from common.rules import merkle
from common.rules import shard as rules
from common.rules.autotune import Window
from common.rules.shard import Failure, Lost, Ran
from common.stores import lanes, plans, shard_failures
from common.stores.lanes import Lane, Place
from common.stores.plans import Work

MOST_LAPSES = 3  # workers that may die at a shard before it is the shard's fault
SOURCE_WAIT = timedelta(seconds=5)
BEAT_SECONDS = 5.0  # while a chunk is done shard by shard


class LaneTurn:
    """A lane while it is ours."""

    def __init__(self, lane: Lane, work_: Work, holder: str, *, report: Report, until: float, seconds: float, lease: Watch) -> None:
        self.opened = 0  # lanes, by what this ended
        self._counts = report
        self._until = until
        self._seconds = seconds
        self._lease = lease
        self._lane = lane
        self._work = work_
        self._context = chunks.context(lane, work_, until, holder, self._beat)
        self._size = work_.chunk
        self._window = Window.of(work_.took)
        self._was_split = 0
        self._can_be_split = splitting.can_be(work_)
        self._started = time.monotonic()

    def go(self) -> None:
        """Chunk after chunk, until the lane is over, lost or given back, or the turn is."""
        place: Place | None = Place(self._lane.done, self._lane.busy, self._lane.hi)
        try:
            while place is not None and place.done < place.busy:
                place = self._chunk(range(place.done, place.busy))
        except Lost:
            self._counts.lost += 1
            self._give_back(timedelta())  # ours after all, if only the plan was stopped
        except Passive as error:  # whoever is ACTIVE now may go on with it at once
            log.warning("lane.given_back", plan=self._lane.plan, stage=self._work.id, reason=error.detail, wait=0)
            self._counts.given_back += 1
            self._give_back(timedelta())
        except Waiting as error:
            self._counts.waited += 1
            self._give_back(timedelta(seconds=error.retry_after_seconds))
        except Unavailable as error:
            wait = timedelta(seconds=error.retry_after_seconds) if not isinstance(error, Replayable) else SOURCE_WAIT
            log.warning(
                "lane.given_back", plan=self._lane.plan, stage=self._work.id, reason=error.detail, wait=wait.total_seconds()
            )
            self._counts.given_back += 1
            self._give_back(wait)
        pacing.learned(self._lane.plan, self._lane.stage, self._work, self._window, size=self._size, was_split=self._was_split)

    def _give_back(self, wait: timedelta) -> None:
        with db.transaction("worker") as tx:
            lanes.give_back(tx, self._lane, wait)

    def _beat(self, checkpoint: Any = None) -> None:
        with db.transaction("worker") as tx:
            self._lease.check(tx)
            if not lanes.beat(tx, self._lane, lease=chunks.LEASE, checkpoint=checkpoint):
                raise Lost

    def _chunk(self, span: range) -> Place | None:
        """Run and report one chunk; where the lane stands then.

        Raises: Lost; Unavailable, when the trouble is not the shards'.
        """
        if self._context.lapses >= MOST_LAPSES:
            message = f"{self._context.lapses} workers in a row died at this shard"
            return self._report(span, self._failed(span, Failure("crashed", message)), 0.0)
        started = time.monotonic()
        try:
            if self._is_to_be_split(span):
                self._was_split += 1
                return self._report(span, self._failed(span, Failure(rules.SLOW, "shards of this stage take too long")), 0.0)
            ran = chunks.run(self._work, span, self._context)
            took = time.monotonic() - started
            if len(ran.leaves) != len(span):
                message = f"{self._work.kind} answered with {len(ran.leaves)} leaves for {len(span)} shards"
                raise Broken(message)  # noqa: TRY301 - a bug of the kind, recorded as its failure
            if took > self._work.shard_timeout.total_seconds():
                if len(span) > 1:  # nobody knows which of them it was, and nothing of it is written yet
                    return self._one_by_one(span)
                ran = self._failed(span, Failure("timeout", f"it took {took:.1f} s"))
            return self._report(span, ran, took)
        except (Lost, Unavailable):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a kind does wrong is its shard's failure, not the worker's
            if len(span) > 1:
                return self._one_by_one(span)
            log.error(
                "shard.failed", plan=self._lane.plan, stage=self._work.id, shard=span.start, error=str(error)[: chunks.MESSAGE]
            )
            return self._report(span, self._failed(span, chunks.failure_of(error), error), time.monotonic() - started)

    def _is_to_be_split(self, span: range) -> bool:
        """Whether shards take so long that this one is better done in pieces, by several workers at once."""
        if len(span) > 1 or not self._can_be_split or self._window.p95 <= settings.load().hxo_autosplit_p95_ms.total_seconds():
            return False
        return splitting.pieces(self._work, span.start, self._context) is not None

    def _one_by_one(self, span: range) -> Place | None:
        """A chunk that failed as a whole, or took too long, shard by shard, so that only those fail that must; reported as one."""
        leaves: list[bytes] = []
        failures: dict[int, Failure] = {}
        effects: list[Callable[[Transaction], Any]] = []
        started = time.monotonic()
        beaten = started
        for shard in span:
            begun = time.monotonic()
            if begun - beaten > BEAT_SECONDS:
                self._beat()
                beaten = begun
            try:
                ran = chunks.run(self._work, range(shard, shard + 1), self._context)
                if time.monotonic() - begun > self._work.shard_timeout.total_seconds():
                    ran = self._failed(range(shard, shard + 1), Failure("timeout", f"it took {time.monotonic() - begun:.1f} s"))
                leaves += ran.leaves
                failures |= ran.failures
                effects += [ran.effect] if ran.effect else []
            except (Lost, Unavailable):
                raise
            except Exception as error:  # noqa: BLE001 - as above
                failures[shard] = chunks.failure_of(error)
                leaves.append(b"")
        try:
            return self._report(span, Ran(leaves, failures, chunks.together(effects)), time.monotonic() - started)
        except (Lost, Unavailable):
            raise
        except Exception as error:  # noqa: BLE001 - the effects do not go together: all of them wait for a life of their own
            return self._report(span, self._failed(span, chunks.failure_of(error)), time.monotonic() - started)

    def _failed(self, span: range, failure: Failure, error: Exception | None = None) -> Ran:
        # Of an open-ended stage nobody knows what lies beyond a shard that failed: the next one will tell, unless the kind can.
        said = shards.offered(self._work.kind, "failed")
        more = said(error) if said and error is not None else None
        return Ran(
            [b""] * len(span), dict.fromkeys(span, failure), more=True if more is None and self._work.is_open_ended else more
        )

    def _report(self, span: range, ran: Ran, took: float) -> Place | None:
        current = settings.load()
        if took and not self._work.is_open_ended:
            self._window.add(len(span), took)
            self._size = rules.next_chunk(
                len(span), took, longest=current.hxo_autosplit_p95_ms, factor=current.hxo_autosplit_factor,
                slowest=self._window.p95,
            )  # fmt: skip
        # Nobody else may begin with an open-ended stage before its first shard has said that there are more.
        is_lead = self._work.is_open_ended and not span.start
        is_over = is_lead or time.monotonic() - self._started > self._seconds or time.monotonic() >= self._until
        digests = chunks.digests(self._context.hash, span, ran)
        peaks = merkle.peaks(self._context.hash, span.start, digests)

        def write(tx: Transaction) -> tuple[Place, int]:
            return self._write(tx, span, replace(ran, leaves=digests), peaks, 0 if is_over else self._size)

        place, opened = db.replayed(write, "worker")
        self.opened += opened + (is_lead and ran.more is not False)
        self._counts.chunks += 1
        self._counts.shards += len(span)
        self._counts.failed += len(ran.failures)
        self._context.lapses, self._context.checkpoint = 0, None
        return place

    def _write(self, tx: Transaction, span: range, ran: Ran, peaks: bytes, next_: int) -> tuple[Place, int]:
        lane, work_ = self._lane, self._work
        self._lease.check(tx)
        place = lanes.advance(tx, lane, next_=0 if work_.is_open_ended else next_, lease=chunks.LEASE)
        if place is None:
            raise Lost
        if ran.effect is not None:
            ran.effect(tx)
        leaves = b"".join(ran.leaves)
        plans.record(tx, lane.plan, lane.stage, lo=span.start, hi=span.stop, digests=leaves, peaks=peaks)
        if ran.failures:
            wait = chunks.wait_after(1)
            shard_failures.add(tx, lane.plan, lane.stage, ran.failures, wait, can_be_split=self._can_be_split)
        if work_.is_open_ended:
            more = ran.more is not False
            place = lanes.extend(tx, lane, span.start, more=more, next_=next_, lease=chunks.LEASE) or Place(
                span.stop, span.stop, span.stop
            )
        opened = stages.settle(tx, lane.plan, lane.stage) if place.busy >= place.hi and place.done == place.hi else 0
        if ran.failures:
            stages.check_failures(tx, lane.plan, lane.stage)
            stabilization.of_shards(tx, lane.plan, work_, ran.failures)
        return place, opened
