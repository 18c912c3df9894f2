"""The campaign: real processes under every fault that can be made here, and a checker that must have nothing to say in the end.

    python -m tests.chaos.campaign --seconds 240 --seed 7       one run; its last part heals and drains
    python -m tests.chaos.campaign --bug token_ignored          one run with a seeded bug: it must fail
    python -m tests.chaos.campaign --bugs                       a run without a bug, then ten bugs, each caught or missed
    python -m tests.chaos.campaign --seconds 240 --bugs         both

Exits with 1 when anything was violated, when something that had to happen never did, or when a bug was missed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from tests.chaos import report
from tests.chaos.bugs import BUGS
from tests.chaos.field import Grounds
from tests.chaos.one_run import Campaign
from tests.chaos.options import Options, short


def hunt(grounds: Grounds, names: Sequence[str], seed: int) -> bool:
    """Run without a bug, then with each; print what was caught; whether all of them were, and nothing without one."""
    began = time.monotonic()
    control = Campaign(grounds, short(seed)).run()
    said = [f"  {'silent' if control.is_good else 'NOT SILENT':<10} without a bug, {time.monotonic() - began:.0f} s"]
    if not control.is_good:
        sys.stdout.write(report.table(control) + "\n")
    missed = []
    for name in names:
        at = time.monotonic()
        result = Campaign(grounds, short(seed, name)).run()
        caught = result.broken
        missed += [] if caught else [name]
        by = ", ".join(sorted({fault.partition(":")[0] for fault in caught}))
        said.append(
            f"  {'caught' if caught else 'MISSED':<10} {name} ({BUGS[name].says}), {time.monotonic() - at:.0f} s"
            + (f", by {by}: {caught[0].partition(': ')[2]}" if caught else "")
        )
        sys.stderr.write(f"\n{said[-1]}\n")
    caught_count = len(names) - len(missed)
    said.append(f"{caught_count} of {len(names)} seeded bugs caught in {time.monotonic() - began:.0f} s; seed {seed}")
    sys.stdout.write("\nSeeded bugs\n" + "\n".join(said) + "\n")
    return control.is_good and not missed


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.campaign", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=0, help="of the whole run; the last 45 heal and drain")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--bug", default="", choices=["", *BUGS], help="switch this seeded bug on: the run must fail")
    parser.add_argument("--bugs", nargs="?", const="ten", choices=["ten", "all"], help="each seeded bug in a short run")
    parser.add_argument("--gateways", type=int, default=3)
    parser.add_argument("--rate", type=float, default=30.0, help="deliveries a second")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(words)
    seed = given.seed or random.SystemRandom().randrange(1, 10**6)
    is_good = True
    grounds = Grounds()
    try:
        if given.seconds or not (given.bugs or given.bug):
            options = Options(seed=seed, seconds=given.seconds or 240.0, gateways=given.gateways, rate=given.rate)
            result = Campaign(grounds, replace(options, bug=given.bug)).run()
            sys.stdout.write((report.as_json(result) if given.json else report.table(result)) + "\n")
            is_good &= result.is_good
        elif given.bug:
            result = Campaign(grounds, short(seed, given.bug)).run()
            sys.stdout.write((report.as_json(result) if given.json else report.table(result)) + "\n")
            is_good &= result.is_good
        if given.bugs:
            is_good &= hunt(grounds, [name for name, bug in BUGS.items() if given.bugs == "all" or not bug.is_extra], seed)
    finally:
        grounds.close()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
