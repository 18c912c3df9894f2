"""ticket: an incident record, deduplicated by fingerprint, open, acknowledged or resolved, and linked to its deploy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from common import db, settings
from common.stores import tickets
from tests.deploys import a_deployment

Sql = Callable[..., list[list[Any]]]


def raised(fingerprint: str = "f" * 32, **rest: Any) -> int:
    with db.transaction("worker") as tx:
        return tickets.raise_ticket(
            tx, fingerprint=fingerprint, kind="deploy.trigger", title="It failed", message="as it did", **rest
        )


def test_a_thousand_same_errors_make_one_ticket_with_a_count_of_a_thousand(sql: Sql):
    assert len({raised() for _ in range(1000)}) == 1
    assert sql("select count, status from tidemark.tickets") == [[1000, "open"]]


def test_a_thousand_same_errors_from_two_connections_at_once_make_one_ticket(sql: Sql):
    together = threading.Barrier(2)

    def work() -> None:
        together.wait(10)
        for _ in range(500):
            raised()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sql("select count, status from tidemark.tickets") == [[1000, "open"]]


def test_two_that_raise_the_first_ticket_of_a_fault_in_open_transactions_make_one(sql: Sql):
    done: list[int] = []
    with db.transaction("worker") as tx:
        first = tickets.raise_ticket(tx, fingerprint="a", kind="deploy.trigger", title="t", message="m")
        other = threading.Thread(target=lambda: done.append(raised("a")))
        other.start()
        while not sql("select 1 from pg_locks where not granted"):
            assert other.is_alive()
    other.join(10)
    assert done == [first]
    assert sql("select count from tidemark.tickets") == [[2]]


def test_a_fault_that_comes_back_after_it_was_resolved_opens_a_new_ticket_that_names_the_old(sql: Sql):
    first = raised()
    with db.transaction("operator") as tx:
        assert tickets.resolve(tx, first, actor="ann", note="put right")
    second = raised()
    with db.transaction("status") as tx:
        found, old = tickets.find(tx, second), tickets.find(tx, first)
    assert (found.former, found.count, found.status) == (first, 1, "open")
    assert (old.former, old.count, old.status) == (None, 1, "resolved")


def test_a_ticket_knows_the_deployment_whose_plan_or_background_plan_it_happened_in(sql: Sql):
    made = a_deployment(sql, background=True)
    for fingerprint, plan in (("a", made.plan), ("b", made.background)):
        raised(fingerprint, plan=plan, target="site")
    assert sql("select deployment::text, plan::text, target from tidemark.tickets order by fingerprint") == [
        [made.id, made.plan, "site"],
        [made.id, made.background, "site"],
    ]


def test_tde_x_fault_e_two_tickets_of_one_second_have_two_numbers(sql: Sql):
    assert raised("a") != raised("b")
    assert sql("select count(distinct id), count(distinct first_at) <= 2 from tidemark.tickets") == [[2, True]]


def test_another_fault_is_another_ticket_and_secrets_and_nul_do_not_reach_it(sql: Sql, configured):
    configured(RENDER_API_KEY="rnd_not_to_be_seen")
    settings.load()
    with db.transaction("worker") as tx:
        tickets.raise_ticket(tx, fingerprint="s", kind="k", title="t", message="refused: rnd_not_to_be_seen\x00 \ud800")
    assert sql("select message from tidemark.tickets") == [["refused: [redacted] ?"]]
