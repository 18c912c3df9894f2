"""The processes of a local run: started in sessions of their own, watched, recorded, and stopped with all they forked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from deploy.environment import ROOT

STOP_SECONDS = 10.0
TAIL_LINES = 20


class Failed(Exception):
    """The local run cannot go on; the message says why, and what to do."""


class Stopped(BaseException):
    """Somebody wants the local run to end. Not an error, so nothing that handles errors may swallow it."""


class Interrupts:
    """Turns Ctrl-C, SIGTERM and a closed terminal into Stopped in the main thread, but not while it is shielded."""

    def __init__(self) -> None:
        self._shields = 0
        self._pending = False
        self._raised = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._arrived)

    def _arrived(self, _number: int, _frame: FrameType | None) -> None:
        self._pending = True
        self._raise()

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """What stands inside is not interrupted; what arrives meanwhile is raised after it."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        self._raise()

    def _raise(self) -> None:
        # Once: the second Ctrl-C of an impatient hand must not cut off what the first one began.
        if self._pending and not self._shields and not self._raised:
            self._raised = True
            raise Stopped

    def ignore(self) -> None:
        """From here on nobody is interrupted: stopping must be done to its end."""
        self._shields += 1


@dataclass(frozen=True)
class Child:
    """One process that was started, and where it writes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


class Processes:
    """The children of a local run, in the order they were started."""

    def __init__(self, state: Path, interrupts: Interrupts) -> None:
        self._state = state
        self._record = state / "processes"
        self._interrupts = interrupts
        self._children: list[Child] = []

    def start(
        self, name: str, module: str, arguments: Sequence[str], environ: Mapping[str, str], *, pass_fds: Sequence[int] = ()
    ) -> None:
        """Start `python -m module arguments` as a child that ends when we do."""
        log = self._state / "logs" / f"{name}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        words = [sys.executable, "-m", "deploy.local.child", str(self._state), str(os.getpid()), module, *arguments]
        with self._interrupts.shielded(), log.open("wb") as out:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=dict(environ),
                start_new_session=True, pass_fds=pass_fds,
            )  # fmt: skip
            self._children.append(Child(name, process, log))
            self._write()

    def check(self) -> None:
        """Raises: Failed, when a child has ended, with the end of its log."""
        for child in self._children:
            status = child.process.poll()
            if status is not None:
                how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
                message = f"{child.name} {how}. Its log, {child.log}, ends with:\n{tail(child.log)}"
                raise Failed(message)

    def stop(self) -> None:
        """Stop every child and all it forked, the first one last."""
        first, rest = self._children[:1], self._children[1:]
        for group in (rest, first):
            for child in group:
                _signal(child.process.pid, signal.SIGTERM)
            until = time.monotonic() + STOP_SECONDS
            for child in group:
                with suppress(subprocess.TimeoutExpired):
                    child.process.wait(max(0.0, until - time.monotonic()))
                _signal(child.process.pid, signal.SIGKILL)
                child.process.wait()
        self._children = []
        self._record.unlink(missing_ok=True)

    def end_former(self) -> int:
        """End what an earlier run of this state directory left behind because it was killed; how many processes."""
        try:
            groups = {int(pid) for pid in json.loads(self._record.read_text()).values()}
        except (FileNotFoundError, ValueError, AttributeError):
            return 0
        # An id may belong to somebody else by now: the command line must name our module and our directory.
        ours = [(pid, group) for pid, group, line in _running() if group in groups and self._is_ours(line)]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid, _ in ours:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            until = time.monotonic() + STOP_SECONDS
            while time.monotonic() < until and any(_is_alive(pid) for pid, _ in ours):
                time.sleep(0.05)
        self._record.unlink(missing_ok=True)
        return len(ours)

    def _is_ours(self, line: str) -> bool:
        return "deploy.local.child" in line and str(self._state) in line

    def _write(self) -> None:
        self._record.write_text(json.dumps({child.name: child.process.pid for child in self._children}))


def tail(log: Path) -> str:
    """The last lines of a log."""
    lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join(f"  | {line}" for line in lines) or "  | (nothing)"


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        os.killpg(group, number)


def _is_alive(pid: int) -> bool:
    return any(running == pid for running, _, _ in _running())


def _running() -> Iterator[tuple[int, int, str]]:
    """(process id, process group, command line) of every process that is not a zombie."""
    if sys.platform != "linux":
        listed = subprocess.run(["ps", "-axww", "-o", "pid=,pgid=,command="], capture_output=True, text=True, check=False)
        for line in listed.stdout.splitlines():
            pid, group, command = line.split(None, 2)
            yield int(pid), int(group), command
        return
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The name in parentheses may hold spaces and parentheses of its own.
            state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            line = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if state != "Z":
            yield int(folder.name), int(group), line
