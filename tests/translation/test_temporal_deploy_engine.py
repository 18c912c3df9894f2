"""Temporal Deploy Engine: a deploy in stages with deadlines, beside which other work goes on that it never waits for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from common.flows import deployment_status, plan_status, plan_verbs, work
from tests.functions.test_auth import ask
from tests.releases import NEW, OLD, act, live_of, opened, parts

ALONE = {"targets": ["web"], "strategy": "rolling"}


@pytest.fixture
def world(sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as found:
        yield found


def go_on(world, plan):
    """Work until a plan is over; how it ended."""
    for _ in range(40):
        found = plan_status.status(plan)["status"]
        if found != "running":
            return found
        work.work()
        world.turn_clock(timedelta(seconds=30))
    return found


def test_a_slow_background_job_never_delays_readiness(world):
    begun = world.start(**ALONE)
    background = deployment_status.show(begun["deployment_id"])["background_plan_id"]
    act(plan_verbs.act, "pause", background)  # none could be slower
    found = live_of(world, begun)
    assert plan_status.status(background)["status"] == "paused"
    assert (found["status"], ask("GET", "/health/ready").status) == ("live", 200)
    act(plan_verbs.act, "resume", background)
    assert go_on(world, background) == "succeeded"  # it outlives the deploy


def test_the_background_comes_after_whoever_waits_for_a_deploy(world):
    begun = world.start(**ALONE)
    found = deployment_status.show(begun["deployment_id"])
    order = world.sql("select id::text from tidemark.plans order by priority, id")
    assert order == [[found["plan_id"]], [found["background_plan_id"]]]
    live_of(world, begun)


def test_it_is_not_ready_before_bootstrap_and_runtime_and_then_it_is(world):
    assert ask("GET", "/health/ready").status == 200
    begun = world.start(**ALONE)
    assert ask("GET", "/health/ready").status == 503
    live_of(world, begun)
    assert ask("GET", "/health/ready").status == 200


@pytest.mark.parametrize("fault", ["stuck", "strange"])
def test_a_stage_that_is_over_its_deadline_has_failed_and_does_not_hang(world, fault):
    world.providers.faults.add(fault, place="web", commit=NEW)
    begun = world.start(targets=["web"], strategy={"kind": "rolling", "wave_seconds": 300})
    found = world.work(begun["deployment_id"])
    assert found["status"] == "rolled_back"
    assert "verify-1 took longer than the 300 s" in found["reason"]
    (took,) = world.sql(
        "select extract(epoch from finished_at - opened_at) from tidemark.stages where plan = :plan and id = 'verify-1'",
        plan=begun["plan_id"],
    )[0]
    assert 300 <= took <= 300 + 60  # and the next look after that
    assert world.running()["web"] == OLD
    assert parts(begun["deployment_id"])["web"].verified_at is None


def test_tde_x_fault_d_a_second_background_job_of_the_same_name_does_not_overwrite_the_first(world):
    first = world.start(**ALONE)
    second = world.start(targets=["api"], strategy="rolling")  # of the same commit, and so of the same name
    jobs = [deployment_status.show(begun["deployment_id"])["background_plan_id"] for begun in (first, second)]
    names = world.sql("select distinct name from tidemark.plans where id in (:one, :other)", one=jobs[0], other=jobs[1])
    assert (len(set(jobs)), len(names)) == (2, 1)
    for begun in (first, second):
        live_of(world, begun)
    assert [go_on(world, job) for job in jobs] == ["succeeded", "succeeded"]
    told = world.sql("select distinct correlation_id from tidemark.notices where payload ->> 'stage' like 'diagnostics%'")
    assert {row[0] for row in told} == {first["deployment_id"], second["deployment_id"]}


def test_tde_x_fault_d_a_job_of_an_unknown_kind_is_not_deleted_as_done(world):
    begun = world.start(**ALONE)
    background = deployment_status.show(begun["deployment_id"])["background_plan_id"]
    world.sql("update tidemark.stages set kind = 'deploy.unheard_of' where plan = :plan", plan=background)
    live_of(world, begun)
    assert go_on(world, background) in ("failed", "halted")
    said = world.sql("select distinct status, message from tidemark.shard_failures where plan = :plan", plan=background)
    assert {row[0] for row in said} == {"dead"}
    assert all("unheard_of" in row[1] for row in said)
