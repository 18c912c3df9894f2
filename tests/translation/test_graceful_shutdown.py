"""Graceful shutdown and drain: nothing new is claimed, what is held is finished or handed back, nothing is lost or doubled."""

from __future__ import annotations

import json

import pytest

from tests.chaos.conftest import durable, stack  # noqa: F401 - fixtures
from tests.chaos.processes import Load, Program, eventually
from tests.conftest import OWNER
from tests.translation import slow_gateway

pytestmark = pytest.mark.process
SHARDS, LANES = 10_000, 4  # twelve seconds of work
BEARER = f"Bearer {OWNER}"


@pytest.fixture
def busy(stack):  # noqa: F811
    """Real processes that work on a plan."""
    stack.start()
    stack.sql(slow_gateway.TABLE)
    stack.gateway.terminate(20)
    serve(stack, "1")
    stage = {"id": "one", "kind": slow_gateway.KIND, "concurrency": LANES, "config": {"shards": SHARDS}}
    body = json.dumps({"name": "long", "stages": [stage]}).encode()
    status, _, answer = stack.ask("POST", "/api/hxo/submit", body=body, authorization=BEARER)
    assert status == 202, answer
    return stack


def serve(stack, release):  # noqa: F811
    """Start a release in place of the one before; a call of it may take two seconds."""
    command = [*stack.gateway.command]
    command[command.index("uvicorn") + 1] = "tests.translation.slow_gateway:app"
    stack.gateway = Program(command, stack.port, stack.environment(FUNCTION_TIMEOUT_SECONDS="3", RELEASE=release)).start()
    stack.programs.append(stack.gateway)


def done(stack):  # noqa: F811
    return stack.sql("select count(*) from public.did")[0][0]


def finish(stack):  # noqa: F811
    """Tick until the plan is over, as the minute's clock does; its status."""

    def ended():
        stack.tick()
        stack.sql("update turned.clock set skew = skew + interval '2 s'")  # leases of the dead run out
        (status,) = stack.sql("select status from tidemark.plans")[0]
        return status if status != "running" else None

    return eventually(ended, 60, "the end of the plan")


def each_once(stack):  # noqa: F811
    """Every shard had its effect once, and has one leaf of the tree."""
    spans = stack.sql("select lo, hi, length(digests) / 32 from tidemark.leaves order by lo")
    ends = [0, *(hi for _, hi, _ in spans)]
    assert [lo for lo, _, _ in spans] == ends[:-1]
    assert all(count == hi - lo for lo, hi, count in spans)
    assert stack.sql("select count(*), count(distinct shard), max(shard) from public.did") == [[SHARDS, SHARDS, SHARDS - 1]]


def test_sigterm_at_load_loses_no_unit_and_doubles_none(busy):
    stood = []
    with Load(busy.port, 40) as load:
        for _ in range(3):
            before = done(busy)
            eventually(lambda before=before: done(busy) > before, 30, "progress")
            stood.append(done(busy))
            busy.gateway.terminate(20)  # it ends by itself, once the calls that are under way have ended
            busy.gateway.start()
            busy.tick()
        load.wait_for(20)
    assert max(stood) < SHARDS, "it was over before the last one was told to end"
    assert finish(busy) == "succeeded"
    busy.heal()
    each_once(busy)
    assert busy.faults(load) == []


def test_a_drained_release_holds_nothing_by_its_deadline_and_the_next_one_finishes(busy):
    eventually(lambda: done(busy) > 0, 30, "the first chunk")
    asked = busy.ask("POST", "/api/hxo/graceful-shutdown", body=b'{"deadline_seconds": 20}', authorization=BEARER)
    assert (asked[0], asked[2]["draining"], asked[2]["release"]) == (202, True, "1")
    status, _, answer = busy.ask("GET", "/api/hxo/wait-for-idle?timeout=25", authorization=BEARER)
    assert (status, answer["idle"], answer["lanes_held"]) == (200, True, 0)
    stood = done(busy)
    for _ in range(3):
        busy.tick()
    assert done(busy) == stood < SHARDS
    busy.gateway.terminate(20)
    serve(busy, "2")
    assert finish(busy) == "succeeded"
    each_once(busy)
