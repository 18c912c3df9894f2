"""retention: hundreds of thousands of old events go in short transactions, and nobody who stores or applies waits for them."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict

from common import db, settings
from common.flows import tidying
from common.stores import retention
from deploy.local.postgres import Cluster
from tests.bench import events, lab
from tests.bench.apply import fill
from tests.bench.growth import KEPT, STEP
from tests.bench.lab import Database, Result

MOST = 300_000  # events that are old enough to go
SECONDS = 240  # after which it is not waited for any more


def run(cluster: Cluster, *, size: int = MOST, **_: object) -> Result:
    """Measure."""
    result = Result("retention")
    count = min(size, MOST)
    with lab.database(cluster, "bench_retention") as database:
        for lo in range(1, count + 1, STEP):
            database.sql(KEPT.format(lo=lo, hi=min(lo + STEP - 1, count), total=count, days=10, copies=12))
        for table, column in {
            "tds_inbox_events": "received_at",
            "tds_sync_queue": "completed_at",
            "tds_sync_logs": '"timestamp"',
        }.items():
            database.sql(f"update {table} set {column} = {column} - interval '100 days'")
        database.sql("vacuum analyze")
        database.sql("checkpoint")
        alone = _cleaned(database, writing=False, most=count)  # an event and its log are two
        busy = _cleaned(database, writing=True)
        result.numbers = [{"what": "alone", **alone}, {"what": "while others write", **busy}]
        result.goal("longest transaction", max(alone["longest_ms"], busy["longest_ms"]), 1000, " ms", at_least=False)
        left = database.value("select count(*) from tds_inbox_events where received_at < now() - interval '8 days'")
        result.notes.append(
            f"{count:,} events with their queue rows and logs, all too old; batches of {tidying.BATCH:,}; {left:,} left"
        )
    return result


def _cleaned(database: Database, *, writing: bool, most: int = 0) -> dict[str, float]:
    """Rows a second and the longest transaction: until `most` are gone, or nothing is left."""
    os.environ.update(database.environment())
    settings.load.cache_clear()
    enough, longest, gone = threading.Event(), defaultdict(float), 0
    applied: list[float] = []

    def write() -> None:
        number = 600_000_000
        while not enough.is_set():
            began = time.perf_counter()
            fill(database, [events.item(each) for each in range(number, number + 1000)])
            applied.append((time.perf_counter() - began) * 1000)
            number += 1000

    writer = threading.Thread(target=write)
    if writing:
        writer.start()
    real = dict(retention.RETAINED)
    began = time.perf_counter()
    try:
        left = list(real)
        while left and time.perf_counter() - began < SECONDS and (not most or gone < most):
            for name in list(left):
                started = time.perf_counter()
                with db.transaction("worker") as tx:
                    count = real[name](tx, days=7, limit=tidying.BATCH)
                longest[name] = max(longest[name], (time.perf_counter() - started) * 1000)
                gone += count
                if not count:
                    left.remove(name)
    finally:
        seconds = time.perf_counter() - began
        enough.set()
        if writing:
            writer.join()
        db.pool().discard()
        settings.load.cache_clear()
    found = {"rows_per_second": gone / seconds, "rows": float(gone), "longest_ms": max(longest.values())}
    found |= {f"{name}_ms": took for name, took in longest.items() if name in {"events", "logs"}}
    return found | ({"store_1000_longest_ms": max(applied)} if applied else {})
