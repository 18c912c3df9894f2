"""Rollback: what served before is put back, read back, and kept: what is pushed afterwards is not deployed until somebody allows it."""

from __future__ import annotations

import pytest

from common.flows import deployments, rollbacks
from tests.releases import NEW, OLD, TARGETS, THIRD, act, live, opened

PUSHED = ("web", "page")  # where a push is deployed by itself
FOURTH = "4b" * 20


@pytest.fixture
def world(sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as found:
        yield found


def pushed(world, commit):
    """What runs where a push is deployed, after one."""
    world.push(commit)
    return {name: world.running()[name] for name in PUSHED}


def test_what_is_pushed_after_a_rollback_is_not_deployed_until_somebody_allows_it(world):
    for name in PUSHED:
        world.providers.places[name].is_automatic = True
    found = live(world)
    assert pushed(world, THIRD) == dict.fromkeys(PUSHED, THIRD)  # as long as nothing was taken back
    act(rollbacks.rollback, {"deployment_id": found["deployment_id"]})
    world.work(found["deployment_id"], until=lambda found: found["status"] == "rolled_back" and world.idle())
    assert {name: world.running()[name] for name in TARGETS} == dict.fromkeys(TARGETS, OLD)
    assert pushed(world, FOURTH) == dict.fromkeys(PUSHED, OLD)
    act(deployments.unfreeze, found["deployment_id"])
    assert pushed(world, FOURTH) == dict.fromkeys(PUSHED, FOURTH)


def test_a_rollback_is_over_only_when_what_is_served_was_read_back(world):
    found = live(world)
    world.providers.faults.add("lies", place="web", commit=OLD)
    back = act(rollbacks.rollback, {"deployment_id": found["deployment_id"]})[1]
    ended = world.work(back["deployment_id"])
    assert ended["status"] == "failed"  # the provider says that it is live, and the service says otherwise
    assert world.running()["web"] == NEW
    (alert,) = world.sql("select severity::text from tds_alerts where alert_type = 'deploy.not_rolled_back' and not resolved")
    assert alert == ["critical"]


def test_a_rollback_is_told_on_the_bus_and_kept_as_a_deployment(world):
    found = live(world)
    back = act(rollbacks.rollback, {"deployment_id": found["deployment_id"]})[1]
    assert world.work(back["deployment_id"])["rolls_back"] == found["deployment_id"]
    told = world.sql(
        "select payload ->> 'stage', payload ->> 'status' from tidemark.notices where topic = 'deploy.events'"
        " and correlation_id in (:one, :other)",
        one=found["deployment_id"],
        other=back["deployment_id"],
    )
    assert {("rollback", "begun"), ("freeze", "frozen"), ("rollback", "verified"), ("rollback", "complete")} <= set(
        map(tuple, told)
    )


def test_what_somebody_else_deployed_meanwhile_is_left_as_it_is_unless_a_person_asks(world, sql):
    begun = world.start(strategy={"kind": "waves", "waves": [["web"], ["page", "api"]], "bake_seconds": 3600})
    world.work(begun["deployment_id"], until=lambda found: found["targets"][0]["promoted_at"])
    world.live("web", THIRD)
    found = world.work(begun["deployment_id"])
    assert found["status"] == "not_rolled_back"
    assert "which somebody else deployed" in found["reason"]
    assert world.running()["web"] == THIRD
    act(rollbacks.rollback, {"deployment_id": found["deployment_id"]})
    assert world.work(found["deployment_id"], until=lambda found: found["status"] == "rolled_back")
    assert world.running()["web"] == OLD
