"""batch: many events a request through the receiver as deployed, against COPY and one-row inserts of the same bodies."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import subprocess
import threading
import uuid
from collections.abc import Callable, Sequence

from deploy.local.postgres import Cluster
from tests.bench import events, lab
from tests.bench.lab import HOME, ROOT, Database, Result
from tests.bench.webhook import answering, tasks

EVENTS = 40_000  # a run
SIZES = (1000, 100)
CLIENTS = 4
SECONDS = 4
TABLE = """
    create table events (id bigint generated always as identity primary key, source text not null default 'zoho', key text not null,
                         body jsonb, received_at timestamptz default now(), unique (source, key))
"""
_numbers = itertools.count(50_000_000, EVENTS)  # no event comes twice in the whole run


def run(cluster: Cluster, *, rounds: int, **_: object) -> Result:
    """Measure."""
    result = Result("batch")
    pgbench = lab.program("pgbench", "postgresql-contrib")
    psql = lab.program("psql", "postgresql-client")
    with contextlib.ExitStack() as stack:
        mine = stack.enter_context(lab.database(cluster, "bench_batch"))
        plain = stack.enter_context(lab.database(cluster, "bench_plain", empty=True))
        plain.sql(TABLE)
        rings = stack.enter_context(tasks(cluster, stack.enter_context(answering())))
        port = lab.free_port()
        # A batch of 1,000 is one call: the limit of a body is raised to hold it.
        more = {"WORKERS": "2", "FUNCTION_USE_ASGI": "true", "WEBHOOK_BODY_LIMIT_BYTES": str(4 * 1024 * 1024)}
        command = lab.framework(ROOT / "functions" / "main.py", "webhook", port)
        stack.enter_context(lab.running(command, mine.environment(**more, **rings), "batch"))
        lab.wait_for(port)
        contenders: dict[str, Callable[[], dict[str, float]]] = {
            f"tidemark, {size} a request": lambda size=size: _posted(mine, port, size) for size in SIZES
        }
        contenders["copy, 2 connections"] = lambda: _copied(psql, plain)
        contenders["pgbench, a row each, 32 clients"] = lambda: _inserted(pgbench, plain)
        found = lab.alternate(rounds, contenders)
    result.numbers = [{"contender": name, **numbers} for name, numbers in found.items()]
    ours, copy = found["tidemark, 1000 a request"], found["copy, 2 connections"]
    result.goal("events stored/s", ours["per_second"], 10_000)
    result.goal("events stored/s, times COPY's", ours["per_second"] / copy["per_second"], 0.4)
    result.goal("events stored/s, times a row each", ours["per_second"] / found["pgbench, a row each, 32 clients"]["per_second"], 1)
    return result


def _numbers_of(database: Database, work: Callable[[], object], table: str) -> dict[str, float]:
    before = database.value(f"select count(*) from {table}")
    with database.cost() as cost:
        work()
    stored = database.value(f"select count(*) from {table}") - before
    database.sql("checkpoint")  # the next contender must not pay for this one's pages
    return {
        "per_second": stored / cost.seconds, "pg_us": cost.cpu_seconds / stored * 1e6,
        "wal_bytes": cost.wal_bytes / stored, "disk_bytes": cost.disk_bytes / stored,
    }  # fmt: skip


def _posted(database: Database, port: int, size: int) -> dict[str, float]:
    first = next(_numbers)
    bodies = [events.batch(map(events.item, range(start, start + size))) for start in range(first, first + EVENTS, size)]
    requests = [(body, {"X-Zoho-Webhook-Signature": events.signature(body), "Content-Type": "application/json"}) for body in bodies]

    def post(part: Sequence[tuple[bytes, dict[str, str]]]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for body, headers in part:
            connection.request("POST", "/webhooks/products", body, headers)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status == 202, said
        connection.close()

    found = _numbers_of(database, lambda: _together(post, [requests[at::CLIENTS] for at in range(CLIENTS)]), "tds_inbox_events")
    assert database.value("select count(*) from tds_inbox_events") % EVENTS == 0
    return found


def _together(work: Callable[[object], None], parts: Sequence[object]) -> None:
    threads = [threading.Thread(target=work, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _copied(psql: str, database: Database) -> dict[str, float]:
    first = next(_numbers)
    files = [HOME / f"copy{half}" for half in range(2)]
    for half, file in enumerate(files):
        with file.open("w") as out:
            for number in range(first + half, first + EVENTS, 2):
                out.write(f"{uuid.uuid4()}\t{events.item(number).decode().translate(str.maketrans({chr(92): chr(92) * 2}))}\n")
    commands = [[psql, "-q", database.url, "-c", f"\\copy events (key, body) from '{file}'"] for file in files]

    def copy() -> None:
        started = [subprocess.Popen(command) for command in commands]
        assert not any(each.wait() for each in started)

    try:
        return _numbers_of(database, copy, "events")
    finally:
        for file in files:
            file.unlink()


def _inserted(pgbench: str, database: Database) -> dict[str, float]:
    script = HOME / "insert.sql"
    # pgbench takes a colon for the beginning of a variable, so they are written as what they are in octal.
    body = events.item(1).decode().replace("\\", "\\\\").replace("'", "''").replace(":", "\\072")
    script.write_text(f"insert into events (key, body) values (gen_random_uuid()::text, E'{body}') on conflict do nothing;\n")
    command = [
        pgbench,
        "-n",
        "-c32",
        "-j2",
        f"-T{SECONDS}",
        "-Mprepared",
        "-f",
        str(script),
        "-h",
        str(database.cluster.sockets),
        "-U",
        "postgres",
    ]
    return _numbers_of(database, lambda: subprocess.run([*command, database.name], check=True, capture_output=True), "events")
