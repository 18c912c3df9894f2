"""The bench's surroundings: one durable Postgres server, fresh databases, programs under measurement, and what they cost."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import db, settings
from common.flows import migrate
from deploy.local.postgres import Cluster

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".tidemark" / "bench"
HERE = Path(__file__).resolve().parent
ORGANIZATION = "748369814"
SECRET = "webhook-secret-of-the-bench"
OWNER = "owner-token-of-the-bench"
DURABLE = {
    "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "1GB", "max_wal_size": "8GB",
    "checkpoint_timeout": "15min", "jit": "off", "max_connections": "200",
}  # fmt: skip
TICK = os.sysconf("SC_CLK_TCK")


class Missing(Exception):
    """Something that a benchmark needs is not installed; the message says what, and how to get it."""


# Postgres --------------------------------------------------------------------------------------------------------


@dataclass
class Cost:
    """What something cost the server."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0  # of all Postgres processes
    wal_bytes: int = 0
    disk_bytes: int = 0


class Database:
    """One database of the bench's server."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.url = cluster.url(name)
        self._connection: db.Connection | None = None

    def sql(self, text: str, seconds: float = 1200) -> list[list[Any]]:
        """Run SQL as the superuser; the rows of the last statement that had any."""
        if self._connection is None:
            self._connection = db.Connection(db.Address(self.url))
        self._connection.raw.settimeout(seconds)
        return self._connection.script(text)

    def value(self, text: str) -> Any:
        """The first column of the first row."""
        return self.sql(text)[0][0]

    @contextlib.contextmanager
    def cost(self) -> Iterator[Cost]:
        """What the block costs; known when it has ended."""
        measured = Cost()
        read = "select pg_current_wal_insert_lsn() - '0/0', pg_database_size(current_database())"
        (wal, disk), cpu, started = self.sql(read)[0], postgres_cpu(self.cluster), time.perf_counter()
        yield measured
        measured.seconds = time.perf_counter() - started
        measured.cpu_seconds = postgres_cpu(self.cluster) - cpu
        after = self.sql(read)[0]
        measured.wal_bytes, measured.disk_bytes = int(after[0] - wal), after[1] - disk

    def environment(self, **more: str) -> dict[str, str]:
        """What a function of Tidemark needs to run on this database."""
        return {
            "DATABASE_URL": self.url,
            "SECRET_KEY": "secret-key-of-the-bench",
            "ADMIRAL_TOKEN": OWNER,
            "ZOHO_ORGANIZATION_ID": ORGANIZATION,
            "ZOHO_WEBHOOK_SECRETS": SECRET,
            "TASKS_ENDPOINT": "127.0.0.1:9",  # nobody listens: rings fail and are shrugged off
            **more,
        }

    def close(self) -> None:
        """Close the bench's own connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextlib.contextmanager
def server() -> Iterator[Cluster]:
    """A fresh durable server with a migrated template; gone at the end."""
    HOME.mkdir(parents=True, exist_ok=True)
    directory = HOME / "pg"
    cluster = Cluster(directory, durable=True, settings=DURABLE)
    cluster.stop("immediate") if directory.exists() else None
    shutil.rmtree(directory, ignore_errors=True)
    try:
        cluster.start()
        first = Database(cluster, "postgres")
        first.sql("create database template_bench")
        template = Database(cluster, "template_bench")
        os.environ.update(template.environment())
        settings.load.cache_clear()
        migrate.run()
        db.pool().discard()
        first.close()
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def database(cluster: Cluster, name: str, *, empty: bool = False) -> Iterator[Database]:
    """A migrated database, or an empty one; dropped at the end."""
    admin = Database(cluster, "postgres")
    admin.sql(f"drop database if exists {name} with (force)")
    admin.sql(f"create database {name}" + ("" if empty else " template template_bench"))
    made = Database(cluster, name)
    try:
        yield made
    finally:
        made.close()
        admin.sql(f"drop database {name} with (force)")
        admin.close()


def postgres_cpu(cluster: Cluster) -> float:
    """Seconds of CPU that the server has used so far: the postmaster, its children, and those it has buried."""
    return sum(
        sum(times) if pid == cluster.pid else sum(times[:2])
        for pid, parent, _, times in _processes()
        if cluster.pid in (pid, parent)
    )


def cpu_of(program: subprocess.Popen[bytes]) -> float:
    """Seconds of CPU that a program of ours and all its children have used so far."""
    return sum(sum(times[:2]) for _, _, session, times in _processes() if session == program.pid)


