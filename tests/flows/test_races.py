"""Races: what two connections can do to each other, played out on a real Postgres."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

import pytest

from common import db
from common.errors import Unavailable
from common.flows import process, receive, ring, tick
from common.stores import bells, inbox, queue
from common.stores.queue import Failure, Lease
from tests.chaos import check
from tests.chaos.doomed import LEFT, Doomed
from tests.make import a_request, an_invoice, an_item, send, signed

RECEIPT = process.BATCH_LEASE + timedelta(seconds=1)
LEASE = timedelta(seconds=301)
RETRY = timedelta(seconds=61)
SECONDS = 20


def at(minute: int) -> str:
    return f"2026-06-09T20:{minute:02}:00Z"


@pytest.fixture
def threads():
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def holding(sql, database_url):
    """`with holding("select ... for update") as blocked:` what it locks stays locked inside; `blocked(2)` returns once
    two sessions wait for a lock."""  # fmt: skip
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0"

    def blocked(count=1):
        until = time.monotonic() + SECONDS
        while sql(waiting) != [[count]]:
            assert time.monotonic() < until, "nobody waits"
            time.sleep(0.005)

    @contextmanager
    def hold(statement):
        connection = db.Connection(db.Address(database_url))
        try:
            connection.script(f"begin; {statement}")
            yield blocked
            connection.script("commit")
        finally:
            connection.close()

    return hold


@pytest.fixture
def checked(database_url):
    """Every effect is recorded; `checked(answers)` is what the checker has to say."""
    check.record_effects(database_url)
    return lambda answers=(), poison=(): check.faults(database_url, answers, poison)


@pytest.fixture
def doomed(database_url):
    started = Doomed(database_url)
    yield started
    started.close()


def rules():
    return process.rules_for("test")


def claim(limit):
    with db.transaction("worker") as tx:
        return inbox.claim(tx, limit=limit, lease=process.BATCH_LEASE, locked_by="test")


def claim_due(limit=1):
    with db.transaction("worker") as tx:
        return queue.claim(tx, limit=limit, lease=LEASE, worker="test")


def failed_once(**fields) -> UUID:
    """The id of an event whose first attempt has failed."""
    event = UUID(send("products", an_item(**fields))["event_id"])
    with db.transaction("worker") as tx:
        queue.fail_first(tx, [Failure(event, 0.0, "test", "as asked")], priorities={}, attempts=3, worker="test")
    return event


def drained(turn_clock):
    """Process until nothing waits, turning the clock over every wait."""
    for _ in range(20):
        process.process()
        turn_clock(LEASE)
    process.process()


# Claims ----------------------------------------------------------------------------------------------------------


def test_two_claims_at_the_same_time_take_disjoint_events(sql):
    send("products", {"events": [an_item(str(number)) for number in range(10)]})
    with db.transaction("worker") as one, db.transaction("worker") as two:
        first = inbox.claim(one, limit=4, lease=process.BATCH_LEASE, locked_by="one")
        second = inbox.claim(two, limit=100, lease=process.BATCH_LEASE, locked_by="two")
    receipts = dict(sql("select token, ids from tidemark.receipts"))
    assert (len(receipts[first]), len(receipts[second])) == (4, 6)
    assert not set(receipts[first]) & set(receipts[second])
    assert claim(100) is None


def test_many_claims_at_once_lead_to_every_event_being_taken_once(sql, threads):
    send("products", {"events": [an_item(str(number)) for number in range(400)]})

    def work(_):
        taken = []
        done = "delete from tidemark.ready_events where id in (select jsonb_array_elements_text(:ids::jsonb)::uuid)"
        while (token := claim(7)) is not None:
            with db.transaction("worker") as tx:
                events = [str(event.id) for event in inbox.take(tx, token)]
                taken += events
                tx.statement(done, {"ids": json.dumps(events)})
                assert inbox.settle(tx, token)
        return taken

    taken = list(itertools.chain(*threads.map(work, range(8))))
    assert len(taken) == len(set(taken)) == 400
    assert sql("select count(*) from tidemark.receipts") == [[0]]


def test_an_event_that_stands_in_two_receipts_is_taken_by_one_worker_only(sql):
    send("products", {"events": [an_item(str(number)) for number in range(5)]})
    first = claim(5)
    sql("insert into tidemark.receipts select nextval('tidemark.token'), ids, leased_until, 'twin' from tidemark.receipts")
    second = sql("select max(token) from tidemark.receipts")[0][0]
    with db.transaction("worker") as one, db.transaction("worker") as two:
        assert len(inbox.take(one, first)) == 5
        assert inbox.take(two, second) == []


@pytest.mark.usefixtures("database_url")
def test_two_claims_of_due_events_at_the_same_time_take_disjoint_ones():
    wanted = {failed_once(item_id=str(number)) for number in range(3)}
    with db.transaction("worker") as one, db.transaction("worker") as two:
        first = queue.claim(one, limit=2, lease=LEASE, worker="one")
        second = queue.claim(two, limit=5, lease=LEASE, worker="two")
    assert (len(first), len(second)) == (2, 1)
    assert {lease.id for lease in first + second} == wanted
    assert len({lease.token for lease in first + second}) == 3


# Workers that come back too late ---------------------------------------------------------------------------------


def test_a_worker_that_outlives_its_receipt_writes_nothing(sql, turn_clock, checked):
    answer = send("products", an_item())
    token = claim(10)
    turn_clock(RECEIPT)
    assert process.sweep(rules()) == 1
    late = process.Batches(rules(), process.Report())
    late._token = token
    assert late.apply_next() == 0
    assert sql("select count(*) from erp.products") == [[0]]
    assert sql("select status, attempt_count from tds_sync_queue") == [["retry", 1]]
    drained(turn_clock)
    assert sql("select status, attempt_count from tds_sync_queue") == [["completed", 2]]
    assert checked([answer]) == []


def test_a_sweep_leaves_a_batch_alone_that_is_slow_but_alive(sql, turn_clock, threads, holding, checked):
    answers = [send("products", an_item())]
    process.process()
    answers.append(send("products", an_item(at=at(59), name="Newer")))
    with holding("select from erp.products for update") as blocked:
        slow = threads.submit(process.process)
        blocked()
        turn_clock(RECEIPT)
        started = time.monotonic()
        assert process.sweep(rules()) == 0
        assert time.monotonic() - started < 1.5, "the sweep waited for the worker"
    assert slow.result(SECONDS).outcomes == {"applied": 1}
    assert sql("select status, attempt_count from tds_sync_queue") == [["completed", 1], ["completed", 1]]
    assert checked(answers) == []


def test_a_receipt_left_over_from_work_that_was_committed_changes_nothing_when_it_is_swept(sql, turn_clock, checked):
    answers = [send("products", an_item()), send("products", an_item("2", rate="much"))]
    claim(10)
    sql("insert into tidemark.receipts select nextval('tidemark.token'), ids, leased_until, 'twin' from tidemark.receipts")
    worker = process.Batches(rules(), process.Report())
    (worker._token,) = sql("select min(token) from tidemark.receipts")[0]
    assert worker.apply_next() == 2
    turn_clock(RECEIPT)
    process.sweep(rules())
    assert sql("select status, attempt_count from tds_sync_queue") == [["completed", 1]]
    assert sql("select tidemark.total('retried')") == [[0]]
    assert checked(answers) == []


def test_finishing_after_the_lease_was_taken_over_is_refused(sql, turn_clock):
    event = failed_once()
    (mine,) = claim_due()
    turn_clock(LEASE + timedelta(seconds=1))
    assert process.sweep(rules()) == 1
    turn_clock(RETRY)
    (theirs,) = claim_due()
    assert (theirs.id, theirs.attempt) == (event, 3)
    assert theirs.token > mine.token
    with db.transaction("worker") as tx:
        assert queue.take(tx, mine) is None
        assert not queue.complete(tx, mine, outcome="applied", ambiguous=False, worker="late")
        assert not queue.refuse(tx, mine, [{"pointer": "", "message": "late"}])
        assert not queue.fail(tx, mine, code="late", message="late", wait=timedelta(0), final=True, worker="late")
    with db.transaction("worker") as tx:
        assert queue.take(tx, theirs) is not None
        assert queue.complete(tx, theirs, outcome="applied", ambiguous=False, worker="test")
        assert not queue.complete(tx, theirs, outcome="applied", ambiguous=False, worker="again")
    assert sql("select tidemark.total('completed'), tidemark.total('dead_letter')") == [[1, 0]]


def test_a_sweep_leaves_a_lease_alone_whose_worker_is_finishing(sql, turn_clock):
    failed_once()
    (lease,) = claim_due()
    turn_clock(LEASE + timedelta(seconds=1))
    with db.transaction("worker") as tx:
        assert queue.take(tx, lease) is not None
        assert process.sweep(rules()) == 0
        assert queue.complete(tx, lease, outcome="applied", ambiguous=False, worker="test")
    assert sql("select status, attempt_count from tds_sync_queue") == [["completed", 2]]


# One record, two workers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["older first", "newer first"])
def test_two_versions_applied_at_the_same_time_leave_lines_and_audit_of_the_newer(sql, threads, holding, checked, order):
    answers = [send("invoices", an_invoice(at=at(0), lines=4))]
    process.process()
    workers = []
    with holding("select from erp.invoices for update") as blocked:
        for number, version in enumerate(order, 1):
            answers.append(send("invoices", an_invoice(at=at(version), lines=version, invoice_number=f"INV-{version}")))
            workers.append(threads.submit(process.process))
            blocked(number)
    outcomes = [worker.result(SECONDS).outcomes for worker in workers]
    assert outcomes[order.index(2)] == {"applied": 1}
    assert sql("select source_modified_at, invoice_number from erp.invoices") == [
        [datetime(2026, 6, 9, 20, 2, tzinfo=UTC), "INV-2"]
    ]
    assert sql("select line_no, name from erp.invoice_lines order by line_no") == [[0, at(2)], [1, at(2)]]
    before = sql("select old_value ->> 'invoice_number' from tds_audit_trail where new_value ->> 'invoice_number' = 'INV-2'")
    assert before == [["INV-1" if outcomes[order.index(1)] == {"applied": 1} else "INV-7"]]
    assert checked(answers) == []


def test_of_two_first_versions_at_the_same_time_one_is_applied_after_the_other(sql, threads, holding, checked):
    first = send("invoices", an_invoice(at=at(1), lines=3))
    with holding(f"select from tds_inbox_events where id = '{first['event_id']}' for update") as blocked:
        # The first worker has inserted the record and now waits to say so; the second sees nothing to lock yet.
        one = threads.submit(process.process)
        blocked(1)
        second = send("invoices", an_invoice(at=at(2), lines=2))
        two = threads.submit(process.process)
        blocked(2)
    assert (one.result(SECONDS).outcomes, two.result(SECONDS).outcomes) == ({"applied": 1}, {"applied": 1})
    assert sql("select name from erp.invoice_lines order by line_no") == [[at(2)], [at(2)]]
    assert sql("select operation::text from tds_audit_trail order by operation") == [["create"], ["update"]]
    assert checked([first, second]) == []


def test_an_older_first_version_that_waited_for_a_newer_one_is_superseded(threads, holding, checked):
    newer = send("invoices", an_invoice(at=at(2), lines=2))
    with holding(f"select from tds_inbox_events where id = '{newer['event_id']}' for update") as blocked:
        one = threads.submit(process.process)
        blocked(1)
        older = send("invoices", an_invoice(at=at(1), lines=3))
        two = threads.submit(process.process)
        blocked(2)
    assert (one.result(SECONDS).outcomes, two.result(SECONDS).outcomes) == ({"applied": 1}, {"superseded": 1})
    assert checked([newer, older]) == []


def test_a_record_that_somebody_holds_locked_does_not_stop_the_others(sql, holding, turn_clock, checked):
    sql("""update tds_configuration set config_value = '"10"' where config_key = 'max_retry_attempts'""")
    answers = [send("products", an_item("held", at(0)))]
    process.process()
    answers.append(send("products", {"events": [an_item(str(number)) for number in range(20)]}))
    answers.append(send("products", an_item("held", at(1))))
    with holding("select from erp.products where source_id = 'held' for update"):
        for _ in range(3):
            with contextlib.suppress(Unavailable):
                process.process()
            turn_clock(RETRY)
        assert sql("select count(*) from erp.products where source_id <> 'held'") == [[20]]
    drained(turn_clock)
    assert sql("select source_modified_at from erp.products where source_id = 'held'") == [
        [datetime(2026, 6, 9, 20, 1, tzinfo=UTC)]
    ]
    assert checked(answers) == []


# Receiving -------------------------------------------------------------------------------------------------------


def test_concurrent_groups_with_overlapping_keys_do_not_deadlock_and_store_each_once(sql, threads):
    rows = receive.read(signed(a_request("products", {"events": [an_item(str(number)) for number in range(60)]}))).rows

    def work(seed):
        chance, stored = random.Random(seed), 0
        for _ in range(12):
            group = chance.sample(rows, 40)
            stored += len(group) - len(inbox.receive(group).odd)
        return stored

    assert sum(threads.map(work, range(8))) == 60
    assert sql("select count(*), count(distinct idempotency_key) from tds_inbox_events") == [[60, 60]]
    assert sql("select count(*) from tidemark.duplicates") == [[8 * 12 * 40 - 60]]
    assert sql("select tidemark.total('received'), tidemark.total('duplicate')") == [[60, 8 * 12 * 40 - 60]]


def test_a_duplicate_that_arrives_while_the_original_is_being_applied_is_only_counted(threads, holding, checked):
    first = send("products", an_item())
    process.process()
    second = send("products", an_item(at=at(59), name="Newer"))
    with holding("select from erp.products for update") as blocked:
        worker = threads.submit(process.process)
        blocked()
        again = send("products", an_item(at=at(59), name="Newer"))
    assert (again["event_id"], again["queued"]) == (second["event_id"], False)
    assert worker.result(SECONDS).outcomes == {"applied": 1}
    assert process.process().outcomes == {}
    assert checked([first, second, again]) == []


# Bells -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("database_url")
def test_work_that_comes_after_the_silence_rings():
    assert inbox.receive(a_group("1")).ring
    assert not inbox.receive(a_group("2")).ring
    with db.transaction("worker") as tx:
        bells.silence(tx, "process")
    assert inbox.receive(a_group("3")).ring


@pytest.mark.usefixtures("database_url")
def test_work_that_comes_with_the_silence_is_seen_by_the_last_look():
    inbox.receive(a_group("1"))
    assert claim(1) is not None
    with db.transaction("worker") as tx:
        bells.silence(tx, "process")
        assert not inbox.receive(a_group("2")).ring  # it does not wait for the row of the bell
    assert claim(1) is not None


def test_a_worker_that_falls_silent_looks_once_more(threads, holding):
    send("products", an_item("1"))
    with holding("select from tidemark.bells for update") as blocked:
        worker = threads.submit(process.process)
        blocked()  # it found nothing more and is about to say so; what comes now rings nobody
        assert not inbox.receive(a_group("2")).ring
    assert worker.result(SECONDS).outcomes == {"applied": 2}


def test_work_that_is_committed_after_the_last_look_is_rung_for_after_its_commit(sql, threads, holding, configured):
    """The receiver found the bell rung, the worker fell silent and looked, and only then did the receiver commit."""
    with _tasks() as (endpoint, tasks):
        configured(TASKS_ENDPOINT=endpoint)
        send("products", an_item("1"))
        process.process()
        sql("update tidemark.bells set rung_at = app_now()")
        with holding("lock table tidemark.deltas") as blocked:
            started = time.time()
            late = threads.submit(send, "products", an_item("2"))
            blocked()
            # Other work of the same second has already rung for that second.
            ring._rung["process"] = int(started)
            until = int(started) + 1.2
            while time.time() < until:
                time.sleep(0.01)
        late.result(SECONDS)
        committed = sql("select extract(epoch from clock_timestamp())::float8")[0][0]
        due = [task["scheduleTime"] for task in tasks if "scheduleTime" in task]
    assert due, "nobody rings for it"
    assert datetime.fromisoformat(due[-1]).timestamp() > committed - 0.2


def test_what_a_tick_swept_is_rung_for_when_it_is_due(sql, turn_clock, configured):
    with _tasks() as (endpoint, tasks):
        configured(TASKS_ENDPOINT=endpoint)
        send("products", an_item())
        claim(10)
        turn_clock(RECEIPT)
        tasks.clear()
        assert tick.tick().swept == 1
        (due,) = sql("select extract(epoch from next_retry_at)::float8 from tds_sync_queue")[0]
        assert [task for task in tasks if datetime.fromisoformat(task["scheduleTime"]).timestamp() >= due]


def a_group(item_id):
    return receive.read(signed(a_request("products", an_item(item_id)))).rows


@contextmanager
def _tasks():
    """A queue that takes every task and delivers none: its address, and the tasks."""
    taken = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["task"])
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", taken
    finally:
        from common.queues import cloud_tasks

        cloud_tasks._local.connection = None
        cloud_tasks._client.cache_clear()
        server.shutdown()
        server.server_close()
        thread.join()


# Dead letters ----------------------------------------------------------------------------------------------------


def _dead(sql) -> tuple[UUID, UUID]:
    """An event that is a dead letter, and the letter."""
    event = failed_once()
    (lease,) = claim_due()
    with db.transaction("worker") as tx:
        assert queue.fail(tx, lease, code="x", message="x", wait=timedelta(0), final=True, worker="test")
    return event, sql("select id from tds_dead_letter_queue where not resolved")[0][0]


def test_two_operators_who_revive_one_dead_letter_give_it_one_attempt(sql, threads):
    event, letter = _dead(sql)

    def revive(_):
        with db.transaction("operator") as tx:
            return queue.revive(tx, letter, actor="somebody")

    assert sorted(threads.map(revive, range(4)), key=str) == sorted([event, None, None, None], key=str)
    assert sql("select status, attempt_count, max_retry_attempts from tds_sync_queue") == [["retry", 2, 3]]
    assert sql("select tidemark.total('revived')") == [[1]]


def test_an_event_buried_by_a_sweep_and_revived_is_not_finished_by_the_worker_who_lost_it(sql, turn_clock, checked):
    event = failed_once()
    for _ in range(2):
        (lost,) = claim_due()
        turn_clock(LEASE + timedelta(seconds=1))
        assert process.sweep(rules()) == 1
        turn_clock(RETRY)
    letter = sql("select id from tds_dead_letter_queue where not resolved")[0][0]
    with db.transaction("operator") as tx:
        assert queue.revive(tx, letter, actor="somebody") == event
        assert process.sweep(rules()) == 0
    for lease in (lost, Lease(event, lost.token, lost.attempt + 1)):
        with db.transaction("worker") as tx:
            assert not queue.complete(tx, lease, outcome="applied", ambiguous=False, worker="late")
    assert process.process().outcomes == {"applied": 1}
    assert sql("select status, attempt_count from tds_sync_queue") == [["completed", 4]]
    assert checked([{"event_id": str(event)}]) == []


def test_an_event_that_kills_its_worker_dies_alone_after_its_attempts(sql, turn_clock, doomed, checked):
    good = [send("products", an_item(str(number))) for number in range(12)]
    poison = send("products", an_item("poison", name="poison"))
    good += [send("products", an_item(str(number))) for number in range(12, 24)]
    deaths = 0
    for _ in range(12):
        deaths += doomed.order("poison") == LEFT
        for lease in (RECEIPT, RETRY, LEASE):
            turn_clock(lease)
    assert deaths == 3
    assert sql("select error_code, total_attempts from tds_dead_letter_queue") == [["crashed", 3]]
    assert sql("select max(attempt_count) from tds_sync_queue where status = 'completed'") == [[2]], "its neighbours paid for it"
    assert checked([*good, poison], [poison["event_id"]]) == []
