"""schedules: a tick that finds 200 of 100,000 schedules due, beside claiming and advancing 200 rows and nothing else."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from croniter import croniter

from common import db, settings
from common.flows import fires
from common.rules import cron
from deploy.local.postgres import Cluster
from tests.bench import lab
from tests.bench.lab import Database, Result

MANY, FEW = 100_000, 1_000
DUE = 200
# Seven kinds of expression, as an installation has them, and one of its own for every schedule.
KINDS = ("0 * * * *", "*/15 * * * *", "30 2 * * *", "0 9-17 * * 1-5", "@daily", "0 0 1 * *", "5 4 * * 0")
MADE = """
    delete from tidemark.schedules;
    insert into tidemark.schedules (name, cron, time_zone, function, next_slot, created_by, updated_by)
    select 's' || n, (array{kinds}::text[])[n % {length} + 1], (array['UTC', 'Europe/Berlin', 'America/New_York'])[n % 3 + 1], 'heal',
           now() + interval '1 day' + n * interval '1 s', 'bench', 'bench' from generate_series(1, {count}) n;
    drop table if exists bare;
    create table bare as select name, cron, next_slot from tidemark.schedules;
    alter table bare add primary key (name);
    create index on bare (next_slot);
"""
COME = """
    delete from tidemark.fires;
    update {table} set next_slot = '{at}' where name in (select 's' || n * {step} from generate_series(1, {due}) n)
"""
CLAIM = "select name, cron, next_slot from bare where next_slot <= now() order by next_slot limit 500 for update skip locked"
ADVANCE = """
    update bare b set next_slot = m.next from jsonb_to_recordset(cast(:moved as jsonb)) as m (name text, read timestamptz, next timestamptz)
     where b.name = m.name and b.next_slot = m.read
"""


def run(cluster: Cluster, *, rounds: int, **_: object) -> Result:
    """Measure."""
    result = Result("schedules")
    with (
        lab.database(cluster, "bench_many") as many,
        lab.database(cluster, "bench_few") as few,
        lab.database(cluster, "bench_own") as own,
    ):
        for database, count, kinds in ((many, MANY, KINDS), (few, FEW, KINDS), (own, MANY, _own_kinds())):
            database.sql(MADE.format(count=count, kinds=list(kinds), length=len(kinds)))
            database.sql("vacuum analyze tidemark.schedules")
            database.sql("vacuum analyze bare")
        days = iter(range(1, 10_000))
        contenders: dict[str, Callable[[], dict[str, float]]] = {
            "SQL alone": lambda: _bare(many, next(days), computed=False),
            "raw": lambda: _bare(many, next(days), computed=True),
            "tick": lambda: _tick(many, MANY, next(days)),
            "tick, 1,000 schedules": lambda: _tick(few, FEW, next(days)),
            "tick, 200 expressions": lambda: _tick(own, MANY, next(days)),
            "tick, nothing due": lambda: _tick(many, MANY, None),
        }
        for contender in contenders.values():
            contender()
        found = lab.alternate(max(rounds, 3) * 3, contenders)
    result.numbers = [{"what": name, **numbers} for name, numbers in found.items()]
    raw = found["raw"]["ms"]
    result.goal(
        f"tick with {MANY:,} schedules and {DUE} due, times the raw claim and advance",
        found["tick"]["ms"] / raw,
        2,
        at_least=False,
    )
    result.goal(
        "the same, each due one with an expression of its own", found["tick, 200 expressions"]["ms"] / raw, 2, at_least=False
    )
    result.goal(
        "the same with 1,000 schedules, times with 100,000",
        found["tick"]["ms"] / found["tick, 1,000 schedules"]["ms"],
        1.5,
        at_least=False,
    )
    result.notes.append(
        "raw: one claim, the next moment from croniter's parsed expressions for each row, one update, one commit; SQL alone: without croniter. A tick records its fires as well, "
        "minds the clock's changes, looks for new schedules and unanswered fires, and has its caches emptied first. Rings are left out."
    )
    return result


def _own_kinds() -> list[str]:
    return [f"{n % 60} {n // 60 % 24} * * {n % 7}" for n in range(1, 1009)]


def _come(database: Database, table: str, count: int, day: int) -> None:
    # Just now, and never at the same moment twice: nothing that was computed for it before may help. Dates of their own decide that.
    at = datetime.now(UTC) - timedelta(seconds=30) + timedelta(microseconds=day)
    database.sql(COME.format(table=table, at=at.isoformat(), step=count // DUE, due=DUE))


def _bare(database: Database, day: int, *, computed: bool) -> dict[str, float]:
    _come(database, "bare", MANY, day)
    connection = db.Connection(db.Address(database.url))
    try:
        connection.script("select 1")
        parsed = {kind: croniter(kind) for kind in KINDS}
        began = time.perf_counter()
        connection.script("begin")
        rows, _ = connection.execute(CLAIM, {})
        following = [
            parsed[expression].get_next(datetime, start_time=at) if computed else at + timedelta(days=1)
            for _, expression, at in rows
        ]
        moved = [{"name": row[0], "read": str(row[2]), "next": str(slot)} for row, slot in zip(rows, following, strict=True)]
        _, count = connection.execute(ADVANCE, {"moved": json.dumps(moved)})
        connection.script("commit")
        took = (time.perf_counter() - began) * 1000
    finally:
        connection.close()
    assert count == DUE
    return {"ms": took}


def _tick(database: Database, count: int, day: int | None) -> dict[str, float]:
    if day is not None:
        _come(database, "tidemark.schedules", count, day)
    os.environ.update(database.environment())
    settings.load.cache_clear()
    cron.following.cache_clear()
    with db.transaction("worker") as tx:
        tx.script("select 1")
    rings, fires.ring_for = fires.ring_for, lambda _: None
    try:
        began = time.perf_counter()
        report = fires.fire()
        took = (time.perf_counter() - began) * 1000
    finally:
        fires.ring_for = rings
        db.pool().discard()
    assert report.rung == (0 if day is None else DUE), report
    return {"ms": took}
