"""deploy.migrate: batches of SQL, dry-run first, once each, as a role that reaches the business data and nothing else."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from common import db, shards
from common.errors import Conflict, Invalid
from common.flows import plans, work
from common.rules import merkle
from common.rules.shard import Context, Stage
from common.shards import deploy_migrate
from tests.packs import outputs, ran, results, submitted, taken_back

RAISE = "update erp.counted set value = value + 1 where id >= :lo and id < :hi"
LOWER = "update erp.counted set value = value - 1 where id >= :lo and id < :hi"
SET = "update erp.counted set label = 'seen' where id >= :lo and id < :hi"
COUNT = "select coalesce(max(id) + 1, 0) from erp.counted"


@pytest.fixture
def counted(sql):
    """2,500 rows to change."""
    sql("create table erp.counted (id bigint primary key, value integer not null default 0, label text)")
    sql("insert into erp.counted select i from generate_series(0, 2499) i")
    return lambda: sql("select count(*), min(value), max(value), count(label) from erp.counted")[0]


def dry(**config):
    """A dry run that went well; its digest."""
    return results(ran(submitted("deploy.migrate", **config)))[0].digest


def meant(**config):
    """The same, meant."""
    return submitted("deploy.migrate", **config, dry_run=False, confirm=dry(**config))


def refused(**config):
    with pytest.raises(Invalid) as error:
        submitted("deploy.migrate", **config)
    return {fault["pointer"].removeprefix("/stages/0/config"): fault["message"] for fault in error.value.fields["errors"]}


def test_a_dry_run_counts_and_changes_nothing(counted, sql):
    plan = ran(submitted("deploy.migrate", statement=SET, count=COUNT))
    assert outputs(plan) == [
        {"status": "dry_run", "batch_id": 0, "rows_affected": 1000},
        {"status": "dry_run", "batch_id": 1, "rows_affected": 1000},
        {"status": "dry_run", "batch_id": 2, "rows_affected": 500},
    ]
    assert results(plan)[0].document == {"batches": 3, "rows_affected": 2500}
    assert counted() == [2500, 0, 0, 0]


def test_what_was_confirmed_is_run_in_batches(counted, sql):
    plan = ran(meant(statement=SET, count=COUNT))
    assert [(each["status"], each["rows_affected"]) for each in outputs(plan)] == [
        ("migrated", 1000),
        ("migrated", 1000),
        ("migrated", 500),
    ]
    assert counted() == [2500, 0, 0, 2500]


def test_offset_and_limit_reach_every_row_once(counted, sql):
    statement = (
        "update erp.counted set label = 'x' where id in (select id from erp.counted order by id offset :offset limit :limit)"
    )
    ran(meant(statement=statement, total_rows=2500, batch_size=999))
    assert counted() == [2500, 0, 0, 2500]


def test_a_run_that_is_meant_needs_the_digest_of_a_dry_run_of_exactly_that(counted, sql, turn_clock):
    assert "dry run" in refused(statement=SET, count=COUNT, dry_run=False)["/confirm"]
    assert "no dry run" in refused(statement=SET, count=COUNT, dry_run=False, confirm="0" * 64)["/confirm"]
    digest = dry(statement=SET, count=COUNT)
    other = SET.replace("seen", "other")
    assert "something else" in refused(statement=other, count=COUNT, dry_run=False, confirm=digest)["/confirm"]
    turn_clock(timedelta(hours=25))
    assert "more than a day" in refused(statement=SET, count=COUNT, dry_run=False, confirm=digest)["/confirm"]
    assert counted() == [2500, 0, 0, 0]


def test_a_dry_run_that_failed_confirms_nothing(counted, sql):
    plan = submitted("deploy.migrate", statement="update erp.counted set nothing = 1 where id >= :lo and id < :hi", count=COUNT)
    work.work()
    assert results(plan) == []
    assert sql("select distinct status, code from tidemark.shard_failures") == [["dead", "42703"]]


def test_what_may_do_more_twice_must_be_allowed(counted, sql):
    digest = dry(statement=RAISE, count=COUNT)
    assert "allow_non_idempotent" in refused(statement=RAISE, count=COUNT, dry_run=False, confirm=digest)["/statement"]
    ran(submitted("deploy.migrate", statement=RAISE, count=COUNT, dry_run=False, confirm=digest, allow_non_idempotent=True))
    assert counted() == [2500, 1, 1, 0]


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({"statement": "drop table erp.counted", "total_rows": 1}, "/statement"),
        ({"statement": "update erp.counted set value = 1", "total_rows": 1}, "/statement"),
        ({"statement": "select 1 where :lo < :hi", "total_rows": 1}, "/statement"),
        ({"statement": SET + "; delete from erp.counted", "total_rows": 1}, "/statement"),
        ({"statement": SET}, "/total_rows"),
        ({"statement": SET, "count": "delete from erp.counted"}, "/count"),
        ({"statement": SET, "count": "select nothing from erp.counted"}, "/count"),
        ({"statement": SET, "count": "select 'many'"}, "/count"),
        ({"statement": SET, "count": "select 1 from tidemark.plans"}, "/count"),
        ({"statement": SET, "total_rows": 5, "undo": "drop table x"}, "/undo"),
        ({"statement": SET, "total_rows": 5, "batch_size": 0}, "/batch_size"),
        ({"statement": SET, "total_rows": 5, "lock_timeout_ms": 60_000}, "/lock_timeout_ms"),
    ],
)
def test_what_cannot_be_a_batch_is_refused_with_a_pointer(config, pointer, counted):
    assert pointer in refused(**config)


def test_without_a_statement_there_is_nothing_to_do(sql):
    assert outputs(ran(submitted("deploy.migrate"))) == []


@pytest.mark.parametrize(
    "statement",
    [
        "delete from tidemark.plans where priority >= :lo and priority < :hi",
        "update public.tds_configuration set version = 1 where version >= :lo and version < :hi",
        "update tidemark.operator_tokens set role = 'owner' where :lo < :hi",
    ],
)
def test_the_engine_and_the_contract_are_out_of_reach(statement, sql):
    before = sql("select version from tds_configuration order by 1")
    submitted("deploy.migrate", statement=statement, total_rows=10)
    work.work()
    (status, message), *_ = sql("select status, message from tidemark.shard_failures")
    assert status == "dead"
    assert "permission denied" in message
    assert sql("select version from tds_configuration order by 1") == before


def test_the_worker_is_itself_again_after_a_batch(counted, sql):
    ran(meant(statement=SET, count=COUNT))
    assert sql("select count(*) from tidemark.parts where output is not null") == [[6]]  # which tidemark_batch cannot write


def test_a_lock_that_is_not_given_gives_the_lane_back_and_does_nothing(counted, sql):
    digest = dry(statement=SET, count=COUNT)
    with db.transaction() as other:
        other.statement("select 1 from erp.counted where id = 5 for update", {})
        plan = submitted(
            "deploy.migrate", statement=SET, count=COUNT, dry_run=False, confirm=digest, lock_timeout_ms=50, batch_size=1000
        )
        assert work.work().given_back
    assert sql("select count(label) from erp.counted where id < 1000") == [[0]]
    sql("update tidemark.lanes set ready_at = '-infinity'")
    ran(plan)
    assert counted() == [2500, 0, 0, 2500]


def test_two_workers_at_the_same_batch_run_it_once(counted, sql):
    digest = dry(statement=RAISE, count=COUNT)
    config = {"statement": RAISE, "count": COUNT, "dry_run": False, "confirm": digest, "allow_non_idempotent": True}
    plan = submitted("deploy.migrate", **config)
    stage = Stage(plan, 0, "one", "deploy.migrate", config, 3)
    barrier = threading.Barrier(4)

    def worker():
        barrier.wait()
        deploy_migrate.run(range(3), Context(stage, merkle.hasher("sha256"), 0, 0, None, lambda _: None, "test"))

    threads = [threading.Thread(target=worker) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    ran(plan)
    assert counted() == [2500, 1, 1, 0]


def test_a_worker_that_died_between_a_batch_and_its_report_does_not_run_it_again(counted, sql, monkeypatch):
    digest = dry(statement=RAISE, count=COUNT)
    plan = submitted(
        "deploy.migrate", statement=RAISE, count=COUNT, dry_run=False, confirm=digest, allow_non_idempotent=True
    )  # fmt: skip
    real = shards.find("deploy.migrate").run

    class Died(BaseException):
        pass

    def dies(span, context):
        real(span, context)
        raise Died

    monkeypatch.setattr(deploy_migrate, "run", dies)
    with pytest.raises(Died):
        work.work()
    monkeypatch.setattr(deploy_migrate, "run", real)
    sql("update tidemark.lanes set leased_until = '-infinity' where leased_until is not null")
    ran(plan)
    assert counted() == [2500, 1, 1, 0]


def test_it_is_taken_back_by_the_statement_that_was_given_and_once(counted, sql):
    config = {"statement": RAISE, "undo": LOWER, "count": COUNT}
    digest = dry(**config)
    plan = ran(submitted("deploy.migrate", **config, dry_run=False, confirm=digest, allow_non_idempotent=True))
    sql("insert into erp.counted select i, 7 from generate_series(2500, 4999) i")  # rows that came later are none of its business
    taken_back(plan)
    assert sql("select value, count(*) from erp.counted group by 1 order by 1") == [[0, 2500], [7, 2500]]


def test_without_such_a_statement_it_cannot_be_taken_back(counted, sql):
    with pytest.raises(Conflict, match="cannot be taken back"):
        plans.rollback(ran(meant(statement=SET, count=COUNT)))
