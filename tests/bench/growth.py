"""growth: with millions of events kept and a long backlog, applying, status and look-ups stay as fast as when empty."""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import threading
import time
from collections.abc import Callable, Iterable

from common import db
from deploy.local.postgres import Cluster
from tests.bench import events, lab
from tests.bench.apply import fill
from tests.bench.lab import OWNER, ROOT, Database, Result

EVENTS = 50_000  # for a run to choose from
SECONDS = 5  # of a run, of which 80 % are worked
ASKED = 100  # requests of each status path
CLEANED = 20  # small batches of the clean-up
# Every read of the whole, with the milliseconds that it may take.
READ = {
    "/queue/stats": 100,
    "/webhooks/health": 100,
    "/api/tds/monitoring/health": 100,
    "/dashboard/metrics": 100,
    "/metrics": 100,
    "/api/status": 100,
    "/api/tds/data-validation/products": 100,
    "/api/tds/data-validation/integrity": 100,
    "/api/tds/data-validation/orphans": 100,
    "/health": 50,
}
MAIN = ROOT / "functions" / "main.py"
# What receiving and applying leave behind for events {lo}..{hi}, over the last {days} days, as one statement per table.
KEPT = """
    insert into tds_inbox_events (
           id, source_type, entity_type, source_entity_id, received_at, source_modified_at, rank, is_valid, moved_to_queue, processed_at,
           signature_verified, signed_by, organization_id, idempotency_key, content_hash, payload_path, method, webhook_headers,
           raw_payload, raw_body)
    select kept.id, 'zoho', 'product', '9830' || lpad((n % ({hi} / 5 + 1))::text, 12, '0'), at, at, at + interval '150 s', true, true, at, true, 'zoho:0',
           '748369814', to_hex(1700000000 + n) || '-' || md5(n::text), md5(n::text), '{{item}}', 'POST', '{{"content-type": "application/json"}}',
           jsonb_build_object('item', jsonb_build_object('item_id', n, 'text', repeat(md5(n::text), {copies}))),
           convert_to(repeat(md5(n::text), {copies}), 'UTF8')
      from generate_series({lo}, {hi}) n
     cross join lateral (select md5('kept' || n)::uuid as id, now() - (1 - n / {total}.0) * interval '{days} days' as at) kept;
    insert into tds_sync_queue (
           id, inbox_event_id, entity_type, source_entity_id, operation_type, status, attempt_count, created_at, started_at, completed_at,
           target_entity_id, processing_result)
    select id, id, entity_type, source_entity_id, operation_type, 'completed', 1, received_at, received_at, received_at, source_entity_id,
           '{{"outcome": "applied"}}'
      from tds_inbox_events where id in (select md5('kept' || n)::uuid from generate_series({lo}, {hi}) n);
    insert into tds_sync_logs (id, sync_queue_id, entity_type, source_entity_id, operation_type, operation_status, attempt_number, "timestamp")
    select id, id, entity_type, source_entity_id, operation_type, 'completed', 1, completed_at
      from tds_sync_queue where id in (select md5('kept' || n)::uuid from generate_series({lo}, {hi}) n);
    insert into tds_audit_trail (id, entity_type, entity_id, operation, new_value, changed_by, change_source, changed_at, sync_queue_id)
    select id, entity_type, source_entity_id, 'update', '{{"rate": "129.5"}}', 'tidemark', 'zoho', completed_at, id
      from tds_sync_queue where id in (select md5('kept' || n)::uuid from generate_series({lo}, {hi}) n);
"""
RECORDS = """
    insert into erp.products (organization_id, source_id, name, sku, rate, source_modified_at, observed_at, detail_document, detail_hash, provenance)
    select '748369814', '9830' || lpad(n::text, 12, '0'), 'Lamp', 'L-' || n, 12.5, now(), now(),
           jsonb_build_object('item_id', n, 'text', repeat(md5(n::text), {copies})), md5(n::text), 'zoho'
      from generate_series({lo}, {hi}) n
"""
WAITING = """
    with stored as (
        insert into tds_inbox_events (
               id, source_type, entity_type, source_entity_id, source_modified_at, rank, signature_verified, organization_id, idempotency_key,
               content_hash, payload_path, raw_payload)
        select md5('waiting' || n)::uuid, 'zoho', 'product', '9840' || n, now(), now() + interval '1 day' + n * interval '1 ms', true, '748369814',
               to_hex(1800000000 + n) || '-' || md5('waiting' || n), md5(n::text), '{{item}}',
               jsonb_build_object('item', jsonb_build_object('item_id', '9840' || n, 'name', 'Lamp', 'rate', 12.5))
          from generate_series({lo}, {hi}) n
        returning id, rank
    )
    insert into tidemark.ready_events (id, rank) select id, rank from stored
"""
# A month of minutes, and what came since the last fold.
COUNTED = """
    insert into tidemark.rollups (name, minute, amount)
    select name, minute, 100
      from unnest('{received,completed,applied,unchanged,superseded,waiting,duplicate,refused,quarantined,retried,latency_le_0.5,latency_us}'::text[]) name
     cross join generate_series(date_trunc('minute', now()) - interval '30 days', now(), interval '1 minute') minute;
    insert into tidemark.deltas (name, amount)
    select name, 1 from unnest('{received,waiting,completed,applied}'::text[]) name cross join generate_series(1, 5000) n;
"""
STEP = 100_000


