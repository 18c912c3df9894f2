"""sync: a full sync of 50,000 items through the whole engine, with the source's rate in the way and without."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from common import db, settings
from common.flows import plan_status, sync
from deploy.local.postgres import Cluster
from tests.bench import lab
from tests.bench.lab import ROOT, Database, Result

ITEMS = 50_000
RATE = 100 / 60  # calls a second that the source allows
FAST = {"zoho.calls_per_minute": "1000000", "zoho.calls_per_day": "1000000", "zoho.burst": "100000"}


def run(cluster: Cluster, *, rounds: int, **_: object) -> Result:
    """Measure."""
    result = Result("sync")
    found = {}
    with _source() as port, lab.database(cluster, "bench_sync") as mine:
        _ask(port, "POST", "/_/limits", {"off": True})
        _tell(mine, FAST)
        found |= lab.alternate(
            rounds,
            {
                "first load, 1 fetcher": lambda: _synced(mine, port, 1, empty=True),
                "unchanged, 1 fetcher": lambda: _synced(mine, port, 1),
                "first load, 4 fetchers": lambda: _synced(mine, port, 4, empty=True),
                "unchanged, 4 fetchers": lambda: _synced(mine, port, 4),
            },
        )
    with _source() as port, lab.database(cluster, "bench_limited") as mine:
        found["first load, at the source's rate"] = _synced(mine, port, 2)
        calls = _ask(port, "GET", "/_/calls")
    result.numbers = [{"contender": name, **numbers} for name, numbers in found.items()]
    limited = found["first load, at the source's rate"]
    result.goal("share of the allowed rate", limited["calls"] / limited["seconds"] / RATE, 0.95)
    result.goal("calls in the busiest minute", calls["busiest_minute"], 100, at_least=False)
    result.goal("429s of our own making", sum(calls["throttled"].values()), 0, at_least=False)
    result.goal("WAL bytes an unchanged row", found["unchanged, 1 fetcher"]["wal_bytes"], 20, " B", at_least=False)
    result.goal(
        "calls of one page each, times those of a page and its details", calls["calls"] / (ITEMS + ITEMS / 200), 0.4, at_least=False
    )
    return result


@contextlib.contextmanager
def _source() -> Iterator[int]:
    port = lab.free_port()
    command = [sys.executable, "-m", "deploy.local.zoho", "--port", str(port), "--size", "0", "--items", str(ITEMS)]
    with lab.running(command, {"PYTHONPATH": str(ROOT)}, "zoho"):
        lab.wait_for(port, "/_/")
        yield port


def _ask(port: int, method: str, path: str, given: dict[str, Any] | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, json.dumps(given) if given else None)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def _tell(database: Database, values: dict[str, str]) -> None:
    for key, value in values.items():
        database.sql(f"update tidemark.settings set value = '{value}' where key = '{key}'")
    database.sql("""update tidemark.settings set value = '{"sync.pages": 4}' where key = 'plans.concurrency'""")


def _synced(database: Database, port: int, processes: int, *, empty: bool = False) -> dict[str, float]:
    if empty:
        database.sql(
            "truncate erp.products; drop trigger if exists tds_audit_trail_is_append_only on tds_audit_trail; truncate tds_audit_trail"
        )
    about = _ask(port, "GET", "/_/")
    connected = {
        "ZOHO_API_URL": about["api_url"], "ZOHO_ACCOUNTS_URL": about["accounts_url"], "ZOHO_CLIENT_ID": about["client_id"],
        "ZOHO_CLIENT_SECRET": about["client_secret"], "ZOHO_REFRESH_TOKEN": about["refresh_token"],
        "ZOHO_ORGANIZATION_ID": about["organization_id"],
    }  # fmt: skip
    environment = database.environment(**connected)
    os.environ.update(environment)
    settings.load.cache_clear()
    sync.work.ring.ring = lambda *_, **__: True
    database.sql("checkpoint")
    before = _ask(port, "GET", "/_/calls")["calls"]
    with database.cost() as cost:
        plan = sync.by_hand({"entity_type": "product", "mode": "full"})[1]["plan_id"]
        lab.workers(environment, processes, "calls")
    shown = plan_status.status(plan)
    assert shown["status"] == "succeeded", shown
    seconds = (shown["finished_at"] - shown["started_at"]).total_seconds() - _warming(database, plan)
    db.pool().discard()
    rows = database.value(f"select total_events from tds_sync_runs where id = '{plan}'")
    assert rows == ITEMS, rows
    calls = _ask(port, "GET", "/_/calls")["calls"] - before
    return {
        "per_second": rows / seconds,
        "seconds": seconds,
        "calls": calls,
        "wal_bytes": cost.wal_bytes / rows,
        "pg_us": cost.cpu_seconds * 1e6 / rows,
    }


def _warming(database: Database, plan: str) -> float:
    """Seconds from the beginning of the run to that of its first page: the workers are started after it."""
    started = database.value(f"select started_at from tds_sync_runs where id = '{plan}'")
    first = database.value(
        f"""select min("timestamp" - execution_time_ms * interval '1 ms') from tds_sync_logs where sync_run_id = '{plan}'"""
    )
    return max(0.0, (first - started).total_seconds())
