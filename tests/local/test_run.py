"""`make run`: starts from nothing, says where it is, and leaves nothing behind, however it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from common import settings
from deploy import environment
from deploy.local import source
from deploy.local.sender import Sender
from deploy.local.zoho.emitter import Emitter
from tests.local.client import eventually, rows

ROOT = Path(__file__).resolve().parent.parent.parent
READY = re.compile(r"Ready after")
SECONDS = 90
pytestmark = [pytest.mark.process, pytest.mark.xdist_group("run")]


class Run:
    """One `python -m deploy.local.run` with a state directory of its own, and what it has said."""

    def __init__(self, state: Path, **variables: str) -> None:
        self.state = state
        self.said = state.parent / f"said-{time.monotonic_ns()}"
        kept = {name: value for name, value in os.environ.items() if name.lower() not in settings.Settings.__dataclass_fields__}
        environ = kept | {"TIDEMARK_STATE": str(state), "PORT": "0", "DEMO": "0", "HOME": str(state.parent)} | variables
        environ |= {"COLUMNS": "120"}
        with self.said.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.local.run"],
                cwd=ROOT,
                env=environ,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.said.read_text()

    @property
    def variables(self) -> dict[str, str]:
        return environment.load(self.state / "env")

    def until(self, pattern: str | re.Pattern[str]) -> None:
        """Wait until it says something."""
        give_up = time.monotonic() + SECONDS
        while not re.search(pattern, self.text):
            assert self.process.poll() is None, self.text
            assert time.monotonic() < give_up, self.text
            time.sleep(0.05)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(SECONDS)

    def get(self, path: str) -> tuple[int, dict]:
        connection = http.client.HTTPConnection(urlsplit(self.variables["FUNCTIONS_URL"]).netloc, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.variables['ADMIRAL_TOKEN']}"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def left(self) -> list[str]:
        """The command lines of processes of this directory that are still there, after a moment to end in."""
        give_up = time.monotonic() + 15
        while found := processes_of(self.state):
            if time.monotonic() > give_up:
                break
            time.sleep(0.1)
        return found


def processes_of(state: Path) -> list[str]:
    lines = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return [line for line in lines if str(state) in line]


@pytest.fixture
def state():
    home = Path(tempfile.mkdtemp(prefix="tidemark-run-"))
    home.chmod(0o711)
    yield home / "state"
    for process in psutil.process_iter(["cmdline"]):
        if str(home) in " ".join(process.info["cmdline"] or ()):
            process.kill()
    shutil.rmtree(home)


@contextmanager
def running(state: Path, **variables: str):
    run = Run(state, **variables)
    try:
        run.until(READY)
        yield run
    finally:
        run.end()


def test_it_starts_from_nothing_and_starts_again_after_it_was_killed_with_the_secrets_it_had(state):
    with running(state) as first:
        assert first.get("/health/ready")[0] == 200
        assert first.get("/queue/stats")[0] == 200
        written = first.variables
        assert stat.S_IMODE((state / "env").stat().st_mode) == 0o600
        sourced = subprocess.run(
            ["sh", "-c", f". {state}/env; echo $DATABASE_URL $ADMIRAL_TOKEN"], capture_output=True, text=True, check=True
        )
        assert sourced.stdout.split() == [written["DATABASE_URL"], written["ADMIRAL_TOKEN"]]
        assert not any(written[name] in first.text for name in ("ADMIRAL_TOKEN", "SECRET_KEY", "ZOHO_WEBHOOK_SECRETS"))
        twin = Run(state)
        assert twin.process.wait(SECONDS) == 1
        assert "it already runs here" in twin.text
        first.process.kill()
        assert first.left() == []

    # What somebody sourced and exported leads to our own server: it must be started all the same.
    with running(state, DATABASE_URL=written["DATABASE_URL"], DEMO="no") as second:
        assert "migrations" not in second.text
        for name in ("ADMIRAL_TOKEN", "SECRET_KEY", "ZOHO_WEBHOOK_SECRETS", "ZOHO_ORGANIZATION_ID"):
            assert second.variables[name] == written[name]
        assert second.end() == 0
        assert second.left() == []


def test_a_port_that_is_taken_is_said_and_so_is_a_child_that_dies(state):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(state, PORT=str(port)) as run:
            assert f"Port {port} is taken, so it is port {run.variables['PORT']} now." in run.text
            assert int(run.variables["PORT"]) > port
            assert run.get("/health/live") == (200, {"status": "ok", "alive": True})
            os.kill(json.loads((state / "processes").read_text())["gateway"], signal.SIGKILL)
            assert run.process.wait(SECONDS) == 1
            assert "gateway was ended by SIGKILL" in run.text
            assert "  | [" in run.text, "the end of its log"
            assert run.left() == []


@pytest.mark.parametrize("seconds", [0.3, 0.9])
def test_stopped_while_it_starts_it_leaves_no_process(state, seconds):
    run = Run(state)
    time.sleep(seconds)
    run.end()
    assert run.left() == []


def unlimited(run: Run, database_url: str) -> None:
    """Let calls to the source through as they come: at its real rate, a demonstration takes a minute."""
    source.ask(run.variables["ZOHO_API_URL"], "limits", {"off": True})
    rows(database_url, "update tidemark.settings set value = '100000' where key in ('zoho.calls_per_minute', 'zoho.burst')")


def send_what_the_source_never_had(run: Run, count: int) -> None:
    """As `tidemark webhook send` does."""
    variables = run.variables
    emitter = Emitter(3, variables["ZOHO_ORGANIZATION_ID"], variables["ZOHO_WEBHOOK_SECRETS"], labels=["product"])
    sender = Sender(variables["FUNCTIONS_URL"], 1)
    sender.start(emitter.deliveries(count))
    eventually(lambda: sender.is_done)


def test_the_demonstration_ends_equal_and_so_does_the_next_one_on_the_same_database_whatever_happened_to_the_first(
    state, database_url
):
    given = {"DATABASE_URL": database_url, "DEMO": "1", "DEMO_DELIVERIES": "300"}
    with running(state, DEMO_SEED="7", **given) as first:
        unlimited(first, database_url)
        first.until("Still serving")
        assert "Every event is accounted for." in first.text
        assert "Source and database are equal" in first.text
        assert "are left out" not in first.text
        assert first.get("/queue/stats")[1]["pending"] == 0
        assert first.variables["DATABASE_URL"] == database_url
        assert not (state / "postgres").exists()
        send_what_the_source_never_had(first, 3)
        first.process.kill()
        assert first.left() == []
    with running(state, DEMO_SEED="8", **given) as second:
        unlimited(second, database_url)
        second.until("Still serving")
        assert "Every event is accounted for." in second.text
        assert "Source and database are equal" in second.text
        assert (
            "not equal" not in second.text
        )  # foreign records are left out, or a sync has found by their ids that they are nowhere
        assert second.end(signal.SIGINT) == 0
        assert second.left() == []


def test_a_demonstration_that_does_not_add_up_fails_and_says_why(state, database_url):
    """A database that remembers what the stand-in does not: the journal between them is gone."""
    given = {"DATABASE_URL": database_url, "DEMO": "1", "DEMO_DELIVERIES": "100"}
    with running(state, DEMO_SEED="7", **given) as first:
        unlimited(first, database_url)
        first.until("Still serving")
    (state / "zoho.jsonl").unlink()
    with running(state, DEMO_SEED="8", **given) as second:
        unlimited(second, database_url)
        assert second.process.wait(SECONDS) == 1
        assert "the demonstration does not add up" in second.text
        assert "at the source" in second.text


def test_with_a_source_of_ones_own_no_stand_in_is_started_and_nothing_invented_is_sent(state, database_url):
    own = {
        "ZOHO_CLIENT_ID": "mine",
        "ZOHO_CLIENT_SECRET": "mine",
        "ZOHO_REFRESH_TOKEN": "mine",
        "ZOHO_ACCOUNTS_URL": "http://127.0.0.1:9",
    }
    with running(state, DATABASE_URL=database_url, DEMO="1", **own) as run:
        run.until("No demonstration")
        assert {name: run.variables[name] for name in own} == own
        assert "ZOHO_API_URL" not in run.variables
        assert "zoho" not in json.loads((state / "processes").read_text())
        assert rows(database_url, "select count(*) from tds_inbox_events") == [[0]]


@pytest.mark.parametrize(
    ("variables", "said"), [({"PORT": "http"}, "PORT must be a number"), ({"HOST": "192.0.2.1"}, "cannot be listened on")]
)
def test_what_cannot_work_is_said_plainly(state, variables, said):
    run = Run(state, **variables)
    assert run.process.wait(SECONDS) == 1
    assert said in run.text
    assert "Traceback" not in run.text
