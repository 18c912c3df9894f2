"""A function in a process of its own: says that it is warm, waits for a line, works until nothing waits, reports.

`process` applies events, `shards` works on plans, `calls` does so in call after call until no plan is left.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict

from common.flows import plan_status, process, ring, work


def main() -> None:
    """Work once."""
    ring.ring = lambda *_, **__: True  # what rings loads Google's library: that is not what is measured
    process.sweep(process.rules_for("bench"))  # imports, statements and the connection are there now
    function = {"process": process.process, "shards": work.work, "calls": _calls}[sys.argv[1]]
    if function is not process.process:
        work.call_for_more(0, 0)
    sys.stdout.write("warm\n")
    sys.stdout.flush()
    sys.stdin.readline()
    cpu, started = time.process_time(), time.perf_counter()
    report = function()
    took = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = {**asdict(report), "seconds": took, "cpu_seconds": time.process_time() - cpu, "memory_kb": memory}
    sys.stdout.write(json.dumps(said) + "\n")


def _calls() -> work.Report:
    """As the queue does it: one call after the other, with a breath between them where there was nothing to do."""
    whole = work.Report()
    while plan_status.overview()["active_plans"]:
        report = work.work(beside=1)
        for name, value in asdict(report).items():
            setattr(whole, name, getattr(whole, name) + value)
        if not report.chunks:
            time.sleep(0.05)
    return whole


if __name__ == "__main__":
    main()
