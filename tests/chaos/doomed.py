"""Workers that die on purpose. Each order on stdin forks one; the answer on stdout is how it ended, as an exit code.

`statement N` dies by SIGKILL at the worker's N-th message to Postgres, `poison` leaves without a word inside the shape of
a record that is named so, `writer SECONDS SEED` receives and applies until the time is up, whoever else does. `shards N`
dies like `statement N`, working on plans; `deploys N` counts what it says to providers, and what they answer, as well.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from common import db
from common.flows import process, work
from common.rules import shapes
from common.signatures import zoho  # noqa: F401 - loaded before the fork, so that no worker pays for it

ROOT = Path(__file__).resolve().parents[2]
DIED, LEFT = -signal.SIGKILL, 9


class Doomed:
    """Forks workers on request."""

    def __init__(self, database_url: str) -> None:
        surroundings = {**os.environ, "DATABASE_URL": database_url}
        command = [sys.executable, "-m", "tests.chaos.doomed"]
        self._parent = subprocess.Popen(
            command, cwd=ROOT, env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def order(self, what: str) -> int:
        """How a worker with this order ended."""
        return self.orders([what])[0]

    def orders(self, whats: list[str]) -> list[int]:
        """How workers ended that were at work at the same time."""
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.write("\t".join(whats) + "\n")
        self._parent.stdin.flush()
        return [int(code) for code in self._parent.stdout.readline().split()]

    def close(self) -> None:
        """No more orders."""
        self._parent.communicate(timeout=10)


def _die_at(number: int, *, with_providers: bool = False) -> None:
    """From here on, the `number`-th message to Postgres is never sent; nor one to a provider, or its answer never read."""
    sent = 0

    def counted(method: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal sent
            sent += 1
            if sent == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*given, **named)

        return call

    db.Connection.execute = counted(db.Connection.execute)  # type: ignore[method-assign]
    db.Connection.script = counted(db.Connection.script)  # type: ignore[method-assign]
    if with_providers:
        connection = http.client.HTTPConnection
        connection.request = counted(connection.request)  # type: ignore[method-assign]
        connection.getresponse = counted(connection.getresponse)  # type: ignore[method-assign]


def _leave_at_poison() -> None:
    validate = shapes.validate

    def deadly(entity: Any, record: Any) -> Any:
        if record.get("name") == "poison":
            os._exit(LEFT)
        return validate(entity, record)

    shapes.validate = deadly


def _write(seconds: float, seed: int) -> None:
    """Send batches of versions of a few records, and apply whatever waits."""
    from tests.make import an_invoice, an_item, send

    def unstamped(label: str, key: str, chance: random.Random) -> dict[str, Any]:
        """One of few hints, so that it is a duplicate soon, and asks for a refetch each time."""
        return {
            "entity_type": label,
            key: {f"{key}_id": f"hint-{chance.randint(1, 2)}", "reference_number": str(chance.randint(1, 3))},
        }

    chance, until = random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < until:
        stamps = [
            f"2026-06-{chance.randint(1, 28):02}T{chance.randint(0, 23):02}:{chance.randint(0, 59):02}:{seed:02}Z"
            for _ in range(12)
        ]
        # Old acquaintances, and new ones that everybody else meets in the same moment.
        moment = f"{time.monotonic() * 5:.0f}-" if chance.random() < 0.5 else ""
        records = [f"{moment}{chance.randint(1, 6)}" for _ in stamps]
        invoices = [an_invoice(record, at, lines=chance.randint(0, 4)) for record, at in zip(records, stamps, strict=True)]
        items = [an_item(record, at, name=at) for record, at in zip(records, stamps, strict=True)]
        hints = [unstamped("order", "salesorder", chance), unstamped("invoice", "invoice", chance)]
        chance.shuffle(hints)
        send("invoices", {"events": invoices + items + hints})
        process.process(f"writer-{seed}")


def _obey(order: str) -> None:
    what, *given = order.split()
    if what == "writer":
        _write(float(given[0]), int(given[1]))
        return
    if what in ("shards", "deploys"):
        _die_at(int(given[0]), with_providers=what == "deploys")
        work.work(holder="doomed")
        return
    if what == "statement":
        _die_at(int(given[0]))
    elif what == "poison":
        _leave_at_poison()
    process.process("doomed")


def _forked(order: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # its log would stand among the answers
        _obey(order)
        code = 0
    except BaseException:  # noqa: BLE001 - a fork must not return into its parent's code
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    """Obey until stdin ends."""
    for line in sys.stdin:
        workers = [_forked(order) for order in line.rstrip("\n").split("\t")]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
        sys.stdout.write(" ".join(map(str, codes)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
