"""StabilizationDomain: a bulkhead that holds Exception back only, records a ticket, and lets the siblings go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from common.flows import readiness, stabilization
from tests.deploys import a_deployment

Sql = Callable[..., list[list[Any]]]


@pytest.mark.parametrize("interruption", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_tde_x_fault_b_cancellation_and_interrupts_pass_through_the_boundary(interruption, sql: Sql):
    with pytest.raises(interruption), stabilization.boundary("deploy.diagnostics", "A part failed"):
        raise interruption
    assert sql("select count(*) from tidemark.tickets") == [[0]]


def test_tde_x_fault_b_a_cancelled_task_inside_the_boundary_is_cancelled(database_url):
    async def part() -> str:
        with stabilization.boundary("deploy.diagnostics", "A part failed"):
            await asyncio.Event().wait()
        return "it went on as if nothing had happened"

    async def cancelled() -> bool:
        task = asyncio.create_task(part())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(cancelled())


def test_tde_x_fault_b_a_part_that_failed_is_noticed_and_its_siblings_go_on(sql: Sql):
    outcomes = []
    for part in ("one", "two", "three"):
        with stabilization.boundary("deploy.diagnostics", f"Part {part} failed") as outcome:
            assert part != "two"
        outcomes.append(outcome.is_ok)
    assert outcomes == [True, False, True]
    assert sql("select title, count from tidemark.tickets") == [["Part two failed", 1]]


@pytest.mark.parametrize("shard", ["bootstrap", "runtime"])
def test_ready_stays_503_when_a_required_shard_failed(shard, sql: Sql):
    a_deployment(sql, stages={"bootstrap": "succeeded", "runtime": "succeeded"} | {shard: "failed"}, status="failed")
    status, answer = readiness.ready()
    assert (status, answer["status"]) == (503, "not_ready")
    assert f"{shard} failed" in answer["error"]
