"""apply: events validated, applied, audited and logged, against a bare set-based drain and job queues on Postgres."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import subprocess
from collections.abc import Callable

from common import settings
from common.flows import receive
from common.rules.http import Request
from deploy.local.postgres import Cluster
from tests.bench import events, lab
from tests.bench.lab import HERE, Database, Result

EVENTS = 30_000  # a run
JOBS = {"pgqueuer": 6_000, "procrastinate": 1_500}  # a run of theirs
PEERS = ("pgqueuer==1.6.0", "asyncpg==0.32.0", "uvloop", "procrastinate==3.10.0")
BARE = """
    create table inbox (id bigint generated always as identity primary key, body jsonb not null, done_at timestamptz) with (fillfactor = 50);
    create index on inbox (id) where done_at is null;
    create table target (id text primary key, document jsonb not null, updated_at timestamptz default now())
"""
DRAIN = """
    with batch as (select id, body from inbox where done_at is null order by id limit 1000 for update skip locked),
    written as (
        insert into target (id, document) select body #>> '{item,item_id}', body -> 'item' from batch order by 1
        on conflict (id) do update set document = excluded.document, updated_at = now()
    )
    update inbox i set done_at = now() from batch b where i.id = b.id
"""
_numbers = itertools.count(200_000_000, EVENTS)  # no event comes twice in the whole run


def run(cluster: Cluster, *, rounds: int, **_: object) -> Result:
    """Measure."""
    result = Result("apply")
    with contextlib.ExitStack() as stack:
        mine, mixed, bare, queues = (
            stack.enter_context(lab.database(cluster, f"bench_{name}", empty=name in ("bare", "queues")))
            for name in ("apply", "mixed", "bare", "queues")
        )
        bare.sql(BARE)
        contenders: dict[str, Callable[[], dict[str, float]]] = {
            "tidemark, 1 process": lambda: _applied(mine, 1),
            "tidemark, 2 processes": lambda: _applied(mine, 2),
            "tidemark, mixed with invoices": lambda: _applied(mixed, 1, with_invoices=True),
            "bare drain, 1 process": lambda: _drained(bare),
        }
        try:
            python = lab.peers("venv", PEERS, "import pgqueuer, procrastinate, asyncpg")
            for name in JOBS:
                _peer(python, name, queues, "install")
                contenders[f"{name}, 2 processes"] = lambda name=name: _peer(python, name, queues, "run")
        except lab.Missing as missing:
            result.notes.append(f"Without PgQueuer and Procrastinate: {missing}")
        found = lab.alternate(rounds, contenders)
    result.numbers = [{"contender": name, **numbers} for name, numbers in found.items()]
    ours = found["tidemark, 1 process"]
    for peer, wanted in (("bare drain, 1 process", 0.4), ("pgqueuer, 2 processes", 5), ("procrastinate, 2 processes", 5)):
        if peer in found:
            result.goal(f"events applied/s, times {peer}", ours["per_second"] / found[peer]["end_to_end"], wanted)
            result.goal(f"the same, like for like: {peer}", ours["end_to_end"] / found[peer]["end_to_end"], wanted)
    result.goal("disk bytes an event, received and applied", ours["disk_bytes"], 8192, at_least=False)
    result.goal("WAL bytes an event, received and applied", ours["wal_bytes"], 8192, at_least=False)
    result.notes.append(
        "per_second: from waiting to done. end_to_end: the enqueueing counts, too (ours: verified, parsed, stored, in one process)."
    )
    result.notes.append("The goals hold our per_second against the others' end_to_end, as their reference numbers were counted.")
    return result


def fill(database: Database, bodies: list[bytes], path: str = "products") -> None:
    """Receive events in this process, 1,000 a request."""
    os.environ.update(database.environment(WEBHOOK_BODY_LIMIT_BYTES=str(4 * 1024 * 1024)))
    for cached in (settings.load, receive.secrets, receive._by_path):
        cached.cache_clear()
    with contextlib.redirect_stdout(io.StringIO()):
        for start in range(0, len(bodies), 1000):
            body = events.batch(bodies[start : start + 1000])
            headers = (("content-type", "application/json"), ("x-zoho-webhook-signature", events.signature(body)))
            said = receive.receive(Request("POST", f"/webhooks/{path}", "", headers, body, "127.0.0.1"))
            assert said["rejected"] == 0, said


def _applied(database: Database, processes: int, *, with_invoices: bool = False) -> dict[str, float]:
    numbers = range(first := next(_numbers), first + EVENTS)
    kinds = {"products": [events.item(number) for number in (numbers[::2] if with_invoices else numbers)]}
    if with_invoices:
        kinds["invoices"] = [events.invoice(number) for number in numbers[1::2]]
    with database.cost() as stored:
        for path, bodies in kinds.items():
            fill(database, bodies, path)
    with database.cost() as applied:
        reports = lab.workers(database.environment(), processes)
    counts = [report["outcomes"].get("applied", 0) for report in reports]
    assert sum(counts) == EVENTS, reports
    assert database.value("select count(*) from tidemark.ready_events") == 0
    database.sql("checkpoint")
    seconds = max(report["seconds"] for report in reports)
    return {
        "per_second": EVENTS / seconds, "end_to_end": EVENTS / (seconds + stored.seconds),
        "py_us": sum(report["cpu_seconds"] for report in reports) / EVENTS * 1e6, "pg_us": applied.cpu_seconds / EVENTS * 1e6,
        "wal_bytes": (stored.wal_bytes + applied.wal_bytes) / EVENTS, "disk_bytes": (stored.disk_bytes + applied.disk_bytes) / EVENTS,
    }  # fmt: skip


def _drained(database: Database) -> dict[str, float]:
    first = next(_numbers)
    with database.cost() as stored:
        for start in range(first, first + EVENTS, 1000):
            bodies = events.batch(map(events.item, range(start, start + 1000)))[10:-1].decode().replace("'", "''")
            database.sql(f"insert into inbox (body) select value from jsonb_array_elements('{bodies}')")
    with database.cost() as drained:
        while database.value("select exists (select from inbox where done_at is null)"):
            database.sql(DRAIN)
    database.sql("checkpoint")
    return {
        "per_second": EVENTS / drained.seconds, "end_to_end": EVENTS / (drained.seconds + stored.seconds), "py_us": 0.0,
        "pg_us": drained.cpu_seconds / EVENTS * 1e6, "wal_bytes": (stored.wal_bytes + drained.wal_bytes) / EVENTS,
        "disk_bytes": (stored.disk_bytes + drained.disk_bytes) / EVENTS,
    }  # fmt: skip


# PgQueuer and Procrastinate, in an environment of their own --------------------------------------------------------


def _peer(python: str, name: str, database: Database, what: str) -> dict[str, float]:
    """One run of a peer: enqueue jobs, drain them in two processes, a one-row upsert each."""
    environment = {**os.environ, "PGHOST": str(database.cluster.sockets), "PGUSER": "postgres", "PGDATABASE": database.name}

    def start(verb: str) -> subprocess.Popen[str]:
        command = [python, str(HERE / "peers.py"), name, verb, str(JOBS[name])]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(process: subprocess.Popen[str]) -> dict[str, float]:
        out, err = process.communicate(timeout=300)
        if process.returncode != 0:
            message = f"{name} {what} failed: {(err.strip().splitlines() or [''])[-1][:200]}"
            raise lab.Missing(message)
        return json.loads(out.splitlines()[-1])

    if what == "install":
        return finish(start("install"))
    database.sql("truncate target")
    with database.cost() as stored:
        enqueued = finish(start("enqueue"))["seconds"]
    with database.cost() as cost:
        drained = [finish(process) for process in [start("drain"), start("drain")]]
    assert database.value("select count(*) from target") == JOBS[name], "jobs were lost"
    seconds = max(each["ended"] for each in drained) - min(each["started"] for each in drained)
    return {
        "per_second": JOBS[name] / seconds, "end_to_end": JOBS[name] / (seconds + enqueued), "py_us": sum(each["cpu"] for each in drained) / JOBS[name] * 1e6,
        "pg_us": cost.cpu_seconds / JOBS[name] * 1e6, "wal_bytes": (stored.wal_bytes + cost.wal_bytes) / JOBS[name],
        "disk_bytes": (stored.disk_bytes + cost.disk_bytes) / JOBS[name],
    }  # fmt: skip