def _processes() -> Iterator[tuple[int, int, int, list[float]]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield int(path.parent.name), int(fields[1]), int(fields[3]), [int(ticks) / TICK for ticks in fields[11:15]]


# Programs --------------------------------------------------------------------------------------------------------


def program(name: str, package: str) -> str:
    """The path of a program.

    Raises: Missing.
    """
    if found := shutil.which(name):
        return found
    message = f"{name} is not here: apt-get install {package}"
    raise Missing(message)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], log: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own, in an empty directory; it and its children are stopped at the end."""
    place = HOME / "empty"
    place.mkdir(parents=True, exist_ok=True)
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    with (HOME / f"{log}.log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=place, env={**kept, **environment}, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            break


def framework(source: Path, target: str, port: int) -> list[str]:
    """The command that serves a function as a cloud would."""
    script = Path(sys.executable).with_name("functions-framework")
    return [str(script), "--source", str(source), "--target", target, "--host", "127.0.0.1", "--port", str(port)]


def wait_for(
    port: int, path: str = "/", seconds: float = 30, *, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] = {}
) -> int:
    """The status of the first HTTP answer from a port."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request(method, path, body, dict(headers))
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            time.sleep(0.002)
        else:
            connection.close()
            return status
    message = f"nothing answered on port {port} within {seconds} s"
    raise RuntimeError(message)


def workers(environment: Mapping[str, str], processes: int = 1, function: str = "process") -> list[dict[str, Any]]:
    """Run a function in so many processes at once until nothing waits or their time is up; their reports."""
    command = [sys.executable, "-m", "tests.bench.worker", function]
    surroundings = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen(command, cwd=ROOT, env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for each in started:
        assert each.stdout is not None
        each.stdout.readline()  # it is warm
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    return [json.loads(each.communicate(timeout=1200)[0].splitlines()[-1]) for each in started]


def peers(name: str, packages: Sequence[str], probe: str) -> str:
    """The Python of an environment of its own that has these packages; made at the first call.

    Raises: Missing.
    """
    home = HOME / name
    python = home / "bin" / "python"
    if python.exists() and subprocess.run([str(python), "-c", probe], check=False, capture_output=True).returncode == 0:
        return str(python)
    say(f"   installing {', '.join(packages)} into {home.relative_to(ROOT)}")
    venv.create(home, with_pip=True, clear=True)
    done = subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        message = f"they cannot be installed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1][:200]}"
        raise Missing(message)
    return str(python)


# Results ---------------------------------------------------------------------------------------------------------


@dataclass
class Goal:
    """One line of the table: what was wanted, what was measured."""

    what: str
    measured: float
    wanted: float
    unit: str = ""
    at_least: bool = True

    @property
    def is_met(self) -> bool:
        """Whether the goal was reached."""
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted


@dataclass
class Result:
    """What a benchmark found."""

    name: str
    goals: list[Goal] = field(default_factory=list)
    numbers: list[dict[str, Any]] = field(default_factory=list)  # one per contender: medians, with min and max
    notes: list[str] = field(default_factory=list)

    def goal(self, what: str, measured: float, wanted: float, unit: str = "", *, at_least: bool = True) -> None:
        """One more goal."""
        self.goals.append(Goal(what, measured, wanted, unit, at_least))

    def show(self) -> None:
        """Print the tables and write .tidemark/bench/<name>.json."""
        say(f"\n== {self.name}")
        if self.numbers:
            columns = list(dict.fromkeys(key for row in self.numbers for key in row))
            table([columns, *[[shown(row.get(column, "")) for column in columns] for row in self.numbers]])
        if self.goals:
            head = ["goal", "wanted", "measured", "ratio", ""]
            sign = {True: ">=", False: "<="}
            table([head, *[
                [each.what, f"{sign[each.at_least]} {shown(each.wanted)}{each.unit}", f"{shown(each.measured)}{each.unit}",
                 shown(each.measured / each.wanted if each.wanted else 0.0), "ok" if each.is_met else "miss"]
                for each in self.goals
            ]])  # fmt: skip
        for note in self.notes:
            say(f"   {note}")
        document = {
            "name": self.name, "at": datetime.now(UTC).isoformat(), "cpus": os.cpu_count(), "load": os.getloadavg(),
            "goals": [{**vars(each), "ok": each.is_met} for each in self.goals], "numbers": self.numbers, "notes": self.notes,
        }  # fmt: skip
        (HOME / f"{self.name}.json").write_text(json.dumps(document, indent=1, default=str) + "\n")


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in aligned columns, the first one as their head."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        say(
            "  "
            + "  ".join(
                text.ljust(width) if not at else text.rjust(width) for at, (text, width) in enumerate(zip(row, widths, strict=True))
            )
        )


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def shown(value: Any) -> str:
    """A number as people read it."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each number, and the least and the greatest of the first one."""
    first = next(iter(runs[0]))
    found = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return {**found, "min": min(run[first] for run in runs), "max": max(run[first] for run in runs)}


def alternate(rounds: int, contenders: Mapping[str, Callable[[], Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Run the contenders in turn, so often; the medians of each."""
    runs: dict[str, list[Mapping[str, float]]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, run in contenders.items():
            runs[name].append(run())
            said = ", ".join(f"{key} {shown(value)}" for key, value in runs[name][-1].items())
            say(f"   round {number + 1}: {name}: {said}")
    return {name: medians(each) for name, each in runs.items()}


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` percent of the ordered values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]
