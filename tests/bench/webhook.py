"""webhook: one event a request, signed, deduplicated, durably committed, rung for and answered 202."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.postgres import Cluster
from tests.bench import events, lab
from tests.bench.lab import HERE, HOME, ROOT, Database, Result

SECONDS = 4
FASTEST = 20_000  # requests per second that the file of a round must suffice for
CONNECTIONS = (32, 128)
NAIVE = """
    create table events (id bigint generated always as identity primary key, source text, key text, body jsonb,
                         received_at timestamptz default now(), unique (source, key))
"""


@dataclass(frozen=True)
class Contender:
    """One function under load."""

    source: Path
    target: str
    environment: Mapping[str, str]
    database: Database | None  # whose rows are what was stored
    table: str = ""
    path: str = "/webhooks/products"


@contextlib.contextmanager
def tasks(cluster: Cluster, target: str):
    """The look-alike of Cloud Tasks, whose tasks go to `target`, where somebody answers 200 and does nothing; its address."""
    with lab.database(cluster, "bench_tasks", empty=True) as database:
        port = lab.free_port()
        command = [sys.executable, "-m", "deploy.local.tasks", "--port", str(port)]
        with lab.running(command, {"DATABASE_URL": database.url, "PYTHONPATH": str(ROOT)}, "tasks"):
            lab.wait_for(port)
            yield {"TASKS_ENDPOINT": f"127.0.0.1:{port}", "FUNCTIONS_URL": target}


@contextlib.contextmanager
def answering():
    """A function that answers 200 to whatever it is asked; its address."""
    port = lab.free_port()
    command = lab.framework(HERE / "functions.py", "hello_together", port)
    with lab.running(command, {"FUNCTION_USE_ASGI": "true"}, "sink"):
        lab.wait_for(port)
        yield f"http://127.0.0.1:{port}"


def load(contender: Contender, cluster: Cluster, *, file: Path, length: int, connections: int, log: str) -> dict[str, float]:
    """Start the function, send it a second of requests to warm up, then measure."""
    port = lab.free_port()
    wrk = lab.program("wrk", "wrk")

    def run(seconds: int, part: Path) -> list[int]:
        command = [
            wrk,
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "-s",
            str(HERE / "post.lua"),
            f"http://127.0.0.1:{port}{contender.path}",
        ]
        done = subprocess.run(
            [*command, "--", str(part), str(length)], capture_output=True, text=True, check=True, timeout=seconds + 60
        )
        return [int(word) for word in done.stdout.rpartition("result ")[2].split()[:6]]

    with lab.running(lab.framework(contender.source, contender.target, port), contender.environment, log) as server:
        lab.wait_for(port)
        run(1, file.with_suffix(".warm"))
        time.sleep(0.3)  # what wrk gave up on at its end is stored by then
        cpu, own = lab.postgres_cpu(cluster), lab.cpu_of(server)
        stored = _stored(contender)
        requests, micros, p50, p99, refused, broken = run(SECONDS, file)
        time.sleep(0.3)
        cpu, own = lab.postgres_cpu(cluster) - cpu, lab.cpu_of(server) - own
        stored = _stored(contender) - stored
    found = {
        "per_second": requests / micros * 1e6,
        "p50_ms": p50 / 1000,
        "p99_ms": p99 / 1000,
        "refused": refused + broken,
        "app_us": own / requests * 1e6,
    }
    if contender.database:
        # Requests that wrk gave up on at its end may have been stored as well; none that was answered may be missing.
        assert requests - refused <= stored <= requests + connections, f"{log}: {requests} answered, {stored} stored"
        found["pg_us"] = cpu / stored * 1e6
    return found


def _stored(contender: Contender) -> int:
    return int(contender.database.value(f"select count(*) from {contender.table}")) if contender.database else 0


def run(cluster: Cluster, *, rounds: int, **_: object) -> Result:
    """Measure."""
    lab.program("wrk", "wrk")
    result = Result("webhook")
    both = {"WORKERS": "2"}
    with contextlib.ExitStack() as stack:
        mine = {mode: stack.enter_context(lab.database(cluster, f"bench_webhook_{mode}")) for mode in ("asgi", "wsgi")}
        plain = stack.enter_context(lab.database(cluster, "bench_naive", empty=True))
        plain.sql(NAIVE)
        rings = stack.enter_context(tasks(cluster, stack.enter_context(answering())))
        main, others = ROOT / "functions" / "main.py", HERE / "functions.py"
        asgi = {**both, "FUNCTION_USE_ASGI": "true"}
        socket = {"SOCKET": f"{cluster.sockets}/.s.PGSQL.5432", "DATABASE": plain.name}
        contenders = {
            "tidemark asgi": Contender(
                main, "webhook", mine["asgi"].environment(**asgi, **rings), mine["asgi"], "tds_inbox_events"
            ),
            "tidemark wsgi": Contender(
                main, "webhook", mine["wsgi"].environment(**both, **rings), mine["wsgi"], "tds_inbox_events"
            ),
            "naive": Contender(others, "naive", {**both, **socket}, plain, "events"),
            "hello asgi": Contender(others, "hello_together", asgi, None),
            "hello wsgi": Contender(others, "hello", both, None),
        }
        medians = {}
        for connections in CONNECTIONS:
            medians[connections] = _measured(contenders, cluster, connections, rounds)
            result.numbers += [
                {"contender": name, "connections": connections, **found} for name, found in medians[connections].items()
            ]
    few, many = (medians[connections] for connections in CONNECTIONS)
    ours, naive = few["tidemark asgi"], few["naive"]
    result.goal("requests/s, times the naive function's", ours["per_second"] / naive["per_second"], 3)
    result.goal("requests/s, times the ASGI hello's", ours["per_second"] / few["hello asgi"]["per_second"], 0.3)
    result.goal("Postgres CPU per event, times the naive function's", ours["pg_us"] / naive["pg_us"], 1 / 3, at_least=False)
    result.goal("p99 at saturation", many["tidemark asgi"]["p99_ms"], 500, " ms", at_least=False)
    result.notes.append("Rings go to the look-alike of Cloud Tasks, whose tasks go to a function that does nothing.")
    result.notes.append("Goals are of 32 connections but for the p99, which is of 128.")
    return result


def _measured(contenders: Mapping[str, Contender], cluster: Cluster, connections: int, rounds: int) -> dict[str, dict[str, float]]:
    file = HOME / "requests"
    warm, count = FASTEST, FASTEST * SECONDS
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for number in range(rounds):
        first = (connections * 100 + number) * (warm + count)  # no event comes twice in the whole run
        length = events.write(file.with_suffix(".warm"), (events.item(each) for each in range(first, first + warm)))
        events.write(file, (events.item(each) for each in range(first + warm, first + warm + count)))
        for name, contender in contenders.items():
            found[name].append(
                load(contender, cluster, file=file, length=length, connections=connections, log=name.replace(" ", "_"))
            )
            said = ", ".join(f"{key} {lab.shown(value)}" for key, value in found[name][-1].items())
            lab.say(f"   {connections} connections, round {number + 1}: {name}: {said}")
    file.unlink()
    file.with_suffix(".warm").unlink()
    return {name: lab.medians(runs) for name, runs in found.items()}
