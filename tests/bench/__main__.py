"""`python -m tests.bench [names]`: run benchmarks, print their ratios, write .tidemark/bench/<name>.json."""

from __future__ import annotations

import argparse
import importlib
import os
import platform

from tests.bench import lab

NAMES = (
    "webhook",
    "batch",
    "apply",
    "merge",
    "growth",
    "cold",
    "latency",
    "plan",
    "sync",
    "schedules",
    "reconcile",
    "forecast",
    "retention",
    "snapshot",
)


def main() -> None:
    """Run what was asked for; a benchmark that cannot run says why, and the others go on."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"which to run: {', '.join(NAMES)} (all)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs, in turn (3)")
    parser.add_argument("--size", type=int, default=1_000_000, help="events kept by `growth` (1,000,000)")
    parser.add_argument(
        "--full", action="store_true", help="`growth` with 10,000,000 events, 1,000,000 of them waiting; `snapshot` for ten minutes"
    )
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
    lab.say(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}: only ratios carry over.")
    with lab.server() as cluster:
        version = lab.Database(cluster, "postgres").value("select version()").partition(" on ")[0]
        settings = ", ".join(f"{key}={value}" for key, value in lab.DURABLE.items())
        lab.say(f"{version}, {settings}")
        for name in given.names or NAMES:
            benchmark = importlib.import_module(f"tests.bench.{name}")
            try:
                result = benchmark.run(cluster, rounds=given.rounds, size=10_000_000 if given.full else given.size)
            except lab.Missing as missing:
                lab.say(f"\n== {name}: skipped: {missing}")
                continue
            result.notes.append(f"{version}, {settings}")
            result.show()


if __name__ == "__main__":
    main()
