"""plan: a million shards that do nothing, submitted and worked through; beside claiming them as rows of a table."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from collections.abc import Callable

from common import db, settings
from common.flows import plan_status, plans, verify
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
                "tidemark, 1,000,000 shards, over HTTP with real rings": lambda: _served(mine, SHARDS),
                "a row per shard, one by one": lambda: _rows(rows),
            },
        )
    result.numbers = [{"contender": name, **numbers} for name, numbers in found.items()]
    ours = found["tidemark, 1,000,000 shards, 2 processes"]
    few = found["tidemark, 100,000 shards, 2 processes"]
    served = found["tidemark, 1,000,000 shards, over HTTP with real rings"]
    result.goal("seconds to submit", max(ours["submit_seconds"], served["submit_seconds"]), 1, " s", at_least=False)
    result.goal("shards/s over HTTP with real rings", served["per_second"], 100_000, "/s")
    result.goal("shards/s", max(each["per_second"] for name, each in found.items() if "1,000,000" in name), 100_000, "/s")
    result.goal("seconds to verify 1,000,000 leaves", ours["verify_seconds"], 10, " s", at_least=False)
    result.goal("status of a running plan, ms, p95", ours["status_ms"], 50, " ms", at_least=False)
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
        looks = sorted(_seconds(lambda: plan_status.status(plan[1]["plan_id"])) for _ in range(20))
        reports = lab.workers(database.environment(), processes, "shards")
    shown = plan_status.status(plan[1]["plan_id"])
    assert (shown["status"], shown["done_shards"]) == ("succeeded", shards), shown
    verified = _seconds(lambda: _verified(plan[1]["plan_id"], shards))
    db.pool().discard()
    working = max(report["seconds"] for report in reports)
    return {
        "submit_seconds": submitted,
        "per_second": shards / working,
        "wal_bytes": cost.wal_bytes / shards,
        "postgres_us": cost.cpu_seconds * 1e6 / shards,
        "python_us": sum(report["cpu_seconds"] for report in reports) * 1e6 / shards,
        "memory_kb": max(report["memory_kb"] for report in reports),
        "status_ms": looks[-2] * 1000,  # the 95th of a hundred
        "verify_seconds": verified,
    }


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _verified(plan: str, shards: int) -> None:
    found = verify.check(plan, time.monotonic() + 60)
    assert (found.is_clean, found.checked) == (True, shards), found


def _served(database: Database, shards: int) -> dict[str, float]:
    """As `make run` serves it: a gateway of two processes, rung by the look-alike of Cloud Tasks."""
    gateway, queue = lab.free_port(), lab.free_port()
    environment = database.environment(
        TASKS_ENDPOINT=f"127.0.0.1:{queue}", FUNCTIONS_URL=f"http://127.0.0.1:{gateway}", PYTHONPATH=str(lab.ROOT)
    )
    words = ["--worker-class", "uvicorn_worker.UvicornWorker", "--workers", "2", "--timeout", "120", "deploy.local.gateway:app"]
    serving = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{gateway}", "--no-control-socket", *words]
    ringing = [sys.executable, "-m", "deploy.local.tasks", "--port", str(queue)]
    body = json.dumps({"name": "bench", "stages": [{"id": "noop", "kind": "noop", "config": {"shards": shards}}]})
    headers = {"Authorization": f"Bearer {lab.OWNER}", "Content-Type": "application/json"}
    with lab.running(ringing, environment, "tasks"), lab.running(serving, environment, "gateway"):
        lab.wait_for(gateway, "/health/ready")
        for _ in range(6):  # until each of its processes is warm
            lab.wait_for(gateway, "/api/hxo/status", headers=headers)
        lab.wait_for(queue, "/")
        with database.cost() as cost:
            started = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", gateway, timeout=30)
            connection.request("POST", "/api/hxo/create-and-submit", body, headers)
            plan = json.loads(connection.getresponse().read())["plan_id"]
            submitted = time.perf_counter() - started
            while database.value(f"select finished_at is null from tidemark.plans where id = '{plan}'"):
                time.sleep(0.02)
        times = database.sql(
            f"select extract(epoch from finished_at - submitted_at)::float8, status from tidemark.plans where id = '{plan}'"
        )
    assert times[0][1] == "succeeded", times
    return {"submit_seconds": submitted, "per_second": shards / times[0][0], "wal_bytes": cost.wal_bytes / shards}


def _rows(database: Database) -> dict[str, float]:
    database.sql(ROWS_TABLE.format(rows=ROWS))
    count = 2000
    with database.cost() as cost:
        for _ in range(count):
            shard = database.sql(CLAIM)[0][0]
            database.sql(f"update shards set status = 'done', digest = sha256('{shard}') where id = {shard}")
    return {"per_second": count / cost.seconds, "wal_bytes": cost.wal_bytes / count, "postgres_us": cost.cpu_seconds * 1e6 / count}
