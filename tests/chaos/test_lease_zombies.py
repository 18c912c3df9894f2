"""The ACTIVE deployment is stopped by the system past its lease and goes on when another is ACTIVE: nothing of its write stands.

Run as `python -m tests.chaos.test_lease_zombies WHERE` this is a function of the deployment `blue` that stops itself there.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from common import db
from common.errors import Passive, Unavailable
from common.flows import chunks, lease, migrate, schedules, tick, work
from common.stores import lanes, migrations
from common.stores import schedules as store
from tests.chaos.processes import eventually
from tests.kinds import submit

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
REPORT = "REPORT "
SECOND, MINUTE, LEASE = timedelta(seconds=1), timedelta(minutes=1), timedelta(seconds=150)


@pytest.fixture
def blue(database_url):
    """Start a function of blue that will stop at a place; it stands still when this returns."""
    started = []

    def start(where, *arguments):
        surroundings = {**os.environ, "DATABASE_URL": database_url, "DEPLOYMENT": "blue"}
        command = [sys.executable, "-m", "tests.chaos.test_lease_zombies", where, *arguments]
        process = subprocess.Popen(command, cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, text=True)
        started.append(process)
        eventually(lambda: state(process.pid) == "T", 60, "the stop")
        return process

    yield start
    for process in started:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
        process.communicate()


def state(pid):
    """T: it stands still; Z: it is gone."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def woken(process):
    """What it says of itself once it goes on."""
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    (line,) = [line for line in said.splitlines() if line.startswith(REPORT)]
    return json.loads(line.removeprefix(REPORT))


@pytest.fixture
def due(sql, turn_clock):
    """One schedule, due every minute: `due()` lets the next slot come."""
    sql("delete from tidemark.schedules")
    schedules.create({"name": "mine", "cron": "* * * * *", "function": "heal", "overlap": "allow"})

    def come():
        turn_clock(MINUTE)

    come()
    return come


def stands(sql):
    """Everything that a tick's schedules leave, with the transactions that wrote it."""
    fires = sql("select slot, state, rings, xmin::text from tidemark.fires order by slot")
    return fires, sql("select next_slot, last_slot, xmin::text from tidemark.schedules")


def fenced(sql):
    return sql("select tidemark.total('fenced')")[0][0]


def test_an_active_tick_that_slept_past_its_lease_fires_nothing_and_is_counted_once(sql, turn_clock, configured, due, blue):
    sleeper = blue("held")
    assert sql("select holder from tidemark.leases") == [["blue"]]
    assert sql("select count(*) from tidemark.fires") == [[0]]
    turn_clock(LEASE)
    configured(DEPLOYMENT="green")
    assert tick.tick().fired.rung >= 1
    due()  # a slot that nobody has fired: what blue has in mind
    before, count = stands(sql), fenced(sql)
    report = woken(sleeper)
    assert (report["is_active"], report["fired"]["due"], report["fired"]["rung"], report["lanes"]) == (False, 0, 0, 0)
    assert stands(sql) == before
    assert (count, fenced(sql)) == (0, 1)
    assert sql("select holder from tidemark.leases") == [["green"]]
    assert tick.tick().fired.rung >= 1  # it was due


def test_one_that_slept_but_lost_nothing_fires(sql, due, blue):
    report = woken(blue("held"))
    assert (report["is_active"], report["fired"]["due"], fenced(sql)) == (True, 1, 0)


def test_one_that_slept_in_its_write_keeps_others_waiting_and_the_two_do_not_overlap(sql, turn_clock, configured, due, blue):
    sleeper = blue("guarded")
    turn_clock(LEASE)
    configured(DEPLOYMENT="green")
    with pytest.raises(Unavailable) as waited, db.transaction("worker", lock=timedelta(milliseconds=100)) as tx:
        lease.hold(tx)
    assert not isinstance(waited.value, Passive)
    with ThreadPoolExecutor(1) as thread:
        taking = thread.submit(lease.held)  # waits for blue's write
        eventually(lambda: sql("select 1 from pg_stat_activity where wait_event_type = 'Lock'"), 10, "the wait")
        sleeper.send_signal(signal.SIGCONT)
        token = taking.result(30).token
    ((takeover,),) = sql("select takeover from tidemark.leases")
    assert (takeover["from"], takeover["token"]) == ("blue", token)
    assert sql("select count(*) from tidemark.fires where state = 'due'")[0][0] >= 1  # blue's, from before
    sleeper.communicate(timeout=60)
    assert sleeper.returncode == 0


