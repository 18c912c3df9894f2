"""Deploys against the stand-ins of Render, Netlify and GitHub, from the first call to the version that is served."""

from __future__ import annotations

import pytest

from common.outgoing import calls
from deploy.local.providers import StandIn
from tests.releases import NEW, OLD, World, parts


@pytest.fixture
def world(sql, configured, turn_clock):
    with StandIn() as providers:
        configured(**{name: value for name, value in providers.environment().items() if "HOOK" not in name})
        made = World(providers, sql, turn_clock)
        made.serve_old()
        yield made
        calls.close()


def test_a_deploy_to_three_targets_goes_live(world):
    begun = world.start()
    found = world.work(begun["deployment_id"])
    assert found["status"] == "live", found["reason"]
    assert [target["serving"]["commit"] for target in found["targets"]] == [NEW] * 3
    assert world.running() | {"green": None} == {"web": NEW, "page": NEW, "api": NEW, "green": None}
    assert all(target["verified_at"] and target["promoted_at"] for target in found["targets"])
    assert [target["previous"]["commit"] for target in found["targets"]] == [OLD] * 3


def test_a_bad_metric_at_wave_two_takes_everything_back(world):
    world.providers.behave(NEW, place="web", error_rate=0.0)
    world.put("green")
    world.live("green", OLD)
    world.providers.behave(NEW, place="green", error_rate=0.4)
    gates = {"metrics": [{"name": "error_rate", "max": 0.05, "count": 2, "interval_seconds": 30}]}
    strategy = {"kind": "waves", "waves": [["web", "page", "api"], ["green"]]}
    begun = world.start(targets=["web", "page", "api", "green"], strategy=strategy, gates=gates)
    found = world.work(begun["deployment_id"])
    assert found["status"] == "rolled_back", found["reason"]
    assert "error_rate is 0.4" in found["reason"]
    assert set(world.running().values()) == {OLD}
    back = world.work(found["rolled_back_by"])
    assert back["status"] == "live"
    assert all(target["frozen"] and target["verified_at"] for target in back["targets"])
    assert {part.released_at is None for part in parts(found["deployment_id"]).values()} == {False}
