"""A target's own migrations run before anything of the new version is begun, and what they do wrong stops the deploy there."""

from __future__ import annotations

import pytest

from tests.releases import NEW, OLD, TARGETS, opened, parts, triggered, triggers


@pytest.fixture
def world(sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as found:
        found.providers.forget()
        yield found


def jobs(world):
    return world.providers.places["web"].jobs


def posts(world):
    return [call.path.rpartition("/")[2] for call in world.providers.journal if call.method == "POST"]


def test_the_command_of_a_target_runs_before_anything_is_begun(world):
    world.put("web", migrate_command="bin/migrate --expand")
    found = world.work(world.start()["deployment_id"])
    assert found["status"] == "live", found["reason"]
    assert [job["startCommand"] for job in jobs(world)] == ["bin/migrate --expand"]
    assert posts(world)[0] == "jobs"
    assert parts(found["deployment_id"])["web"].gates["migrate"]["outcome"] == "successful"


@pytest.mark.parametrize("fault", [{"name": "lost"}, {"name": "empty"}, {"name": "error"}, {"name": "throttled"}], ids=str)
def test_a_command_runs_once_whatever_becomes_of_the_answer(world, fault):
    world.put("web", migrate_command="bin/migrate")
    world.providers.faults.add(**fault, calls=1, path="/jobs", method="POST")
    found = world.work(world.start()["deployment_id"])
    assert found["status"] == "live", found["reason"]
    assert len(jobs(world)) == 1


def test_a_command_that_fails_leaves_every_target_as_it_was(world):
    world.put("web", migrate_command="bin/migrate --fail")
    before = triggers(world)
    found = world.work(world.start()["deployment_id"])
    assert found["status"] == "failed"
    assert "'bin/migrate --fail' of web failed" in found["reason"]
    assert found["rolled_back_by"] is None
    assert set(triggered(world, before).values()) == {0}
    assert {name: world.running()[name] for name in TARGETS} == dict.fromkeys(TARGETS, OLD)
    assert len(jobs(world)) == 1


def test_tde_x_fault_c_the_runtime_does_not_begin_before_the_bootstrap_has_ended_well(world, sql):
    world.put("web", migrate_command="bin/migrate", required_env=["NO_SUCH_VARIABLE"])
    found = world.work(world.start()["deployment_id"])
    assert found["status"] == "failed"
    assert jobs(world) == []
    states = dict(sql("select id, status from tidemark.stages where plan = :plan", plan=found["plan_id"]))
    assert (states["bootstrap"], states["runtime"]) == ("failed", "waiting")


def test_a_provider_that_runs_no_commands_says_so_before_anything_is_begun(world):
    world.put("page", migrate_command="bin/migrate")
    before = triggers(world)
    found = world.work(world.start()["deployment_id"])
    assert found["status"] == "failed"
    assert "netlify runs no commands" in found["reason"]
    assert set(triggered(world, before).values()) == {0}
    assert world.running()["page"] != NEW
