"""Races of pages: with webhooks and with other pages, on the same records, played out on a real Postgres."""

from __future__ import annotations

import contextlib
import json
import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common import db, entities
from common.errors import Replayable, Unavailable
from common.flows import process
from common.stores import pages
from tests.conftest import ORGANIZATION
from tests.make import an_invoice, send

SECONDS = 30
WRITERS = 8
NOON = datetime(2026, 6, 9, 12, tzinfo=UTC)
RUN = uuid.UUID(int=1)
AN_INSERT = f"insert into erp.invoices (organization_id, source_id, observed_at, provenance) values ('{ORGANIZATION}', '999', now(), 'zoho')"


def at(second: int) -> str:
    return (NOON + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


def a_list(key: str, rows: list[dict[str, Any]]) -> str:
    return json.dumps({"code": 0, key: rows})


def a_row(number: int, second: int) -> dict[str, Any]:
    return {"invoice_id": f"{number:03}", "invoice_number": at(second), "last_modified_time": at(second), "total": second}


def a_price_list(number: int, version: int) -> dict[str, Any]:
    lines = [{"pricebook_item_id": n, "item_id": n, "pricebook_rate": version} for n in range(version % 4)]
    return {"pricebook_id": f"{number:03}", "name": f"version {version}", "pricebook_items": lines}


def merge(label: str, page: str, served_at: datetime) -> pages.Merged:
    entity = entities.by_label()[label]
    key = {"invoice": "invoices", "price_list": "pricebooks"}[label]

    def work(tx, careful) -> pages.Merged:
        return pages.merge(
            tx, entity, ORGANIZATION, page, key, served_at=served_at, provenance="scheduled", run=RUN, careful=careful
        )

    return pages.replayed(work, "worker", lock=timedelta(seconds=20), timeout=timedelta(seconds=20))


@pytest.fixture
def threads():
    with ThreadPoolExecutor(WRITERS) as pool:
        yield pool


@pytest.fixture
def holding(sql, database_url):
    """`with holding("select ... for update") as blocked:` what it locks stays locked; `blocked(2)` once two sessions wait."""
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0"

    def blocked(count=1):
        until = time.monotonic() + SECONDS
        while sql(waiting) != [[count]]:
            assert time.monotonic() < until, "nobody waits"

    @contextmanager
    def hold(statement, end="commit"):
        connection = db.Connection(db.Address(database_url))
        try:
            connection.script(f"begin; {statement}")
            yield blocked
            connection.script(end)
        finally:
            connection.close()

    return hold


@pytest.fixture
def watched(monkeypatch):
    """Which transactions ran again, and why."""
    replays: list[str] = []
    monkeypatch.setattr(db.log, "warning", lambda event, **fields: replays.append(str(fields.get("reason", event))))
    return replays


def persistently(label: str, page: str, served_at: datetime) -> None:
    """As a lane does: a page whose three attempts all met others who inserted what it has comes again later."""
    for _ in range(5):
        try:
            merge(label, page, served_at)
        except Replayable:
            continue
        return
    pytest.fail("it met others fifteen times")


def drain():
    """Apply what waits; a worker that did not get a lock in time leaves its events to others."""
    with contextlib.suppress(Unavailable):
        process.process()


def test_pages_and_webhooks_on_hot_records_never_deadlock_and_the_newest_stands(sql, threads, watched):
    def write(writer: int) -> None:
        chance = random.Random(writer)
        for turn in range(12):
            numbers = sorted(chance.sample(range(60), 25), key=lambda _: chance.random())
            seconds = [chance.randrange(500) for _ in numbers]
            if writer % 2:
                rows = [a_row(number, second) for number, second in zip(numbers, seconds, strict=True)]
                persistently("invoice", a_list("invoices", rows), NOON + timedelta(hours=1, seconds=writer * 100 + turn))
            else:
                bodies = [
                    an_invoice(f"{number:03}", at(second), second % 4 + 1, invoice_number=at(second), total=second)
                    for number, second in zip(numbers, seconds, strict=True)
                ]
                send("invoices", {"events": bodies})
                drain()

    started = time.monotonic()
    list(threads.map(write, range(WRITERS)))
    drain()
    assert time.monotonic() - started < 2 * SECONDS
    assert not [said for said in watched if "waited for each other" in said], "deadlocks"
    wanted: dict[str, int] = {}
    for writer in range(WRITERS):
        chance = random.Random(writer)
        for _ in range(12):
            numbers = sorted(chance.sample(range(60), 25), key=lambda _: chance.random())
            for number in numbers:
                wanted[f"{number:03}"] = max(wanted.get(f"{number:03}", 0), chance.randrange(500))
    found = sql(
        "select source_id, extract(epoch from source_modified_at - :noon::timestamptz)::int, invoice_number, total::int from erp.invoices order by 1",
        noon=NOON,
    )
    assert found == [[identifier, second, at(second), second] for identifier, second in sorted(wanted.items())]
    mixed = sql(
        "select source_id from erp.invoice_lines group by 1 having count(distinct name) > 1 or count(*) <> max(line_no) + 1"
    )
    assert mixed == []
    wrong = sql(
        "select d.source_id from erp.invoices d join erp.invoice_lines l using (organization_id, source_id)"
        " where d.detail_hash <> '' and (l.name <> d.detail_document ->> 'last_modified_time' or l.name <> d.invoice_number) or d.detail_hash = '' and not d.detail_stale"
    )
    assert wrong == []


def test_pages_of_whole_records_never_mix_their_lines_and_the_last_reading_stands(sql, threads, watched):
    turns = [(writer, turn) for turn in range(15) for writer in range(WRITERS)]

    def write(writer: int) -> None:
        for turn in range(15):
            version = turns.index((writer, turn)) + 1
            numbers = random.Random(version).sample(range(30), 30)
            rows = [a_price_list(number, version) for number in numbers]
            merge("price_list", a_list("pricebooks", rows), NOON + timedelta(seconds=version))

    started = time.monotonic()
    list(threads.map(write, range(WRITERS)))
    assert time.monotonic() - started < 2 * SECONDS
    assert not [said for said in watched if "waited for each other" in said], "deadlocks"
    last = len(turns)
    assert sql("select distinct name from erp.price_lists") == [[f"version {last}"]]
    assert sql("select count(*), count(distinct rate), coalesce(max(rate), 0)::int from erp.price_list_items") in (
        [[30 * (last % 4), 1, last]],
        [[0, 0, 0]],
    )
    # Each change begins where the one before it ended.
    broken = sql(
        "select entity_id from (select entity_id, old_value ->> 'name' as was, new_value ->> 'name' as is,"
        " row_number() over (partition by entity_id order by split_part(new_value ->> 'name', ' ', 2)::int) as n from tds_audit_trail where operation = 'update') a"
        " where n > 1 and not exists (select from tds_audit_trail b where b.entity_id = a.entity_id and b.new_value ->> 'name' = a.was)"
    )
    assert broken == []


def test_a_page_that_waited_for_a_newer_webhook_leaves_it_alone(sql, threads, holding):
    send("invoices", an_invoice("001", at(1), lines=2))
    process.process()
    send("invoices", an_invoice("001", at(9), lines=3, invoice_number="newer"))
    with holding("select from erp.invoices for update") as blocked:
        webhook = threads.submit(process.process)
        blocked(1)
        page = threads.submit(merge, "invoice", a_list("invoices", [a_row(1, 5)]), NOON + timedelta(hours=1))
        blocked(2)
    assert webhook.result(SECONDS).outcomes == {"applied": 1}
    assert page.result(SECONDS).superseded + page.result(SECONDS).updated == 1
    assert sql("select invoice_number, detail_stale, (select count(*) from erp.invoice_lines) from erp.invoices") == [
        ["newer", False, 3]
    ]


def test_a_webhook_that_waited_for_a_newer_page_leaves_it_alone(sql, threads, holding):
    merge("invoice", a_list("invoices", [a_row(1, 1)]), NOON + timedelta(hours=1))
    with holding("select from erp.invoices for update") as blocked:
        page = threads.submit(merge, "invoice", a_list("invoices", [a_row(1, 9)]), NOON + timedelta(hours=2))
        blocked(1)
        send("invoices", an_invoice("001", at(5), lines=3))
        webhook = threads.submit(process.process)
        blocked(2)
    assert page.result(SECONDS).updated + page.result(SECONDS).superseded == 1
    webhook.result(SECONDS)
    assert sql(
        "select invoice_number, extract(epoch from source_modified_at - :noon::timestamptz)::int from erp.invoices", noon=NOON
    ) == [[at(9), 9]]


def test_of_two_first_pages_at_the_same_time_one_runs_again(sql, threads, holding, watched):
    rows = [a_row(number, 1) for number in [*range(5), 999]]
    with holding(AN_INSERT, end="rollback") as blocked:  # the first has inserted five, and waits for the sixth
        one = threads.submit(merge, "invoice", a_list("invoices", rows), NOON + timedelta(hours=1))
        blocked(1)
        two = threads.submit(
            merge, "invoice", a_list("invoices", [a_row(number, 2) for number in range(5)]), NOON + timedelta(hours=2)
        )
        blocked(2)
    assert (one.result(SECONDS).inserted, two.result(SECONDS).inserted, two.result(SECONDS).updated) == (6, 0, 5)
    assert watched == ["Others inserted 5 records of invoice at the same time."]
    assert sql(
        "select count(*) filter (where operation = 'create'), count(*) filter (where operation = 'update') from tds_audit_trail"
    ) == [[6, 5]]


def test_what_others_inserted_meanwhile_is_not_decided_in_the_same_transaction(sql, threads, holding, database_url):
    with holding(AN_INSERT, end="rollback") as blocked:
        one = threads.submit(merge, "invoice", a_list("invoices", [a_row(1, 1), a_row(999, 1)]), NOON + timedelta(hours=1))
        blocked(1)

        def once() -> pages.Merged:
            with db.transaction("worker", lock=timedelta(seconds=20)) as tx:
                return pages.merge(
                    tx, entities.by_label()["invoice"], ORGANIZATION, a_list("invoices", [a_row(1, 2)]), "invoices",
                    served_at=NOON + timedelta(hours=2), provenance="scheduled", run=RUN,
                )  # fmt: skip

        two = threads.submit(once)
        blocked(2)
    assert one.result(SECONDS).inserted == 2
    with pytest.raises(Replayable):
        two.result(SECONDS)
