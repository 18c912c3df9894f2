"""Work: take lanes of plans and go through their shards until nothing is left or the time is up.

A chunk is reported in one transaction: the guarded write of the lane comes first, and only if that lane is still ours
are the chunk's effects, its leaves and its failures written, and the stage ended that it was the last of.
"""

from __future__ import annotations

import contextvars
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

from common import db, encoding, log, settings, shards
from common.db import Transaction
from common.errors import AppError, Broken, Conflict, Invalid, Replayable, Unavailable
from common.flows import ring, seal, stages
from common.flows.process import SHARE
from common.rules import backoff, merkle
from common.rules import shard as rules
from common.rules.shard import Context, Failure, Lost, Ran
from common.stores import lanes, plans, shard_failures
from common.stores.lanes import Lane, Place
from common.stores.plans import Work
from common.stores.shard_failures import Taken

LEASE = timedelta(seconds=30)
TURN_SECONDS = 10.0  # then the lane is given up, and whichever was served longest ago is next
MOST_ATTEMPTS = 3
MOST_LAPSES = 3  # workers that may die at a shard before it is the shard's fault
SOURCE_WAIT = timedelta(seconds=5)
BASE, LONGEST = timedelta(seconds=1), timedelta(seconds=60)
MESSAGE = 2000
MOST_RINGS = 64
FIRST_RINGS = 8  # at once, by whoever opened lanes: those who answer ring for the rest
FAN = 2  # each of them for so many, as long as lanes are free
MOST_EMPTY = 10  # calls in a row that got nothing done


