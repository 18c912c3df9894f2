"""The look-alike on the command line: `python -m deploy.local.tasks`."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
from datetime import timedelta

from deploy.local.tasks import LocalTasks, Token


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.tasks", description="Local Cloud Tasks look-alike (REST v2); reads DATABASE_URL."
    )
    parser.add_argument("--port", type=int, default=9023)
    parser.add_argument("--concurrency", type=int, default=8, help="concurrent dispatches of a queue that nobody configured")
    parser.add_argument("--lease-seconds", type=float, default=10, help="how long a killed dispatcher's tasks wait for redelivery")
    parser.add_argument("--lose", type=float, default=0, help="probability that an accepted task vanishes")
    parser.add_argument("--double", type=float, default=0, help="probability that a task is delivered twice")
    parser.add_argument("--seed", type=int, help="makes lose and double repeatable")
    parser.add_argument("--token", help="module:function that makes a bearer token from (audience, url)")
    given = parser.parse_args()
    if not (database_url := os.environ.get("DATABASE_URL")):
        parser.error("DATABASE_URL is not set")
    token: Token | None = None
    if given.token:
        module, _, function = given.token.partition(":")
        token = getattr(importlib.import_module(module), function)
    # Callers, dispatcher and workers take turns on one interpreter; the usual 5 ms turn would be most of the latency.
    sys.setswitchinterval(0.0005)
    tasks = LocalTasks(
        database_url, given.port, token=token, lose=given.lose, double=given.double, seed=given.seed,
        concurrency=given.concurrency, lease=timedelta(seconds=given.lease_seconds),
    )  # fmt: skip
    enough = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: enough.set())
    tasks.start()
    enough.wait()
    tasks.stop()


if __name__ == "__main__":
    main()
