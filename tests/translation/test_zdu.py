"""ZDU: expand, migrate and contract with a version gate, while everything goes on."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from common import db
from common.errors import Conflict
from common.flows import plan_status, plans, presence, process, seal, tick, work
from common.stores import migrations
from tests import rollouts
from tests.chaos.processes import eventually
from tests.kinds import a_stage, submit
from tests.make import an_item, send

SHARDS = int(os.environ.get("TIDEMARK_ZDU_SHARDS", "200000"))
ADDS = """-- more for everybody who is busy
alter table tidemark.plans add column if not exists colour text;
alter table tidemark.stages add column if not exists colour text not null default 'blue';
alter table tidemark.lanes add column if not exists colour text;
alter table public.tds_inbox_events add column if not exists colour text;
create index if not exists by_colour on tidemark.plans (colour);
"""
TAKES = "-- contract: nobody reads it any more\nalter table tidemark.plans drop column if exists colour;"


def test_a_load_during_an_expand_meets_no_error(sql, tmp_path, monkeypatch, trial):
    """Webhooks, their application and a plan go on, and meet each of twelve migrations of the tables that they use."""
    scripts = [ADDS.replace("colour", f"colour_{number}") for number in range(12)]
    rollouts.deploy(monkeypatch, tmp_path, *scripts)
    rollouts.go_back(monkeypatch)
    over, errors = threading.Event(), []
    plan = submit(a_stage(shards=3000, concurrency=4))

    def loaded(act) -> int:
        count = 0
        while not over.is_set():
            try:
                act(count)
            except Exception as error:  # noqa: BLE001 - whatever it is, there may be none
                errors.append(error)
            count += 1
        return count

    acts = [lambda count: send("products", an_item(f"a-{count}")), lambda count: send("products", an_item(f"b-{count}"))]
    acts += [lambda _: process.process(), lambda _: work.work()]
    with ThreadPoolExecutor(len(acts)) as threads:
        running = [threads.submit(loaded, act) for act in acts]
        try:
            ran = migrations.run(tmp_path)
        finally:
            over.set()
        sent = sum(each.result(60) for each in running[:2])
        [each.result(60) for each in running]
    process.process()
    while plan_status.status(plan)["status"] == "running":
        work.work()
    assert (errors, len(ran)) == ([], 12)
    assert sql("select count(*) from erp.products") == [[sent]]
    assert sent > 12
    assert sql("select count(*), count(distinct shard) from trials") == [[3000, 3000]]


def test_behind_a_long_reader_ddl_times_out_and_tries_again_and_nobody_queues_up(sql, database_url, tmp_path, monkeypatch, capsys):
    rollouts.deploy(monkeypatch, tmp_path, "-- more\nalter table erp.products add column if not exists colour text;")
    reader = db.Connection(db.Address(database_url))
    reader.begin("begin; select count(*) from erp.products", 30)
    waits, over = [], threading.Event()

    def read() -> None:
        while not over.is_set():
            started = time.monotonic()
            with db.transaction("status", read_only=True, lock=db.LOCK) as tx:  # one that is not let through in time raises
                tx.statement("select count(*) from erp.products", {})
            waits.append(time.monotonic() - started)

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read) for _ in range(3)]
        migrator = threads.submit(migrations.run, tmp_path)
        try:
            retries = ""
            while retries.count("migration.retried") < 3:
                retries += capsys.readouterr().out
                assert not migrator.done()
                queued = sql("select count(*) from pg_locks where relation = 'erp.products'::regclass and not granted")
                assert queued[0][0] <= 4
            reader.script("commit")
            assert len(migrator.result(60)) == 1
        finally:
            over.set()
            reader.close()
        [each.result(30) for each in readers]
    assert len(waits) > 50
    assert max(waits) < db.LOCK.total_seconds()


def test_a_contract_is_refused_while_an_old_version_serves(sql, tmp_path, monkeypatch, configured, turn_clock):
    configured(RELEASE="old", DEPLOYMENT="blue")
    presence.check()
    rollouts.deploy(monkeypatch, tmp_path, ADDS, TAKES)
    configured(RELEASE="new", DEPLOYMENT="blue")
    migrations.run()
    presence.check()
    with pytest.raises(
        Conflict, match="takes away what older code uses, and this serves: release old of the deployment 'blue'"
    ) as refused:
        migrations.run_pending(contract=True)
    assert refused.value.fields["serving"] == ["blue/old"]
    assert sql("select count(*) from information_schema.columns where table_name = 'plans' and column_name = 'colour'") == [[1]]
    turn_clock(timedelta(seconds=301))
    assert len(migrations.run_pending(contract=True)) == 1
    assert sql("select count(*) from information_schema.columns where table_name = 'plans' and column_name = 'colour'") == [[0]]


def undisturbed(shards: int) -> str:
    plan = submit(a_stage(kind="noop", shards=shards, concurrency=64))
    while plan_status.status(plan)["status"] == "running":
        work.work()
    return root(plan)


def root(plan: str) -> str:
    seal.seal_all(time.monotonic() + 60)
    return plan_status.status(plan)["merkle_root"]


@pytest.mark.process
def test_a_rolling_update_in_the_middle_of_a_plan_loses_nothing(sql, tmp_path, monkeypatch):
    """Old code works in processes of its own; a tick of newer code comes in the middle, and old code goes on after it.

    With a million shards: TIDEMARK_ZDU_SHARDS=1000000.
    """
    monkeypatch.setattr(plans, "token_hex", lambda size: "ab" * size)  # trees that begin with the same seed can be compared
    wanted = undisturbed(SHARDS)
    workers = [rollouts.OldWorker(), rollouts.OldWorker()]
    plan = submit(a_stage(kind="noop", shards=SHARDS, concurrency=64))
    done = "select coalesce(sum(hi - lo), 0) from tidemark.leaves where plan = :plan"
    for worker in workers:
        worker.go()
    eventually(lambda: int(sql(done, plan=plan)[0][0]) > 0, 30, "the first chunk")
    names = rollouts.deploy(monkeypatch, tmp_path, ADDS)
    migrated = []
    while not migrated:
        migrated = tick.tick().migrated
    rollouts.go_back(monkeypatch)
    at = int(sql(done, plan=plan)[0][0])
    assert send("products", an_item())["queued"]
    eventually(lambda: plan_status.status(plan)["status"] == "succeeded", 60, "the end of the plan")
    by_whom = [worker.stop() for worker in workers]
    assert migrated == names
    assert 0 < at < SHARDS  # it was in the middle
    assert sum(by_whom) == SHARDS
    assert sql(
        "select sum(hi - lo), max(hi), count(*) - count(distinct lo) from tidemark.leaves where plan = :plan", plan=plan
    ) == [[SHARDS, SHARDS, 0]]
    assert root(plan) == wanted