def run(cluster: Cluster, *, rounds: int, size: int, **_: object) -> Result:
    """Measure."""
    result = Result("growth")
    with contextlib.ExitStack() as stack:
        empty = stack.enter_context(lab.database(cluster, "bench_empty"))
        grown = stack.enter_context(lab.database(cluster, "bench_grown"))
        backlog = size // 10
        _grow(grown, size, backlog)
        counter = iter(range(400_000_000, 500_000_000, EVENTS))
        databases = {"empty": empty, "grown": grown}
        found = lab.alternate(rounds, {name: lambda each=each: rate(each, next(counter)) for name, each in databases.items()})
        result.numbers = [{"what": f"apply, {name}", **numbers} for name, numbers in found.items()]
        result.goal("apply rate, times that of empty", found["grown"]["per_second"] / found["empty"]["per_second"], 0.9)
        for (path, wanted), times in zip(READ.items(), _asked(grown, READ), strict=True):
            result.numbers.append({"what": path, "p50_ms": lab.percentile(times, 50), "p95_ms": lab.percentile(times, 95)})
            result.goal(f"{path} p95", lab.percentile(times, 95), wanted, " ms", at_least=False)
        for what, statement in {
            "event by id": f"select * from tds_inbox_events where id = md5('kept{size // 2}')::uuid",
            "events of an entity's id": "select * from tds_inbox_events where source_entity_id = '9830000000000007' order by received_at desc limit 50",
        }.items():
            grown.sql(statement)
            times = sorted(_timed(lambda statement=statement: grown.sql(statement)) for _ in range(ASKED))
            result.goal(f"{what}, p95", lab.percentile(times, 95), 10, " ms", at_least=False)
        longest, deleted = _cleaned(grown)
        result.goal("7-day clean-up, longest transaction", longest, 1, " s", at_least=False)
        result.notes.append(
            f"{size:,} events kept, {backlog:,} waiting; the clean-up removed {deleted:,} in {CLEANED} batches while others wrote."
        )
    return result


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _grow(database: Database, size: int, backlog: int) -> None:
    began = time.monotonic()
    for lo in range(1, size + 1, STEP):
        database.sql(KEPT.format(lo=lo, hi=min(lo + STEP - 1, size), total=size, days=10, copies=12))
    for lo in range(1, size // 5 + 1, STEP):
        database.sql(RECORDS.format(lo=lo, hi=min(lo + STEP - 1, size // 5), copies=12))
    for lo in range(1, backlog + 1, STEP):
        database.sql(WAITING.format(lo=lo, hi=min(lo + STEP - 1, backlog)))
    database.sql(
        "insert into tidemark.totals (name, amount) "
        f"values ('received', {size + backlog}), ('completed', {size}), ('applied', {size}), ('waiting', {backlog})"
    )
    database.sql(COUNTED)
    database.sql("vacuum analyze")
    database.sql("checkpoint")
    lab.say(f"   {size:,} events made in {time.monotonic() - began:.0f} s")


def rate(database: Database, first: int) -> dict[str, float]:
    """Apply new events, which stand before the backlog by their rank, in one process for some seconds."""
    fill(database, [events.item(number) for number in range(first, first + EVENTS)])
    report = lab.workers(database.environment(FUNCTION_TIMEOUT_SECONDS=str(SECONDS)))[0]
    database.sql("checkpoint")
    applied = report["outcomes"]["applied"]
    return {"per_second": applied / report["seconds"], "py_us": report["cpu_seconds"] / applied * 1e6}


def _asked(database: Database, paths: Iterable[str]) -> list[list[float]]:
    """Milliseconds of each answer, sorted, for each path."""
    port = lab.free_port()
    database.sql("update tidemark.settings set value = '100000' where key like 'operator.calls_per%'")
    found = []
    for target, own in itertools.groupby(paths, lambda path: "health" if path == "/health" else "status"):
        with lab.running(lab.framework(MAIN, target, port), database.environment(), f"growth_{target}"):
            lab.wait_for(port)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

            def ask(path: str, connection: http.client.HTTPConnection = connection) -> None:
                connection.request("GET", path, headers={"Authorization": f"Bearer {OWNER}"})
                answer = connection.getresponse()
                said = answer.read()
                assert answer.status == 200, said

            for path in own:
                ask(path)
                found.append(sorted(_timed(functools.partial(ask, path)) for _ in range(ASKED)))
            connection.close()
    return found


def _cleaned(database: Database) -> tuple[float, int]:
    """Seconds of the longest batch of the clean-up, and how many rows went, while somebody else stores and applies."""
    enough = threading.Event()
    broken: list[BaseException] = []

    def write() -> None:
        number = 600_000_000
        while not enough.is_set():
            try:
                fill(database, [events.item(each) for each in range(number, number + 1000)])
            except BaseException as error:  # noqa: BLE001 - told by the main thread
                broken.append(error)
                return
            number += 1000

    writer = threading.Thread(target=write)
    writer.start()
    longest, deleted = 0.0, 0
    try:
        for _ in range(CLEANED):
            began = time.perf_counter()
            deleted += database.value("select tds_cleanup_old_inbox_events(7)")
            longest = max(longest, time.perf_counter() - began)
    finally:
        enough.set()
        writer.join()
        db.pool().discard()
    assert not broken, broken
    return longest, deleted
