"""The site's build hook: rung once its backend is live, and nothing that it does undoes a deploy."""

from __future__ import annotations

import pytest

from tests.releases import NEW, TARGETS, WAVES, opened

BACKEND = {"targets": ["web", "api"], "strategy": {"kind": "waves", "waves": [["web"], ["api"]]}}


@pytest.fixture
def world(sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as found:
        configured(NETLIFY_DEPLOY_HOOK=found.providers.hook("page"))
        found.providers.forget()
        yield found


def rung(world):
    return [call for call in world.providers.journal if call.path.startswith("/build_hooks/")]


def live(world, **given):
    found = world.work(world.start(**given)["deployment_id"])
    assert found["status"] == "live", found["reason"]
    return found


def test_the_site_is_built_once_its_backend_is_live_and_not_before(world):
    begun = world.start(**BACKEND)
    world.work(begun["deployment_id"], until=lambda found: found["targets"][0]["promoted_at"])
    assert rung(world) == [] or world.running()["api"] == NEW
    assert world.work(begun["deployment_id"])["status"] == "live"
    assert [call.status for call in rung(world)] == [200]
    calls = [call.path for call in world.providers.journal if call.method == "POST"]
    assert calls[-1].startswith("/build_hooks/")
    assert world.providers.places["page"].deploys[-1].trigger == "deploy_hook"


def test_a_site_that_is_a_target_itself_is_not_built_twice(world):
    live(world, targets=TARGETS, strategy=WAVES)
    assert rung(world) == []


def test_while_nobody_outside_is_to_be_told_the_hook_is_not_rung(world, configured):
    configured(GENESIS_ENABLED="false")
    live(world, **BACKEND)
    assert rung(world) == []


def test_without_a_hook_nobody_is_rung(world, configured):
    configured(NETLIFY_DEPLOY_HOOK="")
    live(world, **BACKEND)
    assert rung(world) == []


@pytest.mark.parametrize("fault", ["unavailable", "refused", "garbled"])
def test_a_hook_that_fails_does_not_undo_a_deploy(world, fault):
    world.providers.faults.add(fault, calls=None, path="/build_hooks")
    live(world, **BACKEND)
    assert world.running()["web"] == NEW
    assert len(rung(world)) == 1


def test_a_deploy_that_fails_does_not_ring(world):
    world.providers.behave(NEW, place="api", health=500)
    assert world.work(world.start(**BACKEND)["deployment_id"])["status"] == "rolled_back"
    assert rung(world) == []
