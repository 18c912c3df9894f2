"""reconcile: 50,000 invoices, 30 of which drifted; calls to find and repair them, against the calls of a full list."""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from common import settings
from common.flows import plan_status, reconcile, statistics, sync, work
from common.outgoing import calls
from common.rules.http import Request
from deploy.local.postgres import Cluster
from deploy.local.zoho import StandIn
from tests.bench import lab
from tests.bench.lab import ORGANIZATION, Database, Result
from tests.clients.conftest import environment

INVOICES = 50_000
DAYS = 1000
DRIFTS = 30
PAGES = INVOICES // 200
UNLIMITED = (
    "update tidemark.settings set value = '1000000' where key in ('zoho.calls_per_minute', 'zoho.burst', 'zoho.calls_per_day')"
)


def run(cluster: Cluster, *, rounds: int, **_: object) -> Result:
    """Measure; every round drifts anew, in another database."""
    result = Result("reconcile")
    for number in range(rounds):
        with lab.database(cluster, f"bench_reconcile_{number}") as database:
            result.numbers.append(_round(database, number))
    worst = max(row["calls"] for row in result.numbers)
    found = min(row["repaired"] for row in result.numbers)
    result.goal("calls, times a full list's", worst / PAGES, 0.5, at_least=False)
    result.goal(f"of {DRIFTS} drifts repaired", found, DRIFTS)
    result.notes.append(
        f"80 % of the drifts are in the newest 10 % of {INVOICES} invoices made over {DAYS} days; a full list has {PAGES} pages."
    )
    return result


def _round(database: Database, seed: int) -> dict[str, Any]:
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(days=DAYS)
    with StandIn(seed=seed + 1, sizes=0, organization=ORGANIZATION, now=began) as zoho:
        zoho.limits.off()
        for _day in range(DAYS):
            zoho.create("invoice", INVOICES // DAYS)
            zoho.turn(86_400)
        os.environ.update(database.environment(**environment(zoho)))
        settings.load.cache_clear()
        database.sql(UNLIMITED)
        sync.by_hand({"entity_type": "invoice", "mode": "full"})
        _drain()
        zoho.turn(3600)
        drifted = _drift(database, zoho, random.Random(seed))
        zoho.forget()
        began_at, plan = time.perf_counter(), reconcile.by_hand({"entities": ["invoice"]})[1]["plan_id"]
        _drain()
        seconds = time.perf_counter() - began_at
        spent = sum(not call.path.startswith("/oauth") and call.status != 401 for call in zoho.calls)
        assert plan_status.status(plan)["status"] == "succeeded", plan_status.report(plan)
        numbers = _numbers(database, zoho, drifted, spent, seconds)
    calls.close()
    return numbers


def _drain() -> None:
    while work.work().chunks:
        pass


def _drift(database: Database, zoho: StandIn, chance: random.Random) -> dict[str, str]:
    """Thirty records that drift in five ways, as many of each; each with how."""
    ids = sorted(zoho.rows("invoice"))
    newest = INVOICES * 9 // 10
    wanted: list[str] = []
    while len(wanted) < DRIFTS:
        place = chance.randrange(newest, INVOICES - 100) if chance.random() < 0.8 else chance.randrange(newest)
        if ids[place] not in wanted:
            wanted.append(ids[place])
    missing, stale, older, changed, gone = (wanted[start::5] for start in range(5))
    _sql_ids(database, "delete from erp.invoices where source_id in ({})", missing)
    zoho.edit("invoice", ids=stale, reference_number="lost", total=4711.25)  # its webhook was lost, and the cursor has passed it
    database.sql(
        "update public.tds_sync_cursors set cursor_value = (app_now() + interval '2 hours')::text where entity_type = 'invoice'"
    )
    older_set = "set total = total - 1, source_modified_at = source_modified_at - interval '1 minute', list_hash = 'older'"
    _sql_ids(database, f"update erp.invoices {older_set} where source_id in ({{}})", older)  # as after a restored backup
    for identifier in changed:
        zoho.edit_quietly("invoice", ids=[identifier], balance=chance.randrange(1, 100_000) / 100 + 900_000)
    zoho.delete("invoice", ids=gone)
    kinds = {"missing_here": missing, "stale": [*stale, *older], "changed": changed, "missing_there": gone}
    return {identifier: kind for kind, those in kinds.items() for identifier in those}


def _sql_ids(database: Database, text: str, ids: list[str]) -> None:
    database.sql(text.format(", ".join(f"'{identifier}'" for identifier in ids)))


def _numbers(database: Database, zoho: StandIn, drifted: dict[str, str], spent: int, seconds: float) -> dict[str, Any]:
    noted = dict(database.sql("select source_entity_id, kind from tidemark.drifts"))
    here = {
        row[0]: tuple(row[1:])
        for row in database.sql("select source_id, total, balance from erp.invoices where deleted_at is null")
    }
    there = {identifier: (row["total"], row["balance"]) for identifier, row in zoho.rows("invoice").items()}
    equal = sum(
        (here.get(each) is None) == (there.get(each) is None) and _same(here.get(each), there.get(each)) for each in drifted
    )
    shown = statistics.overview(Request("GET", "/"))["entities"]["invoice"]
    return {
        "contender": "reconciliation",
        "calls": spent,
        "of_full_list": spent / PAGES,
        "found": sum(noted.get(each) == kind for each, kind in drifted.items()),
        "false": len(noted.keys() - drifted.keys()),
        "repaired": equal,
        "differ_after": sum(not _same(here.get(each), there.get(each)) for each in here.keys() | there.keys()),
        "said_calls": shown["calls"],
        "match": shown["match_percentage"],
        "seconds": seconds,
    }


def _same(here: tuple[Any, ...] | None, there: tuple[Any, ...] | None) -> bool:
    if here is None or there is None:
        return here is there
    return all(abs(float(a) - float(b)) < 0.005 for a, b in zip(here, there, strict=True))
