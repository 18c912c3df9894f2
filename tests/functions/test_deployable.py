"""functions/main.py started as a cloud starts it: one process per target, from an empty directory, with its variables only."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from common import db
from tests.chaos.conftest import durable, stack  # noqa: F401 - fixtures
from tests.chaos.processes import HOST, Load, ask, environment, eventually, function, webhook
from tests.conftest import OWNER
from tests.make import a_ring, an_invoice, an_item

pytestmark = pytest.mark.process
TASK = a_ring("process")
OPERATOR = {"authorization": f"Bearer {OWNER}"}
BOTH_MODES = pytest.mark.parametrize("mode", [{}, {"FUNCTION_USE_ASGI": "true"}], ids=["threads", "event loop"])


@pytest.fixture
def started(database_url, tmp_path):
    """`started("webhook", WEBHOOK_ENTITIES="products")` is the port of that function."""
    with ExitStack() as running:

        def start(target, **more):
            program = function(target, environment(database_url, **more), tmp_path).start()
            running.callback(program.stop)
            return program.port

        yield start


def test_every_target_answers_from_a_process_of_its_own(started, sql):
    targets = ["webhook", "process", "tick", "status", "health", "admin"]
    with ThreadPoolExecutor(len(targets)) as pool:
        ports = dict(zip(targets, pool.map(started, targets), strict=True))
    path, body, headers = webhook("products", an_item())
    assert ask(ports["webhook"], "POST", path, body=body, **headers)[0] == 202
    status, _, report = ask(ports["process"], "POST", "/tasks/process", **TASK)
    assert (status, report["outcomes"]) == (200, {"applied": 1})
    status, _, report = ask(ports["tick"], "POST", "/tasks/tick", authorization=TASK["authorization"])
    assert (status, report["swept"]) == (200, 0)
    status, _, stats = ask(ports["status"], "GET", "/queue/stats", **OPERATOR)
    assert status == 200
    assert stats
    assert ask(ports["health"], "GET", "/health/live")[::2] == (200, {"status": "ok", "alive": True})
    assert ask(ports["health"], "GET", "/health")[0] == 200
    assert ask(ports["admin"], "GET", "/admin/tokens", **OPERATOR)[0] == 200
    assert sql("select source_id, name from erp.products") == [["1", "Lamp"]]
    # Nobody gets in without what they must show.
    assert ask(ports["process"], "POST", "/tasks/process")[0] == 401
    assert ask(ports["tick"], "POST", "/tasks/tick", **OPERATOR)[0] == 401
    assert ask(ports["status"], "GET", "/queue/stats")[0] == 401
    assert ask(ports["admin"], "GET", "/admin/tokens", **TASK)[0] == 401


@BOTH_MODES
def test_the_receiver_answers_alike_in_both_modes(started, sql, mode):
    port = started("webhook", **mode)
    path, body, headers = webhook("invoices", an_invoice(lines=2))
    status, given, first = ask(port, "POST", path, body=body, **headers)
    assert (status, first["success"], first["queued"]) == (202, True, True)
    assert given["X-Content-Type-Options" if "X-Content-Type-Options" in given else "x-content-type-options"] == "nosniff"
    status, _, again = ask(port, "POST", path, body=body, **headers)
    assert (status, again["event_id"], again["queued"]) == (202, first["event_id"], False)
    several = webhook("products", {"events": [an_item(str(number)) for number in range(5)]})
    status, _, batch = ask(port, "POST", several[0], body=several[1], **several[2])
    assert (status, batch["accepted"], batch["rejected"]) == (202, 5, 0)
    refused = ask(port, "POST", path, body=body + b" ", **headers)
    assert (refused[0], refused[2]["type"]) == (401, "urn:tidemark:problem:not-authenticated")
    assert ask(port, "POST", "/webhooks/nothing", body=body, **headers)[0] == 404
    status, given, _ = ask(port, "GET", path)
    assert (status, {name.title(): value for name, value in given.items()}["Allow"]) == (405, "POST, PUT, DELETE")
    assert sql("select count(*) from tds_inbox_events") == [[6]]


@BOTH_MODES
def test_a_receiver_can_be_deployed_for_some_entities_only(started, mode):
    port = started("webhook", WEBHOOK_ENTITIES="products", **mode)
    path, body, headers = webhook("products", an_item())
    assert ask(port, "POST", path, body=body, **headers)[0] == 202
    path, body, headers = webhook("invoices", an_invoice())
    status, _, answer = ask(port, "POST", path, body=body, **headers)
    assert status == 404
    assert "products" in answer["detail"]


def test_requests_that_wait_together_are_stored_in_one_transaction(started, sql, database_url):
    port = started("webhook", FUNCTION_USE_ASGI="true")
    path, body, headers = webhook("products", an_item("first"))
    assert ask(port, "POST", path, body=body, **headers)[0] == 202
    blocker = db.Connection(db.Address(database_url))
    with ThreadPoolExecutor(30) as senders:
        blocker.script("begin; lock table tidemark.ready_events")
        answers = []
        for number in range(30):
            path, body, headers = webhook("products", an_item(str(number)))
            answers.append(senders.submit(ask, port, "POST", path, body=body, **headers))
        waiting = (
            "select count(*) from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0"
        )
        eventually(lambda: sql(waiting) == [[1]], 2, "a transaction that waits")
        time.sleep(0.5)  # the others arrive; none of them may have opened a transaction of its own
        assert sql(waiting) == [[1]]
        blocker.close()
        assert {answer.result()[0] for answer in answers} == {202}
    (transactions,) = sql("select count(distinct xmin::text) from tds_inbox_events where source_entity_id <> 'first'")[0]
    assert transactions <= 3


def test_webhook_to_row_through_real_rings_takes_less_than_a_second(stack, tmp_path, capsys):  # noqa: F811 - the fixture
    seconds, rate = 10, 50
    stack.start()
    ports = {}
    for target, mode in {"process": {}, "webhook": {"FUNCTION_USE_ASGI": "true"}}.items():
        rings = {"FUNCTIONS_URL": f"http://{HOST}:{ports['process']}"} if ports else {}
        stack.programs.append(function(target, stack.environment(**rings, **mode), tmp_path).start())
        ports[target] = stack.programs[-1].port
    stack.gateway.stop()
    stack.programs.remove(stack.gateway)
    path, body, headers = webhook("products", an_item("warm"))
    assert ask(ports["webhook"], "POST", path, body=body, **headers)[0] == 202
    eventually(lambda: stack.sql("select 1 from tds_sync_queue where status = 'completed'"), 10, "a first ring")
    with Load(ports["webhook"], rate) as load:
        load.wait_for(seconds * rate, 2 * seconds)
    stored = "select count(*) from tds_inbox_events"
    eventually(
        lambda: stack.sql(f"select count(*) = ({stored}) from tds_sync_queue where status = 'completed'") == [[True]],
        5,
        "the last row",
    )
    p50, p95, p99, count = (
        stack.sql(
            "select percentile_cont(array[0.5, 0.95, 0.99]) within group (order by took), count(*) from (select extract(epoch from"
            " pg_xact_commit_timestamp(q.xmin) - i.received_at)::float8 as took from tds_sync_queue q join tds_inbox_events i on i.id = q.id"
            " where i.source_entity_id <> 'warm') t"
        )[0][0]
        + stack.sql("select count(*) from tds_sync_queue")[0]
    )
    with capsys.disabled():
        said = f"p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms ({count} events)"
        sys.stdout.write(f"\nwebhook to committed row at {rate} events/s: {said}\n")
    assert p95 < 1
    assert stack.faults(load) == []
