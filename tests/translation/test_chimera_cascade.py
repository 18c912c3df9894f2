"""Chimera, the cascade of a progressive deploy: wave after wave, and a bad metric at any of them takes all of them back in time."""

from __future__ import annotations

import pytest

from common.flows import deployment_status
from tests.releases import BAD, NEW, OLD, TARGETS, opened


@pytest.fixture
def world(sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as found:
        found.live("green", OLD)
        yield found


NAMES = [*TARGETS, "green"]
STEPS = {"kind": "waves", "waves": [TARGETS, ["green"]], "rollback_seconds": 600}


def test_a_bad_metric_at_step_two_brings_everything_back_to_what_was_stable_in_time(world):
    world.providers.behave(NEW, place="green", error_rate=0.4)
    begun = world.start(targets=NAMES, strategy=STEPS, gates=BAD)
    found = world.work(begun["deployment_id"])
    assert found["status"] == "rolled_back", found["reason"]
    assert "error_rate is 0.4" in found["reason"]
    assert {name: world.running()[name] for name in NAMES} == dict.fromkeys(NAMES, OLD)
    back = deployment_status.show(found["rolled_back_by"])
    assert back["status"] == "live"
    assert back["rolls_back"] == found["deployment_id"]
    assert all(target["frozen"] and target["verified_at"] for target in back["targets"])
    (seconds,) = world.sql("select extract(epoch from ended_at - created_at) from tidemark.deployments where kind = 'rollback'")[0]
    assert seconds <= STEPS["rollback_seconds"]


def test_a_bad_metric_at_step_one_leaves_the_later_steps_untouched(world):
    world.providers.behave(NEW, place="web", error_rate=0.4)
    before = world.providers.triggers("green")
    found = world.work(world.start(targets=NAMES, strategy=STEPS, gates=BAD)["deployment_id"])
    assert found["status"] == "rolled_back", found["reason"]
    assert world.providers.triggers("green") == before
    assert {name: world.running()[name] for name in NAMES} == dict.fromkeys(NAMES, OLD)


def test_with_good_metrics_every_step_is_taken(world):
    found = world.work(world.start(targets=NAMES, strategy=STEPS, gates=BAD)["deployment_id"])
    assert found["status"] == "live", found["reason"]
    assert {name: world.running()[name] for name in NAMES} == dict.fromkeys(NAMES, NEW)
