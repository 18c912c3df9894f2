"""A process call killed at each of its statements, and many at once on few records."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

import pytest

from common.flows import process
from tests.chaos import check
from tests.chaos.doomed import DIED, Doomed
from tests.make import an_invoice, an_item, send

pytestmark = pytest.mark.process
LEASE = timedelta(seconds=301)
WRITERS = 8
LONG = os.environ.get("TIDEMARK_LONG") == "1"


@pytest.fixture
def doomed(database_url):
    started = Doomed(database_url)
    yield started
    started.close()


def test_a_process_call_killed_at_any_of_its_statements_does_its_work_once(database_url, sql, turn_clock, doomed, capsys):
    check.record_effects(database_url)
    answers, number, code = [], 0, DIED
    while code == DIED:
        number += 1
        # A new record, an older and a newer version of one, a fault, a delete, and one that waits to be tried again.
        stamp = f"2026-06-09T10:{number // 60:02}:{number % 60:02}Z"
        answers.append(send("products", an_item(f"new-{number}")))
        answers.append(send("invoices", an_invoice("same", stamp, lines=number % 4)))
        answers.append(send("invoices", an_invoice("same", "2026-06-08T10:00:00Z", lines=2, reference_number=str(number))))
        answers.append(send("products", an_item(f"bad-{number}", rate="much")))
        answers.append(send("products", an_item(f"new-{number}", "2026-06-10T00:00:00Z") | {"event_type": "item.deleted"}))
        sql(f"""
            with event as (delete from tidemark.ready_events where id = '{answers[-5]["event_id"]}' returning id),
                 counted as (insert into tidemark.deltas (name, amount) select name, amount from event
                              cross join (values ('waiting', -1), ('retried', 1)) as counted (name, amount)),
                 moved as (update tds_inbox_events i set moved_to_queue = true from event e where i.id = e.id),
                 logged as (insert into tds_sync_logs (sync_queue_id, entity_type, source_entity_id, operation_type, operation_status, attempt_number)
                            select id, 'product', 'new-{number}', 'upsert', 'retry', 1 from event)
            insert into tds_sync_queue (id, inbox_event_id, entity_type, source_entity_id, operation_type, status, attempt_count, next_retry_at)
            select id, id, 'product', 'new-{number}', 'upsert', 'retry', 1, app_now() from event
        """)
        code = doomed.order(f"statement {number}")
        for _ in range(3):
            turn_clock(LEASE)
            process.process()
        assert check.faults(database_url, answers) == [], f"killed at statement {number}"
    assert code == 0
    with capsys.disabled():
        sys.stdout.write(f"\na process call was killed at each of its {number - 1} statements\n")
    assert number > 25


def test_many_writers_on_few_records_never_deadlock(database_url, sql, turn_clock, doomed, capsys):
    seconds = 60 if LONG else 15
    check.record_effects(database_url)
    before = _deadlocks(sql)
    codes = doomed.orders([f"writer {seconds} {seed}" for seed in range(WRITERS)])
    for _ in range(4):
        turn_clock(LEASE)
        process.process()
    (events,) = sql("select count(*) from tds_inbox_events")[0]
    with capsys.disabled():
        deadlocks = _deadlocks(sql) - before
        sys.stdout.write(f"\n{WRITERS} writers on few records for {seconds} s: {events} events, {deadlocks} deadlocks\n")
    assert codes == [0] * WRITERS
    assert _deadlocks(sql) == before
    assert check.faults(database_url, []) == []


def _deadlocks(sql):
    # A session's counts are told when it ends, at the latest.
    return sql("select pg_stat_clear_snapshot(); select deadlocks from pg_stat_database where datname = current_database()")[-1][0]
