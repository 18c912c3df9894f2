"""Work: take lanes of plans, and shards that failed, and go through them until nothing is left or the time is up."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from common import db, encoding, log, settings
from common.errors import LeaseLost
from common.flows import drain, lease, presence, ring, seal, time_limits
from common.flows.chunks import LEASE, Report
from common.flows.healing import Healing
from common.flows.lane_turn import LaneTurn
from common.flows.lease import Watch
from common.flows.process import SHARE
from common.stores import lanes, pauses, plans, releases, shard_failures
from common.stores.holding import Held

TURN_SECONDS = 10.0  # then the lane is given up, and whichever was served longest ago is next
MOST_RINGS = 64
FIRST_RINGS = 8  # at once, by whoever opened lanes: those who answer ring for the rest
FAN = 2  # each of them for so many, as long as lanes are free
MOST_EMPTY = 10  # calls in a row that got nothing done


def work(*, empty: int = 0, holder: str | None = None, beside: int = 0) -> Report:
    """Work through whatever lanes there are, `beside` more of them at once: while one waits, another reads or writes.

    `empty` calls in a row before this one got nothing done although there seemed to be work: after ten of them nobody
    is rung any more, and tick looks again. A PASSIVE deployment does nothing, and rings for nobody: the ACTIVE one works;
    nor does a release that is drained. On a schema that is older than this code only what changes the schema is worked on.
    Raises: Unavailable, when the database is: leases lapse, and the next call goes on from what was reported; when this code
    is too old for the schema.
    """
    current = settings.load()
    is_behind = presence.check() is presence.Fit.BEHIND
    kinds = pauses.migrating(current.shard_kinds) if is_behind else current.shard_kinds
    if kinds is None or (not is_behind and drain.settle()):
        return Report()
    held = lease.held_or_none()
    if held is None:
        return Report()
    holder = holder or releases.holder()
    until = time.monotonic() + current.function_timeout_seconds.total_seconds() * SHARE
    first = Worker(until, kinds, holder, held)
    if first.take_turn(is_first=True):
        others = [Worker(until, kinds, holder, held) for _ in range(beside)]
        with ThreadPoolExecutor(max(1, beside), thread_name_prefix="lane") as threads:
            started = [threads.submit(contextvars.copy_context().run, each.go) for each in others]
            first.go()
        for each, ended in zip(others, started, strict=True):
            ended.result()
            first.report.add(each.report)
    if first.is_stopped:
        drain.settle()
    if first.is_passive or is_behind:
        return first.report
    first.report.rang += call_for_more(0 if first.report.chunks or first.report.waited else empty + 1)
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
        kinds = pauses.allowed(tx, ())
        free = lanes.Free(0, None) if kinds is None else lanes.free(tx, kinds)
    count = min(free.now, most)
    rang = sum(ring.ring("shards", light=True, empty=empty) for _ in range(count))
    if not count and free.next_at is not None:
        at = free.next_at.replace(microsecond=0) + timedelta(seconds=1)
        rang += ring.ring("shards", at=at, name=f"shards-{int(at.timestamp())}", light=True)
    return rang


class Worker:
    """One call: takes a lane, works on it for a turn, and so on."""

    def __init__(self, until: float, kinds: Sequence[str], holder: str, held: Held | None = None) -> None:
        self.until = until
        self.report = Report()
        self.is_passive = False
        self.is_stopped = False  # nothing may be begun now: by this release, or by anybody
        self._lease = Watch(held or lease.held())
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
        if self.is_passive:
            return False
        if not self._lease.is_lost:
            with contextlib.suppress(LeaseLost):
                return self._take_turn(is_first=is_first)
        # Nobody may have kept it, and nobody else have taken it: then it is taken anew.
        held = lease.held_or_none()
        self.is_passive = held is None
        if held is not None:
            self._lease = Watch(held)
        return held is not None and self._take_turn(is_first=is_first)

    def _take_turn(self, *, is_first: bool) -> bool:
        """Raises: LeaseLost, before anything is taken."""
        with db.transaction("worker") as tx:
            lanes.queue_up(tx)
            self._lease.guard(tx)
            kinds = pauses.allowed(tx, self._kinds)
            self.is_stopped = kinds is None
            if kinds is None:
                return False
            taken = shard_failures.take(tx, lease=LEASE, kinds=kinds)
            lane = None if taken else lanes.take(tx, holder=self._holder, lease=LEASE, kinds=kinds)
            held = taken or lane
            found = plans.work(tx, held.plan, held.stage) if held else None
        if held is None or found is None:
            return False
        taken_at = time.monotonic()
        if found.seconds_left is not None and found.seconds_left <= 0:
            time_limits.expire(held.plan, held.stage)
            return True
        turn: LaneTurn | Healing
        if lane is not None:
            self.report.lanes += 1
            if is_first:
                self.report.rang += call_for_more(most=FAN)
            seconds = 0.0 if is_first else TURN_SECONDS
            turn = LaneTurn(lane, found, self._holder, report=self.report, until=self.until, seconds=seconds, lease=self._lease)
        elif taken is not None:
            turn = Healing(taken, found, self._holder, report=self.report, until=self.until, lease=self._lease)
        turn.go()
        if found.seconds_left is not None and time.monotonic() - taken_at >= found.seconds_left:
            time_limits.expire(held.plan, held.stage)
        if turn.opened:
            self.report.rang += call_for_more(most=min(turn.opened, FIRST_RINGS))
        return True


def body_empty(body: bytes) -> int:
    """How many calls before this one got nothing done, as their ring says; 0 for anything else."""
    try:
        said = encoding.loads(body or b"{}").get("empty", 0)
    except (ValueError, AttributeError):
        return 0
    return said if isinstance(said, int) and 0 <= said <= MOST_EMPTY else 0
