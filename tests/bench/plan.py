"""plan: a million shards that do nothing, submitted and worked through; beside claiming them as rows of a table."""

from __future__ import annotations

import os
import time

from common import db, settings
from common.flows import plans
from common.rules.http import Request
from deploy.local.postgres import Cluster
from tests.bench import lab
from tests.bench.lab import Database, Result

SHARDS = 1_000_000
FEW = 100_000  # to see whether memory grows with the number
ROWS = 20_000
ROWS_TABLE = """
    drop table if exists shards;
    create table shards (id bigint primary key, status text not null default 'pending', digest bytea);
    insert into shards (id) select generate_series(1, {rows});
    create index on shards (id) where status = 'pending';
"""
CLAIM = "update shards set status = 'busy' where id = (select id from shards where status = 'pending' order by id limit 1 for update skip locked) returning id"


def run(cluster: Cluster, *, rounds: int, **_: object) -> Result:
    """Measure."""
    result = Result("plan")
    with lab.database(cluster, "bench_plan") as mine, lab.database(cluster, "bench_rows", empty=True) as rows:
        found = lab.alternate(
            rounds,
            {
                "tidemark, 1,000,000 shards, 2 processes": lambda: _worked(mine, SHARDS, 2),
                "tidemark, 1,000,000 shards, 4 processes": lambda: _worked(mine, SHARDS, 4),
                "tidemark, 100,000 shards, 2 processes": lambda: _worked(mine, FEW, 2),
                "a row per shard, one by one": lambda: _rows(rows),
            },
        )
    result.numbers = [{"contender": name, **numbers} for name, numbers in found.items()]
    ours = found["tidemark, 1,000,000 shards, 2 processes"]
    few = found["tidemark, 100,000 shards, 2 processes"]
    result.goal("seconds to submit", ours["submit_seconds"], 1, " s", at_least=False)
    result.goal("shards/s", max(each["per_second"] for name, each in found.items() if "1,000,000" in name), 100_000, "/s")
    result.goal("WAL bytes a shard", ours["wal_bytes"], 50, " B", at_least=False)
    result.goal(
        "memory of a worker, times that of a tenth of the shards", ours["memory_kb"] / few["memory_kb"], 1.1, at_least=False
    )
    result.goal("times a row per shard", ours["per_second"] / found["a row per shard, one by one"]["per_second"], 50)
    return result


def _worked(database: Database, shards: int, processes: int) -> dict[str, float]:
    os.environ.update(database.environment())
    settings.load.cache_clear()
    plans.work.ring.ring = lambda *_, **__: True
    with database.cost() as cost:
        started = time.perf_counter()
        plan = plans.submit(
            Request("POST", "/"), {"name": "bench", "stages": [{"id": "noop", "kind": "noop", "config": {"shards": shards}}]}
        )
        submitted = time.perf_counter() - started
        reports = lab.workers(database.environment(), processes, "shards")
    shown = plans.status(plan[1]["plan_id"])
    assert (shown["status"], shown["done_shards"]) == ("succeeded", shards), shown
    db.pool().discard()
    working = max(report["seconds"] for report in reports)
    return {
        "submit_seconds": submitted,
        "per_second": shards / working,
        "wal_bytes": cost.wal_bytes / shards,
        "postgres_us": cost.cpu_seconds * 1e6 / shards,
        "python_us": sum(report["cpu_seconds"] for report in reports) * 1e6 / shards,
        "memory_kb": max(report["memory_kb"] for report in reports),
    }


def _rows(database: Database) -> dict[str, float]:
    database.sql(ROWS_TABLE.format(rows=ROWS))
    count = 2000
    with database.cost() as cost:
        for _ in range(count):
            shard = database.sql(CLAIM)[0][0]
            database.sql(f"update shards set status = 'done', digest = sha256('{shard}') where id = {shard}")
    return {"per_second": count / cost.seconds, "wal_bytes": cost.wal_bytes / count, "postgres_us": cost.cpu_seconds * 1e6 / count}
