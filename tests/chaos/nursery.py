"""Where the gateways of a campaign come from: a process that has everything loaded, and forks one for each order.

A fork serves in 50 ms what a new process takes a second of processor time for, so that killing is cheap. An order on
stdin is a JSON object {port, log, environment, dress}; its answer on stdout is the process id. When stdin ends, so do all.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOADED = (
    "a2wsgi", "flask", "functions_framework", "functions_framework.aio", "google.cloud.tasks_v2", "uvicorn", "uvicorn.lifespan.on",
    "uvicorn.protocols.http.auto", "common.clients.zoho", "common.flows.group", "common.flows.process", "common.flows.work",
    "common.queues.cloud_tasks", "common.rules.shapes", "common.shards.noop", "common.shards.sync_pages",
    "common.shards.sync_refetch", "common.signatures.zoho", "deploy.local.gateway", "tests.chaos.dress",
    *(f"functions.{path.stem}" for path in sorted((ROOT / "functions").glob("*.py")) if path.stem not in {"__init__", "main"}),
)  # fmt: skip


class Nursery:
    """Forks gateways on request."""

    def __init__(self, log: Path) -> None:
        with log.open("ab") as out:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.nursery"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out,
                start_new_session=True,
            )  # fmt: skip

    def bear(self, order: dict[str, Any]) -> int:
        """The process id of a new gateway."""
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.write(json.dumps(order).encode() + b"\n")
        self._parent.stdin.flush()
        return int(self._parent.stdout.readline())

    def close(self) -> None:
        """End it, and every gateway it bore."""
        self._parent.communicate(timeout=20)


def main() -> None:
    """Fork until stdin ends."""
    for name in LOADED:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - it fails again where it is called
            sys.stderr.write(f"{name}: {error!r}\n")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: they are watched by their file descriptors
    born: list[int] = []
    for line in sys.stdin.buffer:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            _live(order)
        born.append(pid)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    for pid in born:
        with suppress(ProcessLookupError):
            if b"tests.chaos.nursery" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def _live(order: dict[str, Any]) -> None:
    import uvicorn

    from deploy.local.gateway import app
    from tests.chaos.dress import dress

    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number, target in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
            os.dup2(target, number)
        os.environ.clear()
        os.environ.update(order["environment"])
        dress(**order["dress"])
        uvicorn.run(app, host="127.0.0.1", port=order["port"], log_level="error")
        code = 0
    except BaseException:  # noqa: BLE001 - a fork must not return into its parent's code
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