@dataclass
class Report:
    """What one call did."""

    lanes: int = 0
    chunks: int = 0
    shards: int = 0
    failed: int = 0
    given_back: int = 0
    lost: int = 0
    rang: int = 0

    def add(self, other: Report) -> None:
        """What another lane of the same call did."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


def work(*, empty: int = 0, holder: str = "shards", beside: int = 0) -> Report:
    """Work through whatever lanes there are, `beside` more of them at once: while one waits, another reads or writes.

    `empty` calls in a row before this one got nothing done although there seemed to be work: after ten of them nobody
    is rung any more, and tick looks again.
    Raises: Unavailable, when the database is: leases lapse, and the next call goes on from what was reported.
    """
    current = settings.load()
    until = time.monotonic() + current.function_timeout_seconds.total_seconds() * SHARE
    first = Worker(until, current.shard_kinds, holder)
    if first.take_turn(is_first=True):
        others = [Worker(until, current.shard_kinds, holder) for _ in range(beside)]
        with ThreadPoolExecutor(max(1, beside), thread_name_prefix="lane") as threads:
            started = [threads.submit(contextvars.copy_context().run, each.go) for each in others]
            first.go()
        for each, ended in zip(others, started, strict=True):
            ended.result()
            first.report.add(each.report)
    first.report.rang += call_for_more(0 if first.report.chunks else empty + 1)
    seal.seal_all(until)
    return first.report


def call_for_more(empty: int = 0, most: int = MOST_RINGS) -> int:
    """Ring for every lane that could be begun now, or at the time when one can be; how many rings that was."""
    if empty > MOST_EMPTY:
        log.error("work.stalled", calls=empty)
        return 0
    if empty:
        most = 1  # many for each of many that found nothing would be a storm
    with db.transaction("worker") as tx:
        free = lanes.free(tx)
    count = min(free.now, most)
    rang = sum(ring.ring("shards", light=True, empty=empty) for _ in range(count))
    if not count and free.next_at is not None:
        at = free.next_at.replace(microsecond=0) + timedelta(seconds=1)
        rang += ring.ring("shards", at=at, name=f"shards-{int(at.timestamp())}", light=True)
    return rang


class Worker:
    """One call: takes a lane, works on it for a turn, and so on."""

    def __init__(self, until: float, kinds: tuple[str, ...], holder: str) -> None:
        self.until = until
        self.report = Report()
        self._kinds = kinds
        self._holder = holder

    def go(self) -> None:
        """Turn after turn, until nothing is left to take or the time is up."""
        while time.monotonic() < self.until and self.take_turn():
            pass

    def take_turn(self, *, is_first: bool = False) -> bool:
        """Work on one lane, or on one shard that failed before; False when there is nothing to take.

        The first of a call rings for others, and lasts for one chunk only.
        """
        with db.transaction("worker") as tx:
            lanes.queue_up(tx)
            taken = shard_failures.take(tx, lease=LEASE, kinds=self._kinds)
            lane = None if taken else lanes.take(tx, holder=self._holder, lease=LEASE, kinds=self._kinds)
            held = taken or lane
            found = plans.work(tx, held.plan, held.stage) if held else None
        if held is None or found is None:
            return False
        if lane is not None:
            self.report.lanes += 1
            if is_first:
                self.report.rang += call_for_more(most=FAN)
            _LaneTurn(self, lane, found, self._holder, seconds=0.0 if is_first else TURN_SECONDS).go()
        elif taken is not None:
            _Healing(self, taken, found, self._holder).go()
        return True


def _context(held: Lane | Taken, work_: Work, until: float, holder: str, beat: Callable[[Any], None]) -> Context:
    stage = rules.Stage(held.plan, held.stage, work_.id, work_.kind, work_.config, work_.shards)
    lapses, checkpoint = (held.lapses, held.checkpoint) if isinstance(held, Lane) else (0, None)
    return Context(
        stage=stage,
        hash=merkle.hasher(work_.hash),
        until=until,
        lapses=lapses,
        checkpoint=checkpoint,
        beat=beat,
        holder=holder,
    )


def _run(work_: Work, span: range, context: Context) -> Ran:
    kind = shards.find(work_.kind)
    if not work_.is_undoing:
        return kind.run(span, context)  # type: ignore[no-any-return]
    if not hasattr(kind, "undo"):
        message = f"What {work_.kind} did cannot be taken back."
        raise Conflict(message)
    return kind.undo(span, context)  # type: ignore[no-any-return]


def _failure(error: Exception) -> Failure:
    if isinstance(error, AppError):
        code = str(error.fields.get("sqlstate") or error.slug)
        return Failure(code, error.detail[:MESSAGE], isinstance(error, Invalid | Conflict))
    return Failure(type(error).__name__, str(error)[:MESSAGE])


def _wait(attempt: int) -> timedelta:
    return backoff.delay(attempt, base=BASE, longest=LONGEST, chance=random.random())  # noqa: S311


class _LaneTurn:
    """A lane while it is ours."""

    def __init__(self, worker: Worker, lane: Lane, work_: Work, holder: str, *, seconds: float) -> None:
        self._worker = worker
        self._seconds = seconds
        self._lane = lane
        self._work = work_
        self._context = _context(lane, work_, worker.until, holder, self._beat)
        self._size = work_.chunk
        self._started = time.monotonic()

    def go(self) -> None:
        """Chunk after chunk, until the lane is over, lost or given back, or the turn is."""
        place: Place | None = Place(self._lane.done, self._lane.busy, self._lane.hi)
        try:
            while place is not None and place.done < place.busy:
                place = self._chunk(range(place.done, place.busy))
        except Lost:
            self._worker.report.lost += 1
            self._give_back(timedelta())  # ours after all, if only the plan was stopped
        except Unavailable as error:
            wait = timedelta(seconds=error.retry_after_seconds) if not isinstance(error, Replayable) else SOURCE_WAIT
            log.warning(
                "lane.given_back", plan=self._lane.plan, stage=self._work.id, reason=error.detail, wait=wait.total_seconds()
            )
            self._worker.report.given_back += 1
            self._give_back(wait)
        if self._size != self._work.chunk and not self._work.is_open_ended:
            with db.transaction("worker") as tx:
                plans.learn(tx, self._lane.plan, self._lane.stage, self._size)

    def _give_back(self, wait: timedelta) -> None:
        with db.transaction("worker") as tx:
            lanes.give_back(tx, self._lane, wait)

    def _beat(self, checkpoint: Any = None) -> None:
        with db.transaction("worker") as tx:
            if not lanes.beat(tx, self._lane, lease=LEASE, checkpoint=checkpoint):
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
            ran = _run(self._work, span, self._context)
            took = time.monotonic() - started
            if len(ran.leaves) != len(span):
                message = f"{self._work.kind} answered with {len(ran.leaves)} leaves for {len(span)} shards"
                raise Broken(message)  # noqa: TRY301 - a bug of the kind, recorded as its failure
            if len(span) == 1 and took > self._work.shard_timeout.total_seconds():
                ran = self._failed(span, Failure("timeout", f"it took {took:.1f} s"))
            return self._report(span, ran, took)
        except (Lost, Unavailable):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a kind does wrong is its shard's failure, not the worker's
            if len(span) > 1:
                return self._one_by_one(span)
            log.error("shard.failed", plan=self._lane.plan, stage=self._work.id, shard=span.start, error=str(error)[:MESSAGE])
            return self._report(span, self._failed(span, _failure(error), error), time.monotonic() - started)

    def _one_by_one(self, span: range) -> Place | None:
        """A chunk that failed as a whole, shard by shard, so that only those fail that must; reported as one."""
        leaves: list[bytes] = []
        failures: dict[int, Failure] = {}
        effects: list[Callable[[Transaction], Any]] = []
        started = time.monotonic()
        for shard in span:
            try:
                ran = _run(self._work, range(shard, shard + 1), self._context)
                leaves += ran.leaves
                failures |= ran.failures
                effects += [ran.effect] if ran.effect else []
            except (Lost, Unavailable):
                raise
            except Exception as error:  # noqa: BLE001 - as above
                failures[shard] = _failure(error)
                leaves.append(b"")
        try:
            return self._report(span, Ran(leaves, failures, _all(effects)), time.monotonic() - started)
        except (Lost, Unavailable):
            raise
        except Exception as error:  # noqa: BLE001 - the effects do not go together: all of them wait for a life of their own
            return self._report(span, self._failed(span, _failure(error)), time.monotonic() - started)

    def _failed(self, span: range, failure: Failure, error: Exception | None = None) -> Ran:
        # Of an open-ended stage nobody knows what lies beyond a shard that failed: the next one will tell, unless the kind can.
        said = getattr(shards.find(self._work.kind), "failed", None)
        more = said(error) if said and error is not None else None
        return Ran(
            [b""] * len(span), dict.fromkeys(span, failure), more=True if more is None and self._work.is_open_ended else more
        )

    def _report(self, span: range, ran: Ran, took: float) -> Place | None:
        current = settings.load()
        if took and not self._work.is_open_ended:
            self._size = rules.next_chunk(
                len(span), took, longest=current.hxo_autosplit_p95_ms, factor=current.hxo_autosplit_factor
            )  # fmt: skip
        is_over = time.monotonic() - self._started > self._seconds or time.monotonic() >= self._worker.until
        digests = _digests(self._context.hash, span, ran)
        peaks = merkle.peaks(self._context.hash, span.start, digests)

        def write(tx: Transaction) -> tuple[Place, int]:
            return self._write(tx, span, replace(ran, leaves=digests), peaks, 0 if is_over else self._size)

        place, opened = db.replayed(write, "worker")
        report = self._worker.report
        report.chunks += 1
        report.shards += len(span)
        report.failed += len(ran.failures)
        self._context.lapses, self._context.checkpoint = 0, None
        if opened:
            report.rang += call_for_more(most=min(opened, FIRST_RINGS))
        return place

    def _write(self, tx: Transaction, span: range, ran: Ran, peaks: bytes, next_: int) -> tuple[Place, int]:
        lane, work_ = self._lane, self._work
        place = lanes.advance(tx, lane, next_=0 if work_.is_open_ended else next_, lease=LEASE)
        if place is None:
            raise Lost
        if ran.effect is not None:
            ran.effect(tx)
        leaves = b"".join(ran.leaves)
        plans.record(tx, lane.plan, lane.stage, lo=span.start, hi=span.stop, digests=leaves, peaks=peaks)
        if ran.failures:
            shard_failures.add(tx, lane.plan, lane.stage, ran.failures, _wait(1))
        if work_.is_open_ended:
            more = ran.more is not False
            place = lanes.extend(tx, lane, span.start, more=more, next_=next_, lease=LEASE) or Place(
                span.stop, span.stop, span.stop
            )
        opened = stages.settle(tx, lane.plan, lane.stage) if place.busy >= place.hi and place.done == place.hi else 0
        if ran.failures:
            stages.check_failures(tx, lane.plan, lane.stage)
        return place, opened


def _digests(hash_: merkle.Hash, span: range, ran: Ran) -> Sequence[bytes]:
    """The leaves of a chunk; a failure is one as well."""
    if not ran.failures:
        return ran.leaves
    digests = list(ran.leaves)
    for shard, failure in ran.failures.items():
        digests[shard - span.start] = merkle.leaf(hash_, b"failed %d %s" % (shard, failure.code.encode()))
    return digests


def _all(effects: list[Callable[[Transaction], Any]]) -> Callable[[Transaction], None]:
    def write(tx: Transaction) -> None:
        for effect in effects:
            effect(tx)

    return write


class _Healing:
    """A shard that failed, being tried again."""

    def __init__(self, worker: Worker, taken: Taken, work_: Work, holder: str) -> None:
        self._worker = worker
        self._taken = taken
        self._work = work_
        self._context = _context(taken, work_, worker.until, holder, self._beat)

    def go(self) -> None:
        """Run it once."""
        taken = self._taken
        if taken.heal_depth > settings.load().hxo_heal_depth_limit:
            with db.transaction("worker") as tx:
                shard_failures.give_back(tx, taken, timedelta())
                stages.halt(tx, taken.plan, f"Shard {taken.shard} of stage {self._work.id} was healed {taken.heal_depth - 1} times")
            return
        if taken.attempts >= MOST_ATTEMPTS:  # its worker died with the last one
            self._fail(Failure("crashed", "the worker died at this shard", is_final=True))
            return
        try:
            started = time.monotonic()
            ran = _run(self._work, range(taken.shard, taken.shard + 1), self._context)
            if time.monotonic() - started > self._work.shard_timeout.total_seconds():
                self._fail(Failure("timeout", f"it took {time.monotonic() - started:.1f} s"))
            elif ran.failures:
                self._fail(next(iter(ran.failures.values())))
            else:
                self._heal(ran)
        except Lost:
            self._worker.report.lost += 1
        except Unavailable as error:
            self._worker.report.given_back += 1
            with db.transaction("worker") as tx:
                shard_failures.give_back(tx, taken, timedelta(seconds=error.retry_after_seconds))
        except Exception as error:  # noqa: BLE001 - whatever a kind does wrong is its shard's failure
            self._fail(_failure(error))

    def _beat(self, _: Any = None) -> None:
        with db.transaction("worker") as tx:
            if not shard_failures.beat(tx, self._taken, LEASE):
                raise Lost

    def _heal(self, ran: Ran) -> None:
        def write(tx: Transaction) -> int:
            if not shard_failures.heal(tx, self._taken, ran.leaves[0]):
                raise Lost
            if ran.effect is not None:
                ran.effect(tx)
            if ran.more and plans.goes_on(tx, self._taken.plan, self._taken.stage, self._taken.shard):
                lanes.add_one(tx, self._taken.plan, self._taken.stage)
            return stages.settle(tx, self._taken.plan, self._taken.stage)

        opened = db.replayed(write, "worker")
        self._worker.report.chunks += 1
        self._worker.report.shards += 1
        if opened:
            self._worker.report.rang += call_for_more(most=min(opened, FIRST_RINGS))

    def _fail(self, failure: Failure) -> None:
        taken = self._taken
        log.error(
            "shard.failed", plan=taken.plan, stage=self._work.id, shard=taken.shard, code=failure.code, attempt=taken.attempts + 1
        )

        def write(tx: Transaction) -> None:
            # In the order of everybody else: what is counted stands in the plan's row, and who settles has the stage first.
            if not shard_failures.hold(tx, taken):
                return
            plans.lock_stage(tx, taken.plan, taken.stage)
            said = shard_failures.fail(tx, taken, failure, wait=_wait(taken.attempts + 1), most=MOST_ATTEMPTS)
            if said == "dead":
                stages.settle(tx, taken.plan, taken.stage)

        db.replayed(write, "worker")
        self._worker.report.chunks += 1
        self._worker.report.failed += 1


def body_empty(body: bytes) -> int:
    """How many calls before this one got nothing done, as their ring says; 0 for anything else."""
    try:
        said = encoding.loads(body or b"{}").get("empty", 0)
    except (ValueError, AttributeError):
        return 0
    return said if isinstance(said, int) and 0 <= said <= MOST_EMPTY else 0
