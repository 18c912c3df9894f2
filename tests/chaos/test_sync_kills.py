"""Syncs and plans under kills: whatever dies, wherever, the same rows stand in the end, and every page counts once."""

from __future__ import annotations

import os
import random
import sys
import time
from datetime import timedelta

import pytest

from common.flows import plan_status, sync, work
from deploy.local.zoho import StandIn
from tests.chaos import check
from tests.chaos.doomed import DIED, Doomed
from tests.chaos.processes import Stack, durable_cluster, eventually
from tests.conftest import OWNER
from tests.make import connection

pytestmark = pytest.mark.process
LEASE = timedelta(seconds=61)
LONG = os.environ.get("TIDEMARK_LONG") == "1"
ITEMS, KILLS = (50_000, 20) if LONG else (3_000, 6)
FAST = """
    update tidemark.settings set value = '1000000' where key in ('zoho.calls_per_minute', 'zoho.calls_per_day');
    update tidemark.settings set value = '100000' where key = 'zoho.burst';
"""


@pytest.fixture
def zoho(configured):
    with StandIn(seed=5, sizes={"product": 410}) as standing:
        standing.limits.off()
        configured(**connection(standing))
        yield standing


def stands(run):
    return dict(run("select source_id, source_modified_at from erp.products where deleted_at is null"))


def test_a_worker_killed_at_any_of_its_statements_loses_and_repeats_nothing(database_url, sql, turn_clock, zoho, capsys):
    sql(FAST)
    number, code = 0, DIED
    doomed = Doomed(database_url)
    while code == DIED:
        number += 2  # every second statement: the odd ones are the other half of the same page or the next
        zoho.turn(seconds=30)
        zoho.edit("product", 3)
        plan = sync.by_hand({"mode": "full", "entity_type": "product", "force": True})[1]["plan_id"]
        code = doomed.order(f"shards {number}")
        for _ in range(6):
            turn_clock(LEASE)
            work.work()
            if plan_status.status(plan)["finished_at"]:
                break
        assert plan_status.status(plan)["status"] == "succeeded", f"killed at statement {number}"
        assert set(stands(sql)) == set(zoho.rows("product")), f"killed at statement {number}"
        assert check.plan_faults(database_url) == [], f"killed at statement {number}"
    doomed.close()
    assert code == 0
    assert number > 40
    with capsys.disabled():
        sys.stdout.write(f"\na sync was killed at {number // 2 - 1} of its statements\n")


def test_a_full_sync_that_is_killed_again_and_again_ends_with_the_same_rows(capsys):
    with durable_cluster() as cluster, StandIn(seed=6, sizes={"product": ITEMS}) as zoho:
        zoho.limits.off()
        stack = Stack(cluster)
        stack.sql(FAST)
        stack.sql("update tidemark.schedules set enabled = false")  # the turned clock passes their slots
        stack.start(FUNCTION_TIMEOUT_SECONDS="20", **connection(zoho))
        chance = random.Random(int(os.environ.get("SEED", "0")) or 6)
        try:
            authorization = f"Bearer {OWNER}"
            status, _, started = stack.ask(
                "POST", "/sync/manual", body=b'{"mode": "full", "entity_type": "product"}', authorization=authorization
            )
            assert status == 202, started
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.02, 0.4))
                stack.gateway.kill()
                stack.gateway.start()
                stack.sql("update turned.clock set skew = skew + interval '31 s'")
                stack.tick()

            def is_over():
                stack.sql("update turned.clock set skew = skew + interval '5 s'")
                stack.tick()
                return stack.sql("select finished_at is not null from tidemark.plans")[0][0]

            eventually(is_over, 120, "the end of the sync")
            assert stack.sql("select status from tidemark.plans") == [["succeeded"]], stack.gateway.said()
            wanted = {key: row["last_modified_time"] for key, row in zoho.rows("product").items()}
            assert stands(stack.sql).keys() == wanted.keys()
            assert check.plan_faults(stack.database_url) == []
            (pages,) = stack.sql(
                "select count(*) from tds_sync_logs where sync_run_id is not null and source_entity_id like 'page %'"
            )[0]
            assert pages >= ITEMS // 200
            with capsys.disabled():
                asked = sum(call.path.endswith("/items") for call in zoho.calls)
                sys.stdout.write(f"\n{ITEMS} items, {KILLS} kills: {pages} pages merged once, {asked} asked for\n")
        finally:
            stack.close()