def test_a_worker_that_slept_past_the_lease_takes_no_lane(sql, turn_clock, configured, blue):
    plan = submit({"id": "one", "kind": "noop", "config": {"shards": 10}})
    sleeper = blue("queued")
    turn_clock(LEASE)
    configured(DEPLOYMENT="green")
    lease.held()
    before = sql("select no, token, done, busy, xmin::text from tidemark.lanes order by no")
    report = woken(sleeper)
    assert (report["lanes"], report["shards"]) == (0, 0)
    assert sql("select no, token, done, busy, xmin::text from tidemark.lanes order by no") == before
    assert fenced(sql) == 1
    work.work()
    assert sql(f"select status from tidemark.plans where id = '{plan}'") == [["succeeded"]]


def test_a_worker_that_slept_past_the_lease_reports_nothing_of_its_chunk(sql, turn_clock, configured, blue):
    """Nobody has taken its lane meanwhile, so the lane's own token would let it through."""
    submit({"id": "one", "kind": "noop", "config": {"shards": 10}})
    sleeper = blue("ran")
    turn_clock(LEASE)
    configured(DEPLOYMENT="green")
    lease.held()
    report = woken(sleeper)
    assert (report["lanes"], report["shards"], report["given_back"]) == (1, 0, 1)
    assert sql("select count(*) from tidemark.leaves") == [[0]]
    assert fenced(sql) == 1


def test_a_migrator_that_slept_while_another_deployment_migrated_is_refused(sql, turn_clock, configured, blue, tmp_path):
    for migration in migrate.migrations():
        (tmp_path / f"{migration.name}.sql").write_text(migration.text)
    number = len(migrate.migrations())
    for step in (1, 2):
        (tmp_path / f"{number + step:04}_step.sql").write_text(f"create table public.step_{step} (id integer);")
    sleeper = blue("migrated", str(tmp_path))
    turn_clock(LEASE)
    configured(DEPLOYMENT="green")
    assert len(migrate.run(tmp_path, tmp_path / "none")) == 1  # the second: blue had come as far as the first
    assert woken(sleeper)["refused"] == "lease-lost"
    assert fenced(sql) == 1


# Blue ------------------------------------------------------------------------------------------------------------


def _stop_after(module: Any, name: str, call: int = 1) -> None:
    """SIGSTOP when the function `name` returns for the `call`-th time."""
    real, calls = getattr(module, name), 0

    def stopping(*given: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        found = real(*given, **more)
        if calls == call:
            os.kill(os.getpid(), signal.SIGSTOP)
        return found

    setattr(module, name, stopping)


def _told(report: Any) -> None:
    sys.stdout.write(f"\n{REPORT}{json.dumps(report)}\n")


def main() -> None:
    """Do one thing, and say what became of it."""
    where = sys.argv[1]
    if where == "held":  # between taking the lease and the first write under it
        _stop_after(lease, "held_or_none")
        _told(asdict(tick.tick()))
    elif where == "guarded":  # in the transaction that fires
        _stop_after(store, "lock_due")
        _told(asdict(tick.tick()))
    elif where == "queued":  # before the transaction that takes a lane has locked anything
        _stop_after(lanes, "queue_up")
        _told(asdict(work.work()))
    elif where == "ran":  # when the chunk is run and not written
        lease.CHECK_SECONDS = 0.0  # it will have slept for longer than a second by the clock that is turned, not by its own
        _stop_after(chunks, "run")
        _told(asdict(work.work()))
    elif where == "migrated":  # after the first migration that there was to run
        _migrate(Path(sys.argv[2]))


def _migrate(folder: Path) -> None:
    _stop_after(migrations, "_run")
    try:
        migrate.run(folder, folder / "none")
    except Passive as refused:
        _told({"refused": refused.slug})


if __name__ == "__main__":
    main()
