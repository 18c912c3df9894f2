"""Zombies: a worker that is stopped by the system in the middle of a page, and goes on when its lane is long somebody else's.

Run as `python -m tests.chaos.test_zombies WHERE` this is that worker: it stops itself, by SIGSTOP, at its second page.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from common.clients import zoho as client
from common.flows import plan_status, sync, work
from common.stores import lanes, seen_ids
from deploy.local.zoho import StandIn
from tests.chaos import check
from tests.chaos.processes import eventually
from tests.make import connection

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
REPORT = "REPORT "
FAST = """
    update tidemark.settings set value = '1000000' where key in ('zoho.calls_per_minute', 'zoho.calls_per_day');
    update tidemark.settings set value = '100000' where key = 'zoho.burst';
"""


@pytest.fixture
def zoho(configured, sql):
    sql(FAST)
    with StandIn(seed=7, sizes={"product": 450}) as standing:
        standing.limits.off()
        configured(**connection(standing))
        yield standing


@pytest.fixture
def zombie(database_url):
    """Start a worker that will stop at a place; it stands still when this returns."""
    started = []

    def start(where):
        command = [sys.executable, "-m", "tests.chaos.test_zombies", where]
        worker = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "DATABASE_URL": database_url}, stdout=subprocess.PIPE, text=True
        )
        started.append(worker)
        eventually(lambda: _state(worker.pid) == "T", 30, "the stop")
        return worker

    yield start
    for worker in started:
        if worker.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(signal.SIGCONT)
                worker.kill()
        worker.communicate()


def _state(pid):
    """T: it stands still; Z: it is gone."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def woken(worker):
    """What the zombie says of itself once it goes on."""
    worker.send_signal(signal.SIGCONT)
    said, _ = worker.communicate(timeout=60)
    (line,) = [line for line in said.splitlines() if line.startswith(REPORT)]
    return json.loads(line.removeprefix(REPORT)), said


def stands(sql):
    return dict(sql("select source_id, source_modified_at from erp.products where deleted_at is null"))


def source(zoho):
    return {key: datetime.fromisoformat(row["last_modified_time"]).astimezone(UTC) for key, row in zoho.rows("product").items()}


def finish(sql, turn_clock, plan):
    def is_over():
        work.work()
        if plan_status.status(plan)["finished_at"]:
            return True
        turn_clock(timedelta(seconds=31))
        return False

    eventually(is_over, 40, "the end of the sync")


@pytest.mark.parametrize("where", ["fetched", "advanced", "merged"])
def test_a_worker_that_slept_past_its_lease_writes_nothing(sql, turn_clock, zoho, zombie, where):
    plan = sync.by_hand({"mode": "full", "entity_type": "product"})[1]["plan_id"]
    worker = zombie(where)
    turn_clock(timedelta(seconds=31))
    zoho.turn(seconds=60)
    edited = zoho.edit("product", 40)  # what the zombie has in its hands is old by now
    finish(sql, turn_clock, plan)
    assert plan_status.status(plan)["status"] == "succeeded"
    before = sql("select source_id, source_modified_at, updated_at, xmin::text from erp.products order by 1")
    leaves = sql("select plan, stage, lo, hi, peaks from tidemark.leaves order by 2, 3")
    run = sql("select pages, total_events, processed_events, status::text from tds_sync_runs")
    report, said = woken(worker)
    assert worker.returncode == 0
    assert report["chunks"] == 1  # the page before it fell asleep, and no other
    refused = report["lost"] if where == "fetched" else report["given_back"]
    assert refused == 1, said  # it did try, and was refused
    assert sql("select source_id, source_modified_at, updated_at, xmin::text from erp.products order by 1") == before
    assert sql("select plan, stage, lo, hi, peaks from tidemark.leaves order by 2, 3") == leaves
    assert sql("select pages, total_events, processed_events, status::text from tds_sync_runs") == run
    sync_again = sync.by_hand({"mode": "incremental", "entity_type": "product"})[1]["plan_id"]
    finish(sql, turn_clock, sync_again)
    assert stands(sql) == source(zoho)
    assert set(edited) <= set(stands(sql))
    assert check.plan_faults(os.environ["DATABASE_URL"]) == []


def test_a_worker_that_slept_but_lost_nothing_goes_on(sql, zoho, zombie, turn_clock):
    plan = sync.by_hand({"mode": "full", "entity_type": "product"})[1]["plan_id"]
    worker = zombie("fetched")
    report, _ = woken(worker)
    assert (report["lost"], report["given_back"]) == (0, 0)
    assert report["chunks"] >= 3
    finish(sql, turn_clock, plan)
    assert stands(sql) == source(zoho)


# The worker -----------------------------------------------------------------------------------------------------------------


def _stop_at(where: str) -> None:
    """SIGSTOP at the second page: when it is read, between the first two statements of its write, or before the last ones."""
    module, name = {"fetched": (client, "page"), "advanced": (lanes, "advance"), "merged": (seen_ids, "add")}[where]
    real, calls = getattr(module, name), 0

    def stopping(*given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        found = real(*given, **more)
        if calls == 2:
            os.kill(os.getpid(), signal.SIGSTOP)
        return found

    setattr(module, name, stopping)


def main() -> None:
    """Work once, and say what became of it."""
    _stop_at(sys.argv[1])
    report = work.work(holder="zombie")
    sys.stdout.write(f"\n{REPORT}{json.dumps(dataclasses.asdict(report))}\n")


if __name__ == "__main__":
    main()
