"""A deploy whose workers are killed fifty times on its way, between any two messages to the database or to a provider."""

from __future__ import annotations

import random
import sys
from datetime import timedelta

import pytest

from common.flows import deployment_status
from tests.chaos.doomed import DIED, Doomed
from tests.releases import NEW, OLD, opened, triggered, triggers

pytestmark = pytest.mark.process
KILLS = 50
LEASE = timedelta(seconds=31)
LIMITS = {"wave_seconds": 36_000, "vote_seconds": 3600, "rollback_seconds": 36_000}
# Many readings: so there is a long way on which to be killed.
LONG = {"health": {"count": 8, "interval_seconds": 30}}


@pytest.fixture
def world(sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as found:
        yield found


@pytest.fixture
def doomed(database_url, world):
    started = Doomed(database_url)
    yield started
    started.close()


def killed(world, doomed, deployment, seed, *, most=KILLS, until=("live", "rolled_back")):
    """Work on it with workers of which two die and the third lives on; how often one died.

    Nobody asks more of a shard: when three in a row die at one, it is the shard that is taken for the cause.
    """
    chance, deaths = random.Random(seed), 0
    while deaths < most and deployment_status.show(deployment)["status"] not in until:
        for order in (f"deploys {chance.randint(4, 60)}", f"deploys {chance.randint(4, 60)}", "deploys 1000000"):
            code = doomed.order(order)
            assert code in (0, DIED)
            deaths += code == DIED
            world.turn_clock(LEASE)
    return deaths


def test_a_deploy_killed_fifty_times_goes_live_and_asks_each_provider_once(world, doomed, capsys):
    begun = triggers(world)
    deployment = world.start(strategy={"kind": "waves", "waves": [["web"], ["page", "api"]], **LIMITS}, gates=LONG)["deployment_id"]
    deaths = killed(world, doomed, deployment, 11)
    found = world.work(deployment)
    with capsys.disabled():
        sys.stdout.write(f"\na deploy was killed {deaths} times on its way\n")
    assert deaths >= KILLS, (deaths, found["status"], found["reason"])
    assert found["status"] == "live", found["reason"]
    assert {name: world.running()[name] for name in begun} == dict.fromkeys(begun, NEW)
    assert set(triggered(world, begun).values()) == {1}


def test_a_rollback_killed_fifty_times_puts_everything_back_and_freezes(world, doomed, capsys):
    world.live("green", OLD)
    world.providers.behave(NEW, place="green", error_rate=0.4)
    names = ("web", "page", "api", "green")
    gates = LONG | {"metrics": [{"name": "error_rate", "max": 0.05, "count": 9, "interval_seconds": 30, "failure_limit": 7}]}
    strategy = {"kind": "waves", "waves": [["web", "page", "api"], ["green"]], **LIMITS}
    deployment = world.start(targets=list(names), strategy=strategy, gates=gates)["deployment_id"]
    forth = killed(world, doomed, deployment, 12, most=48, until=("rolling_back",))
    world.work(deployment, until=lambda found: found["status"] != "running", seconds=31)
    back = killed(world, doomed, deployment, 13)
    found = world.work(deployment)
    with capsys.disabled():
        sys.stdout.write(f"\na deploy that failed was killed {forth} times on its way and {back} times on its way back\n")
    assert forth + back >= KILLS
    assert back > 0
    assert found["status"] == "rolled_back", found["reason"]
    back = world.work(found["rolled_back_by"])
    assert back["status"] == "live", back["reason"]
    assert {name: world.running()[name] for name in names} == dict.fromkeys(names, OLD)
    assert all(target["frozen"] and target["verified_at"] for target in back["targets"])


def test_nobody_is_asked_twice_even_when_the_answer_of_the_provider_is_lost(world):
    begun = triggers(world)
    world.providers.faults.add("lost", calls=3, method="POST")
    found = world.work(world.start(strategy={"kind": "waves", "waves": [["web", "page", "api"]]})["deployment_id"])
    assert found["status"] == "live", found["reason"]
    assert set(triggered(world, begun).values()) == {1}
