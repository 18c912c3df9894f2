"""Any order of what people, the source and its clock do: no edit is lost, nothing is deleted that is there.

A script of steps is played against the stand-in. Its clock stands still and is turned together with the database's, so that
both agree but for the skew that a step gives it. After every step the safety properties are looked at:

- no record that the source has, whether its lists show it yet or not, is a tombstone here;
- an entity's cursor is never ahead of the source, and every change that the source showed before the step in which the
  cursor came to stand there, with a stamp up to the cursor less the lookback, is applied.

When all is quiet, everything the source has stands here with its newest stamp and content, and what it deleted is gone.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from common import db, entities
from common.flows import plan_status, plan_verbs, process, sync, work
from common.outgoing import calls
from common.stores import lanes, limits, refetches
from deploy.local.zoho import StandIn, shapes
from tests.conftest import ORGANIZATION
from tests.make import connection, send

LONG = os.environ.get("TIDEMARK_LONG") == "1"
EXAMPLES, STEPS = (300, 40) if LONG else (10, 14)
SIZES = {"product": 7, "customer": 3, "invoice": 3}
LABELS = tuple(SIZES)
BACK = timedelta(seconds=300)
FAULTS = ("unavailable", "error", "truncated", "cut", "minute", "failing", "unauthorized", "unfiltered")
STATUSES_OVER = ("succeeded", "failed", "cancelled", "aborted")

label = st.sampled_from(LABELS)
count = st.integers(1, 3)
STEP = st.one_of(
    st.tuples(st.just("create"), label, count),
    st.tuples(st.just("edit"), label, count),
    st.tuples(st.just("edit"), label, count),
    st.tuples(st.just("edit_quietly"), st.sampled_from(("product", "customer")), count),
    st.tuples(st.just("delete"), label, st.just(1)),
    st.tuples(st.just("turn"), st.sampled_from((1, 2, 20, 70, 400, 4000))),
    st.tuples(st.just("late"), st.sampled_from((0.0, 0.0, 3.0, 120.0))),
    st.tuples(st.just("move"), st.sampled_from(("+0300", "-0800", "+0530"))),
    st.tuples(st.just("skew"), st.sampled_from((0, 0, 20, -20))),
    st.tuples(st.just("tell"), st.integers(0, 5), st.integers(1, 2)),
    st.tuples(st.just("ask"), label, st.integers(0, 5)),
    st.tuples(st.just("sync"), st.sampled_from(("incremental", "incremental", "full", "stock"))),
    st.tuples(st.just("begin"), st.sampled_from(("incremental", "full"))),
    st.tuples(st.just("abandon")),
    st.tuples(st.just("fault"), st.sampled_from(FAULTS), st.integers(1, 3)),
)

# What chance comes across too rarely.
LATE_EDIT = [
    ("sync", "full"), ("late", 120.0), ("edit", "product", 1), ("late", 0.0), ("turn", 20), ("create", "product", 1), ("sync", "incremental"),
    ("turn", 400), ("create", "product", 1), ("sync", "incremental"),
]  # fmt: skip
TOLD_BEFORE_IT_IS_SHOWN = [
    ("sync", "full"), ("late", 120.0), ("create", "product", 1), ("tell", 0, 1), ("ask", "product", 0), ("sync", "incremental"),
]  # fmt: skip


def stamp_of(record: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(record["last_modified_time"]).astimezone(UTC)


class World:
    """The source, our side of it, and what a checker needs to remember."""

    def __init__(self, zoho: StandIn, sql: Any, turn_clock: Any) -> None:
        self.zoho, self.sql, self._turn = zoho, sql, turn_clock
        self.untold: list[tuple[str, str, bool, dict[str, Any]]] = []
        self.deleted: dict[str, set[str]] = {each: set() for each in LABELS}
        self.plans: list[str] = []

    # What people and the source do

    def create(self, label: str, count: int) -> None:
        self._note(label, self.zoho.create(label, count))

    def edit(self, label: str, count: int) -> None:
        self._note(label, self.zoho.edit(label, count))

    def edit_quietly(self, label: str, count: int) -> None:
        self.zoho.edit_quietly(label, count)

    def delete(self, label: str, count: int) -> None:
        if len(self.zoho._store.books.standing[label]) < 2:
            return
        gone = self.zoho.delete(label, count)
        self.deleted[label] |= set(gone)
        for each in gone:
            self.untold.append((label, each, True, {}))

    def _note(self, label: str, ids: list[str]) -> None:
        for each in ids:
            change = self.zoho._store.books.standing[label].get(each)
            self.untold.append((label, each, False, shapes.detail(change.kind, change.record)))

    def turn(self, seconds: float) -> None:
        self.zoho.turn(seconds)
        self._turn(timedelta(seconds=seconds))
        self.sql("update tidemark.source_limits set blocked_until = '-infinity', free_at = '-infinity'")

    def late(self, seconds: float) -> None:
        self.zoho.late = seconds

    def move(self, offset: str) -> None:
        self.zoho.move(offset)

    def skew(self, seconds: float) -> None:
        self.zoho.skew = timedelta(seconds=seconds)

    def fault(self, name: str, times: int) -> None:
        self.zoho.faults.add(name, calls=times)

    # What we do

    def tell(self, which: int, times: int) -> None:
        """A webhook of some change that has not been told, in any order; often enough twice."""
        if not self.untold:
            return
        label, _, is_gone, record = self.untold.pop(which % len(self.untold))
        if is_gone:
            return  # Zoho's webhooks of deletes have no stamp that could be trusted; the full list finds them
        entity = entities.by_label()[label]
        for _ in range(times):
            send(entity.path, {entity.wrappers[0]: record})
        process.process()

    def ask(self, label: str, which: int) -> None:
        """An operator, a hint or a comparison wants a record to be read again."""
        known = sorted(self.rows(label), key=int)
        if known:
            with db.transaction("worker") as tx:
                refetches.ask(tx, ORGANIZATION, [(label, known[-1 - which % len(known)])], "asked")

    def begin(self, mode: str) -> None:
        self.plans.append(sync.by_hand({"mode": mode})[1]["plan_id"])

    def sync(self, mode: str) -> None:
        self.begin(mode)
        self.finish(self.plans[-1], turns=6)

    def abandon(self) -> None:
        """A worker that takes a lane and is never heard of again."""
        with db.transaction("worker") as tx:
            lanes.queue_up(tx)
            lanes.take(tx, holder="nobody", lease=work.LEASE)

    def finish(self, plan: str, turns: int = 40) -> str:
        for _ in range(turns):
            work.work()
            (row,) = self.sql(f"select status from tidemark.plans where id = '{plan}'")
            if row[0] in STATUSES_OVER:
                return str(row[0])
            self.turn(61)
        return "running"

    # What must hold

    def rows(self, label: str) -> dict[str, tuple[datetime | None, bool, datetime]]:
        table = entities.by_label()[label].table
        found = self.sql(f"select source_id, source_modified_at, deleted_at is not null, observed_at from erp.{table}")
        return {row[0]: (row[1], row[2], row[3]) for row in found}

    def check(self) -> None:
        for label in LABELS:
            standing = self.zoho._store.books.standing[label]  # whether it is shown already or not
            for identifier, (_, is_gone, _) in self.rows(label).items():
                assert not is_gone or standing.get(identifier) is None, f"{label} {identifier} is there, and a tombstone here"
        for label, cursor in self.cursors().items():
            if label not in LABELS or cursor is None:
                continue
            assert cursor <= self.zoho.now(), f"{label}: the cursor is ahead of the source"
            stands = self.rows(label)
            for identifier, record in self.shown_before(label).items():
                if stamp_of(record) > cursor - BACK or identifier in self.deleted[label]:
                    continue
                at = stands.get(identifier, (None,))[0]
                is_applied = at is not None and at >= stamp_of(record)
                assert is_applied, f"{label} {identifier}: {at} stands, the cursor is at {cursor}"

    def cursors(self) -> dict[str, datetime | None]:
        return dict(self.sql("select entity_type::text, cursor_value::timestamptz from tds_sync_cursors"))

    def shown_before(self, label: str) -> dict[str, dict[str, Any]]:
        """What the source showed when the sync began that set the cursor."""
        return self._shown.get(label, {})

    _shown: dict[str, dict[str, dict[str, Any]]]


def play(world: World, script: list[tuple[Any, ...]]) -> None:
    world._shown = {}
    before = world.cursors()
    for name, *given_ in script:
        shown = {each: world.zoho.rows(each) for each in LABELS}
        getattr(world, name)(*given_)
        after = world.cursors()
        for each in LABELS:
            if after.get(each) != before.get(each):
                # One that was begun earlier may have ended just now, and it read whatever was shown by then.
                world._shown[each] = shown[each]
        before = after
        world.check()


def settle(world: World) -> None:
    """The faults are over, what was late is shown, one incremental sync, then full ones with what they ask for."""
    zoho = world.zoho
    zoho.faults.clear()
    zoho.late = 0.0
    zoho.skew = timedelta()
    world.turn(400)
    for plan in world.plans:
        world.finish(plan)
    plan_verbs.stop_overdue()
    for mode in ("incremental", "full"):
        world.turn(600)
        plan = sync.by_hand({"mode": mode})[1]["plan_id"]
        assert world.finish(plan) == "succeeded", plan_status.report(plan)
    world.check()
    for label in LABELS:
        stands = world.rows(label)
        present = zoho.rows(label)
        assert {key for key, row in stands.items() if not row[1]} == set(present), label
        assert {key: row[0] for key, row in stands.items() if not row[1]} == {key: stamp_of(row) for key, row in present.items()}, (
            label
        )
        entity = entities.by_label()[label]
        column, key = ("stock_on_hand", "stock_on_hand") if label == "product" else ("total", "total")
        if label != "customer":
            values = dict(world.sql(f"select source_id, {column} from erp.{entity.table} where deleted_at is null"))
            assert {each: float(value or 0) for each, value in values.items()} == {
                each: float(row[key] or 0) for each, row in present.items()
            }, label


@pytest.fixture
def worlds(configured, sql, turn_clock, monkeypatch):
    """A world on clean tables for each example: a database for each would take longer than the example."""
    sql("update tidemark.settings set value = '1000000' where key in ('zoho.calls_per_minute', 'zoho.calls_per_day')")
    sql("update tidemark.settings set value = '100000' where key = 'zoho.burst'")
    monkeypatch.setattr(limits, "block", lambda *_, **__: None)  # its clock is nobody's here
    tables = [f"erp.{entity.table}" for entity in entities.every()]
    tables += ["tds_sync_cursors", "tds_sync_runs", "tds_alerts", "tidemark.plans", "tidemark.stages", "tidemark.lanes"]
    tables += ["tidemark.leaves", "tidemark.shard_failures", "tidemark.refetches", "tidemark.seen_ids", "tidemark.source_tokens"]

    def make() -> World:
        sql(f"truncate {', '.join(tables)} cascade")
        (now,) = sql("select app_now()")[0]
        standing = StandIn(sizes=SIZES, now=now.replace(microsecond=0)).start()
        standing.limits.off()
        configured(**connection(standing))
        return World(standing, sql, turn_clock)

    return make


@pytest.mark.process
def test_no_edit_is_lost_and_nothing_is_deleted_that_is_there(worlds):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=not LONG,
        database=None,
        phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if LONG else [])],
        suppress_health_check=list(HealthCheck),
    )
    @example(LATE_EDIT)
    @example(TOLD_BEFORE_IT_IS_SHOWN)
    @given(st.lists(STEP, min_size=3, max_size=STEPS))
    def any_script(script: list[tuple[Any, ...]]) -> None:
        world = worlds()
        try:
            play(world, script)
            settle(world)
        finally:
            world.zoho.stop()
            calls.close()

    any_script()
