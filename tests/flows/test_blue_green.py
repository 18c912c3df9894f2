"""Blue and green: what is new stands beside what people use, until the traffic is switched, and back again."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from common import log, settings
from common.errors import Conflict, Invalid
from common.flows import deployment_status, drain, rollbacks, work
from common.outgoing import switching
from common.rules.deploys import Target
from tests.fronts import DRAIN, SECRET, Front
from tests.functions import shells
from tests.releases import NEW, OLD, THIRD, opened, parts

STRATEGY = {"kind": "blue_green", "replaces": {"green": "web"}, "wave_seconds": 600, "rollback_seconds": 600}


@pytest.fixture
def world(sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as found:
        yield found


@pytest.fixture
def front(world, configured):
    """`web` is what people use; `green` stands beside it."""
    with Front(world.providers, "web") as found:
        configured(
            TRAFFIC_HOOK=f"{found.url}/switch",
            TRAFFIC_HOOK_SECRET=SECRET,
            EGRESS_ALLOW=f"{world.providers.environment()['EGRESS_ALLOW']},{found.place}",
        )
        world.put("web", public_url=found.url, drain_url=found.url + DRAIN)
        world.put("green", public_url=found.url)
        yield found


def begin(world, **given):
    return world.start(targets=["green"], strategy=STRATEGY | given)


def live(world):
    found = world.work(begin(world)["deployment_id"])
    assert found["status"] == "live", found["reason"]
    return found


def take_back(found, by="bea"):
    with log.bound(operator=by):
        return rollbacks.rollback({"deployment_id": found["deployment_id"]})[1]


def test_the_traffic_is_switched_read_back_and_what_had_it_is_drained(world, front):
    found = live(world)
    assert front.active == "green"
    (asked,) = {(identifier, json.dumps(body, sort_keys=True)) for identifier, body in front.switched}
    assert json.loads(asked[1]) == {"from": "web", "to": "green", "deployment_id": found["deployment_id"]}
    assert front.refused == []
    assert front.is_draining
    assert world.running()["web"] == OLD  # it stands there still, to go back to


def test_people_get_the_old_version_until_the_new_one_was_voted_for(world, front):
    begun = begin(world)
    voted = "select finished_at is not null from tidemark.stages where plan = :plan and id = 'vote-1'"
    front.before = lambda: seen.append(world.sql(voted, plan=begun["plan_id"])[0][0])
    seen: list[bool] = []
    assert world.work(begun["deployment_id"])["status"] == "live"
    assert seen
    assert all(seen)


def test_who_says_yes_and_does_not_switch_is_not_believed(world, front):
    front.obeys = False
    found = world.work(begin(world)["deployment_id"])
    assert found["status"] == "rolled_back", found["reason"]
    assert "promote-1 took longer" in found["reason"]
    assert parts(found["deployment_id"])["green"].promoted_at is None
    assert front.drained == []


def test_who_refuses_to_switch_ends_the_deploy(world, front):
    front.status = 403
    found = world.work(begin(world)["deployment_id"])
    assert found["status"] == "rolled_back", found["reason"]
    assert "the traffic hook answered status 403" in found["reason"]
    assert front.active == "web"


def test_a_switch_that_is_not_signed_with_the_secret_is_not_followed(world, front, configured):
    configured(TRAFFIC_HOOK_SECRET="whsec_" + "b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXI=")
    found = world.work(begin(world)["deployment_id"])
    assert found["status"] == "rolled_back", found["reason"]
    assert front.active == "web"
    assert front.refused
    assert front.switched == []


def test_without_a_traffic_hook_somebody_has_to_switch_and_then_it_goes_on(world, front, configured):
    configured(TRAFFIC_HOOK="", TRAFFIC_HOOK_SECRET="")
    begun = begin(world, wave_seconds=3600)
    waits = (
        "select lanes.ready_at > app_now() from tidemark.lanes join tidemark.stages s on s.plan = lanes.plan and s.no = lanes.stage"
    )
    waits += " where s.plan = :plan and s.id = 'promote-1' and s.status = 'open'"
    world.work(begun["deployment_id"], until=lambda _: world.sql(waits, plan=begun["plan_id"]))
    for _ in range(5):
        work.work()
        world.turn_clock(timedelta(seconds=30))
    assert parts(begun["deployment_id"])["green"].promoted_at is None
    assert front.switched == front.drained == []
    front.active = "green"
    found = world.work(begun["deployment_id"])
    assert found["status"] == "live", found["reason"]
    assert front.is_draining


def test_a_rollback_switches_back_and_ends_the_draining(world, front):
    found = live(world)
    back = take_back(found)
    assert world.work(back["deployment_id"])["status"] == "live"
    assert deployment_status.show(found["deployment_id"])["status"] == "rolled_back"
    assert front.active == "web"
    assert not front.is_draining
    assert front.switched[-1][1] == {"from": "green", "to": "web", "deployment_id": back["deployment_id"]}
    assert front.drained == [{}, {"resume": True}]
    assert front.refused == []
    assert world.running()["web"] == OLD


def test_what_failed_before_the_switch_is_taken_back_though_nothing_was_drained(world, front):
    world.providers.behave(NEW, place="green", health=500)
    found = world.work(begin(world)["deployment_id"])
    assert found["status"] == "rolled_back", found["reason"]
    assert front.active == "web"
    assert front.switched == front.drained == []  # to be told to go on did nothing to what goes on


def test_a_first_green_that_fails_leaves_people_where_they_are(world, front):
    green = world.providers.places["green"]
    green.deploys.clear()
    green.live = green.running = None
    world.providers.behave(NEW, place="green", health=500)
    found = world.work(begin(world)["deployment_id"])
    assert found["status"] == "rolled_back", found["reason"]
    assert front.active == "web"


def test_a_token_that_was_used_is_refused_a_second_time_and_one_for_another_is_refused(world, front):
    web = Target("web", "render", {"drain_url": front.url + DRAIN})
    assert switching.drain(web)
    elsewhere = {"drain_url": f"{front.url}{DRAIN.removeprefix('/blue')}"}
    with pytest.raises(Exception, match="answered status 404"):
        switching.drain(Target("web", "render", elsewhere))
    assert switching._audience(front.url + DRAIN) == f"{front.url}/blue"
    assert switching._audience(elsewhere["drain_url"]) == front.url
    assert len(front.drained) == 1


def test_blue_that_is_a_tidemark_is_drained_by_our_own_edge_and_green_is_not_touched(world, front, tmp_path, sql, configured):
    with shells.served("plans", tmp_path, DEPLOYMENT="blue", RELEASE="1", FUNCTIONS_URL="http://127.0.0.1:{port}") as port:
        blue = f"http://127.0.0.1:{port}"
        configured(EGRESS_ALLOW=f"{settings.load().egress_allow[0]},{front.place},127.0.0.1:{port}")
        world.put("web", public_url=front.url, drain_url=f"{blue}{switching.DRAIN}")
        found = live(world)
        drained = "select deployment, release, asked_by from tidemark.drains where ended_at is null"
        assert sql(drained) == [["blue", "1", "token:drain"]]
        assert not drain.settle()  # we are another deployment, and go on
        back = take_back(found)
        assert world.work(back["deployment_id"])["status"] == "live"
        assert sql(drained) == []
        assert sql("select what, why from tidemark.refusals") == []


def test_what_could_not_be_read_back_is_refused_at_once(world, front):
    world.put("green")
    with pytest.raises(Invalid) as raised:
        begin(world)
    (fault,) = raised.value.fields["errors"]
    assert fault["pointer"] == "/strategy/replaces/green"
    assert "public_url of green" in fault["message"]


def test_what_people_get_already_is_not_switched_to(world, front):
    world.live("web", NEW)
    found = world.work(begin(world)["deployment_id"])
    assert found["status"] == "failed"
    assert f"web serves {NEW} already" in found["reason"]
    assert front.drained == []


def test_what_hands_its_traffic_over_is_not_deployed_to_meanwhile(world, front):
    world.start(targets=["web"], strategy="rolling")
    with pytest.raises(Conflict, match="Another deployment is at: web"):
        begin(world)


def test_what_hands_its_traffic_over_is_left_alone_until_that_is_done(world, front):
    begin(world)
    with pytest.raises(Conflict, match="Another deployment is at: web"):
        world.start(targets=["web"], strategy="rolling")


def test_blue_and_green_take_turns_and_the_turn_before_cannot_be_taken_back_any_more(world, front):
    first = live(world)
    world.put("green", public_url=front.url, drain_url=front.url + DRAIN)
    world.providers.commit(THIRD)
    begun = world.start(targets=["web"], commit=THIRD, strategy=STRATEGY | {"replaces": {"web": "green"}})
    assert world.work(begun["deployment_id"])["status"] == "live"
    assert front.active == "web"
    with pytest.raises(Conflict, match="later deployment"):
        take_back(first)
