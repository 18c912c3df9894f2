"""The real processes under test: a durable server of their own, the gateway or single functions, and the look-alike."""

from __future__ import annotations

import collections
import contextlib
import http.client
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from common import db, settings
from common.flows import migrate
from deploy.local.postgres import Cluster
from tests.chaos import check
from tests.conftest import CLOCK, SECRET, VARIABLES, forget
from tests.make import a_request, an_invoice, an_item, signed

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
READY_SECONDS = 30


def eventually(is_so: Callable[[], Any], seconds: float, what: str) -> Any:
    """What `is_so` says as soon as it is true; fails at the deadline."""
    until = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < until, f"{what} did not come about in {seconds} s"
        time.sleep(0.01)
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def environment(database_url: str, **more: str) -> dict[str, str]:
    """What a function finds in its environment, and nothing of ours."""
    return {**VARIABLES, "DATABASE_URL": database_url, "HOME": tempfile.gettempdir(), **more}


class Program:
    """One process on one port, in a directory of its own; its output is kept for the report of a failure."""

    def __init__(self, command: list[str], port: int, surroundings: Mapping[str, str], cwd: Path | None = None) -> None:
        self.command = command
        self.port = port
        self._surroundings = dict(surroundings)
        self._cwd = cwd or ROOT
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the program
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Program:
        """Start, or start again, and wait until it listens."""
        self._process = subprocess.Popen(
            self.command,
            cwd=self._cwd,
            env=self._surroundings,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            eventually(self._listens, READY_SECONDS, "listening")
        except AssertionError as error:
            message = f"{self.command}: {self.said()}"
            raise AssertionError(message) from error
        return self

    def kill(self) -> None:
        """SIGKILL, its workers included: none of them has a last word."""
        assert self._process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def terminate(self, seconds: float) -> int:
        """SIGTERM, as a platform sends it before it replaces an instance; the exit status, once what was under way has ended."""
        assert self._process
        self._process.terminate()
        return self._process.wait(seconds)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that is not enough."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
            self.kill()
        self._output.close()

    def said(self) -> str:
        """The end of its output."""
        self._output.seek(0)
        return self._output.read()[-4000:].decode(errors="replace")

    def _listens(self) -> bool:
        assert self._process
        assert self._process.poll() is None, "it ended"
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0


def function(target: str, surroundings: Mapping[str, str], cwd: Path) -> Program:
    """One function as a cloud starts it."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("functions-framework")), "--source", str(ROOT / "functions" / "main.py")]
    return Program([*command, "--target", target, "--host", HOST, "--port", str(port)], port, surroundings, cwd)


def gateway(surroundings: Mapping[str, str], port: int) -> Program:
    """All functions on one port."""
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "deploy.local.gateway:app",
        "--host",
        HOST,
        "--port",
        str(port),
        "--log-level",
        "error",
    ]
    return Program(command, port, surroundings)


def look_alike(database_url: str, *options: str) -> Program:
    """The queue."""
    port = free_port()
    command = [sys.executable, "-m", "deploy.local.tasks", "--port", str(port), "--lease-seconds", "2", *options]
    return Program(command, port, {"PATH": os.environ["PATH"], "DATABASE_URL": database_url})


@contextmanager
def durable_cluster() -> Iterator[Cluster]:
    """A server that keeps what it says it keeps."""
    directory = Path(tempfile.mkdtemp(prefix="tidemark-chaos-"))
    directory.chmod(0o711)
    cluster = Cluster(directory / "pg", settings={"track_commit_timestamp": "on", "max_connections": "60"})
    try:
        with cluster:
            yield cluster
    finally:
        shutil.rmtree(directory)


class Stack:
    """A database of its own in a durable server, with whatever is started on it."""

    _names = itertools.count(1)

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        name = f"chaos_{next(self._names)}"
        self.sql(f"create database {name}", cluster.url("postgres"))
        self.database_url = cluster.url(name)
        os.environ.update(VARIABLES | {"DATABASE_URL": self.database_url})
        forget()
        migrate.run()
        db.pool().discard()
        self.sql(CLOCK)
        check.record_effects(self.database_url)
        self.port = free_port()
        self.programs: list[Program] = []
        self.gateway: Program
        self.tasks: Program

    def start(self, *queue_options: str, database_url: str | None = None, **more: str) -> Stack:
        """The look-alike and the gateway, which may see the database at another address."""
        self.tasks = look_alike(self.database_url, *queue_options).start()
        self.programs.append(self.tasks)
        self.gateway = gateway(self.environment(database_url, **more), self.port).start()
        self.programs.append(self.gateway)
        return self

    def environment(self, database_url: str | None = None, **more: str) -> dict[str, str]:
        """The environment of a function of this stack."""
        rings = {"TASKS_ENDPOINT": f"{HOST}:{self.tasks.port}", "FUNCTIONS_URL": f"http://{HOST}:{self.port}"}
        return environment(database_url or self.database_url, **rings | more)

    def sql(self, text: str, url: str | None = None) -> list[list[Any]]:
        """Run SQL as the owner."""
        connection = db.Connection(db.Address(url or self.database_url))
        try:
            connection.raw.settimeout(30)
            return connection.script(text)
        finally:
            connection.close()

    def ask(self, method: str, path: str, *, body: bytes = b"", **headers: str) -> tuple[int, Mapping[str, str], Any]:
        """One request to the gateway."""
        return ask(self.port, method, path, body=body, **headers)

    def tick(self) -> int:
        """What the minute's clock does; the status."""
        try:
            return self.ask("POST", "/tasks/tick", authorization=f"Bearer {settings.task_key(VARIABLES['SECRET_KEY'])}")[0]
        except OSError:
            return 0

    def heal(self, seconds: float = 40) -> None:
        """Tick, and let the leases of the dead run out, until nothing waits; fails at the deadline."""
        until = time.monotonic() + seconds
        for turn in itertools.count():
            self.tick()
            with contextlib.suppress(AssertionError):
                eventually(lambda: check.waiting(self.database_url) == 0, 1.5, "quiescence")
                return
            assert time.monotonic() < until, f"{check.waiting(self.database_url)} events still wait; {self.gateway.said()}"
            if turn:
                lease = "31 s" if turn % 3 else "301 s"
                self.sql(f"update turned.clock set skew = skew + interval '{lease}'")

    def faults(self, load: Load) -> list[str]:
        """What the checker has to say after that load; nothing, if all is well."""
        assert not load.unanswered, f"never acknowledged: {load.unanswered[:3]}"
        assert not load.odd, f"answers that nobody should get: {load.odd[:3]}"
        return check.faults(self.database_url, [answer for _, answer in load.acknowledged])

    def close(self) -> None:
        """Stop what was started."""
        for program in reversed(self.programs):
            program.stop()


def ask(port: int, method: str, path: str, *, body: bytes = b"", **headers: str) -> tuple[int, Mapping[str, str], Any]:
    """One request, its connection closed after it: status, headers, and the body read as JSON."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request(method, path, body, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, dict(answer.headers.items()), json.loads(text) if text else None
    finally:
        connection.close()


def webhook(path: str, body: Any) -> tuple[str, bytes, dict[str, str]]:
    """Path, body and headers of a signed webhook."""
    request = signed(a_request(path, body), SECRET)
    return request.path, request.body, dict(request.headers)


class Load:
    """Senders of signed webhooks at a steady rate: versions of a few records, some twice, repeated until acknowledged."""

    def __init__(self, port: int, rate: float, *, senders: int = 6, records: int = 12, seed: int = 1) -> None:
        self.acknowledged: list[tuple[float, dict[str, Any]]] = []
        self.statuses: collections.Counter[int] = collections.Counter()
        self.odd: list[Any] = []
        self.unanswered: list[Any] = []
        self._port = port
        self._pause = senders / rate
        self._records = records
        self._until = self._give_up = float("inf")
        self._threads = [threading.Thread(target=self._send, args=(seed * 100 + number,)) for number in range(senders)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, seconds: float = 20) -> None:
        """Begin nothing new; what is not acknowledged yet is sent again for a while."""
        self._until = min(self._until, time.monotonic())
        self._give_up = time.monotonic() + seconds
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int, seconds: float = 20) -> None:
        """Until so many more are acknowledged."""
        wanted = len(self.acknowledged) + more
        eventually(lambda: len(self.acknowledged) >= wanted, seconds, f"{more} more acknowledged events")

    def rate(self, begin: float, end: float) -> float:
        """Acknowledged events per second between two moments."""
        return sum(1 for at, _ in list(self.acknowledged) if begin <= at < end) / (end - begin)

    def _send(self, seed: int) -> None:
        chance, due, last = random.Random(seed), time.monotonic(), None
        while time.monotonic() < self._until:
            due = max(due + self._pause, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))
            again = last if last and chance.random() < 0.1 else None
            last = again or webhook(*self._event(chance))
            self._insist(*last)

    def _event(self, chance: random.Random) -> tuple[str, Any]:
        record = str(chance.randint(1, self._records))
        at = f"2026-06-{chance.randint(1, 28):02}T{chance.randint(0, 23):02}:{chance.randint(0, 59):02}:{chance.randint(0, 59):02}Z"
        if chance.random() < 0.5:
            return "products", an_item(record, at, name=f"{at} {chance.random()}")
        return "invoices", an_invoice(record, at, lines=chance.randint(0, 4), reference_number=str(chance.random()))

    def _insist(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        while True:
            try:
                status, given, answer = ask(self._port, "POST", path, body=body, **headers)
            except (OSError, http.client.HTTPException):
                status, given, answer = 0, {}, None
            self.statuses[status] += 1
            if status == 202:
                self.acknowledged.append((time.monotonic(), answer))
                return
            if status not in (0, 503) or (status == 503 and "Retry-After" not in {name.title() for name in given}):
                self.odd.append((status, given, answer))
                return
            if time.monotonic() > self._give_up:
                self.unanswered.append((path, status, answer))
                return
            time.sleep(0.05)
