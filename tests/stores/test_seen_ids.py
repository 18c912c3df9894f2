"""Seen ids: what a run has not come across is asked for, and nothing that has an excuse."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest

from common import db, entities
from common.stores import seen_ids
from tests.conftest import ORGANIZATION

PLAN, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
PRODUCT = entities.by_label()["product"]


def add(page: int, *ids: str, plan: uuid.UUID = PLAN, stage: int = 0) -> None:
    with db.transaction("worker") as tx:
        seen_ids.add(tx, plan, stage, page, ids, rows=len(ids))


def repeats(page: int, *ids: str, plan: uuid.UUID = PLAN) -> bool:
    with db.transaction("worker") as tx:
        return seen_ids.repeats(tx, plan, 0, page, ids)


def missing(since: datetime, *, limit: int = 100, plan: uuid.UUID = PLAN, stage: int = 0) -> list[str]:
    with db.transaction("worker") as tx:
        return seen_ids.missing(tx, PRODUCT, ORGANIZATION, plan, stage, since=since, limit=limit)


def products(sql: Any, number: int, **more: str) -> None:
    names = "".join(f", {name}" for name in more)
    values = "".join(f", {value}" for value in more.values())
    sql(
        f"insert into erp.products (organization_id, source_id, observed_at, provenance{names})"
        f" select '{ORGANIZATION}', 'p' || lpad(n::text, 6, '0'), app_now(), 'scheduled'{values} from generate_series(1, {number}) n"
    )


@pytest.fixture
def start(sql):
    """A run that began ten minutes after everything there was made."""
    return sql("select app_now() + interval '10 minutes'")[0][0]


def test_what_no_page_had_is_missing_in_order_and_bounded(sql, start):
    products(sql, 6)
    add(1, "p000005", "p000002")
    add(2, "p000002", "p000003")
    assert missing(start) == ["p000001", "p000004", "p000006"]
    assert missing(start, limit=2) == ["p000001", "p000004"]
    assert len(missing(start, plan=OTHER)) == len(missing(start, stage=1)) == 6


def test_what_is_deleted_or_new_or_was_read_since_is_not_missing(sql, start):
    products(sql, 4)
    sql("update erp.products set deleted_at = app_now() where source_id = 'p000001'")
    sql(f"update erp.products set created_at = '{start - timedelta(minutes=4)}' where source_id = 'p000002'")
    sql(f"update erp.products set observed_at = '{start - timedelta(minutes=4)}' where source_id = 'p000003'")
    assert missing(start) == ["p000004"]


def test_a_page_that_is_done_again_replaces_what_it_had(sql, start):
    products(sql, 2)
    add(1, "p000001")
    add(1, "p000002", "p000002")
    assert sql("select ids, rows from tidemark.seen_ids") == [[["p000002"], 2]]
    assert missing(start) == ["p000001"]


@pytest.mark.usefixtures("database_url")
def test_a_source_that_gives_one_page_again_and_again_is_noticed():
    add(1, "b", "a")
    assert repeats(2, "a", "b")
    assert repeats(2, "b", "a", "a")
    assert not repeats(1, "a", "b")
    assert not repeats(2, "a", "b", "c")
    assert not repeats(2, "a")
    assert not repeats(2, "a", "b", plan=OTHER)
    add(3)
    assert not repeats(4)


def test_pages_of_plans_long_ended_are_forgotten_in_bounded_steps(sql, turn_clock):
    for page in range(5):
        add(page, "a")
    turn_clock(timedelta(days=8))
    add(0, "a", plan=OTHER)
    counts = []
    for _ in range(3):
        with db.transaction("worker") as tx:
            counts.append(seen_ids.clean_up(tx, days=7, limit=3))
    assert counts == [3, 2, 0]
    assert sql("select plan from tidemark.seen_ids") == [[OTHER]]


def test_a_plan_that_still_runs_keeps_its_first_pages(sql, turn_clock):
    add(1, "a")
    turn_clock(timedelta(days=8))
    add(2, "b")
    with db.transaction("worker") as tx:
        assert seen_ids.clean_up(tx, days=7) == 0


def test_fifty_thousand_are_compared_by_one_hash(sql, start):
    products(sql, 50_000)
    for page in range(250):
        add(page, *(f"p{number:06}" for number in range(page * 200 + 1, page * 200 + 200)))
    sql("analyze erp.products")
    plan = sql(
        "explain (format json) " + seen_ids.rendered(PRODUCT).replace(":limit", "1000").replace(":plan", f"'{PLAN}'").replace(":stage", "0")
        .replace(":organization", f"'{ORGANIZATION}'").replace(":since", f"'{start}'")
    )  # fmt: skip
    assert "Hash" in json.dumps(plan[0][0]) or "Merge" in json.dumps(plan[0][0])
    assert missing(start, limit=1000) == [f"p{number:06}" for number in range(200, 50_001, 200)]
