"""PgQueuer and Procrastinate doing a one-row upsert per job; run by the Python of .tidemark/bench/venv, not by ours.

`peers.py <name> install|enqueue|drain <jobs>`; libpq's variables say where.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

PAYLOAD = json.dumps({"item": {"name": "Lamp of brass", "rate": 129.5, "text": "x" * 780}})
UPSERT = (
    "insert into target (id, document) values ({}, {}::jsonb) "
    "on conflict (id) do update set document = excluded.document, updated_at = now()"
)
TARGET = "create table if not exists target (id text primary key, document jsonb not null, updated_at timestamptz default now())"


async def pgqueuer(verb: str, jobs: int) -> float:
    """PgQueuer as its manual has it: a pool, batches of 200, drain and stop; when it began, connected and with everything imported."""
    import asyncpg
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgPoolDriver
    from pgqueuer.queries import Queries
    from pgqueuer.types import QueueExecutionMode

    async with asyncpg.create_pool(min_size=6, max_size=6) as pool:
        started = time.time()
        driver = AsyncpgPoolDriver(pool)
        queries = Queries(driver)
        if verb == "install":
            await pool.execute(TARGET)
            if not await pool.fetchval("select to_regclass('pgqueuer')"):
                await queries.install()
        elif verb == "enqueue":
            for start in range(0, jobs, 1000):
                numbers = range(start, min(start + 1000, jobs))
                bodies = [json.dumps({"id": f"pgqueuer {number}", "body": PAYLOAD}).encode() for number in numbers]
                await queries.enqueue(["upsert"] * len(bodies), bodies, [0] * len(bodies))
        else:
            queue = PgQueuer(driver)

            @queue.entrypoint("upsert")
            async def upsert(job: object) -> None:
                given = json.loads(job.payload)  # type: ignore[attr-defined]
                await pool.execute(UPSERT.format("$1", "$2"), given["id"], given["body"])

            await queue.run(mode=QueueExecutionMode.drain, batch_size=200)
    return started


async def procrastinate(verb: str, jobs: int) -> float:
    """Procrastinate as its manual has it: psycopg, 20 jobs at a time, stops when nothing waits; when it began."""
    import procrastinate as library

    app = library.App(connector=library.PsycopgConnector())

    @app.task(name="upsert", queue="bench")
    async def upsert(key: str, body: str) -> None:
        await app.connector.execute_query_async(UPSERT.format("%(key)s", "%(body)s"), key=key, body=body)

    async with app.open_async():
        started = time.time()
        if verb == "install":
            await app.connector.execute_query_async(TARGET)
            known = await app.connector.execute_query_one_async("select to_regclass('procrastinate_jobs') is not null as known")
            if not known["known"]:
                await app.schema_manager.apply_schema_async()
        elif verb == "enqueue":
            for start in range(0, jobs, 1000):
                numbers = range(start, min(start + 1000, jobs))
                await upsert.batch_defer_async(*[{"key": f"procrastinate {number}", "body": PAYLOAD} for number in numbers])
        else:
            await app.run_worker_async(
                queues=["bench"], concurrency=20, wait=False, listen_notify=False, install_signal_handlers=False
            )
    return started


def main() -> None:
    """Run one verb of one peer and say how long it took."""
    name, verb, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.environ.setdefault("PGUSER", "postgres")
    work = {"pgqueuer": pgqueuer, "procrastinate": procrastinate}[name]
    try:
        import uvloop

        uvloop.install()
    except ImportError:
        pass
    started = asyncio.run(work(verb, jobs))
    ended = time.time()
    sys.stdout.write(
        json.dumps({"started": started, "ended": ended, "seconds": ended - started, "cpu": time.process_time()}) + "\n"
    )


if __name__ == "__main__":
    main()
