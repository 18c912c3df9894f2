"""snapshot: somebody holds a snapshot for minutes while events are applied; the rate stays, and an alert names who it is."""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import time

from common import db, settings
from common.flows import watch
from deploy.local.postgres import Cluster
from tests.bench import lab
from tests.bench.growth import EVENTS, rate
from tests.bench.lab import Result

SECONDS, FULL_SECONDS = 120, 600
LAST = 3  # runs at the end that are compared
MOST = 1_000_000  # events kept: more of them asks for the full length


def run(cluster: Cluster, *, size: int = MOST, **_: object) -> Result:
    """Measure."""
    result = Result("snapshot")
    seconds = FULL_SECONDS if size > MOST else SECONDS
    counter = itertools.count(400_000_000, EVENTS)
    rates: dict[str, list[float]] = {"free": [], "held": []}
    with contextlib.ExitStack() as stack:
        databases = {name: stack.enter_context(lab.database(cluster, f"bench_{name}")) for name in rates}
        holder = db.Connection(db.Address(databases["held"].url))
        stack.callback(holder.close)
        holder.raw.settimeout(60)
        ((pid,),) = holder.script("begin isolation level repeatable read; select pg_backend_pid()")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for name, database in databases.items():
                rates[name].append(rate(database, next(counter))["per_second"])
            lab.say(
                f"   {max(0, until - time.monotonic()):.0f} s left: free {rates['free'][-1]:,.0f}, held {rates['held'][-1]:,.0f} events/s"
            )
        result.numbers = [
            {"what": name, "first": each[0], "last": statistics.mean(each[-LAST:]), "runs": len(each)}
            for name, each in rates.items()
        ]
        result.goal("rate while it is held, times that without", _share(rates), 0.9)
        os.environ.update(databases["held"].environment())
        settings.load.cache_clear()
        databases["held"].sql(f"update tidemark.settings set value = '{seconds / 120}' where key = 'alerts.snapshot_minutes'")
        watch.watch()
        db.pool().discard()
        told = databases["held"].value(
            f"select count(*) from tds_alerts where alert_type = 'long_transaction' and message like '%process {pid} %'"
        )
        result.goal("alerts that name its process", told, 1)
        result.notes.append(f"held for {seconds} s; each run applies up to {EVENTS:,} new events")
    return result


def _share(rates: dict[str, list[float]]) -> float:
    return statistics.mean(rates["held"][-LAST:]) / statistics.mean(rates["free"][-LAST:])
