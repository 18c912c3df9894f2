"""A process function in a process of its own: says that it is warm, waits for a line, works until nothing waits, reports."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict

from common.flows import process


def main() -> None:
    """Work once."""
    process.ring.ring = lambda *_, **__: True  # what rings loads Google's library: that is not what is measured
    process.sweep(process.rules_for("bench"))  # imports, statements and the connection are there now
    sys.stdout.write("warm\n")
    sys.stdout.flush()
    sys.stdin.readline()
    cpu, started = time.process_time(), time.perf_counter()
    report = process.process()
    took = time.perf_counter() - started
    sys.stdout.write(json.dumps({**asdict(report), "seconds": took, "cpu_seconds": time.process_time() - cpu}) + "\n")


if __name__ == "__main__":
    main()
