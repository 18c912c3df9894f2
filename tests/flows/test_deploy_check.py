"""Checking what is deployed, against the stand-ins: what is not known is not ok, and why is said."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta

import pytest

from common.errors import Invalid, Passive, Unknown
from common.flows import deploy_check, lease, rollbacks
from common.rules.gates import Gate
from common.rules.http import Request
from deploy.local import gateway
from tests.conftest import OWNER
from tests.deploys import a_deployment
from tests.functions.shells import wsgi
from tests.releases import NEW, OLD, opened


@pytest.fixture
def world(sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as found:
        yield found


def deployed(world, name="web", commit=OLD, **given):
    """A deployment that is live, as a row."""
    return a_deployment(world.sql, commit=commit, status="live", targets={name: {}}, **given)


def check(name="web", **given):
    return deploy_check.check(name, given)


def wrong(found):
    """The only thing that is wrong."""
    assert not found["ok"]
    (problem,) = found["problems"]
    return problem


def test_a_target_that_serves_what_was_deployed_and_is_well_is_ok(world):
    made = deployed(world)
    found = check()
    assert found["ok"], found["problems"]
    assert found["target"] == "web"
    assert found["wanted"] == {"deployment_id": made.id, "id": None, "commit": OLD, "artifact": None}
    assert (found["serving"]["commit"], found["differs"], found["health"]["ok"]) == (OLD, [], True)
    assert found["health"]["status"] == 200


def test_an_old_build_that_is_served_is_named_with_the_field(world):
    deployed(world, commit=NEW)
    found = check()
    assert wrong(found) == f"it serves the commit {OLD}, and should serve {NEW}"
    assert found["differs"] == ["commit"]


def test_the_service_itself_is_believed_before_its_provider(world):
    deployed(world, commit=NEW)
    world.providers.faults.add("lies", place="web", commit=NEW)
    world.live("web", NEW)
    assert f"it serves the commit {OLD}" in wrong(check())


def test_a_service_that_is_not_well_is_not_ok(world):
    deployed(world)
    world.providers.behave(OLD, place="web", health=500)
    found = check()
    assert wrong(found) == "it is not well: /health/live answered status 500"
    assert found["differs"] == []


def test_what_was_never_deployed_from_here_is_not_ok(world):
    found = check()
    assert "no deployment from here is live there" in wrong(found)
    assert (found["wanted"], found["differs"], found["serving"]["commit"]) == (None, None, OLD)


def test_a_provider_that_does_not_answer_leaves_nothing_known_and_is_asked_once(world):
    deployed(world)
    world.providers.faults.add("unavailable", calls=None)
    world.providers.forget()
    found = check(forbidden=["Traceback"])
    assert not found["ok"]
    assert (found["serving"], found["differs"], found["logs"]["outcome"]) == (None, None, "error")
    assert found["health"]["ok"]  # the service itself answers
    assert len(world.providers.journal) == 1


def test_a_service_that_does_not_say_its_version_is_not_ok_whatever_its_provider_says(world):
    deployed(world)
    world.put("web", version_path="/sick", version_field="no.such.field")
    found = check()
    assert wrong(found) == "the commit that it serves is not known"
    assert (found["differs"], found["serving"]["commit"]) == (None, None)


def test_after_a_rollback_what_was_there_before_is_wanted(world):
    begun = world.start(targets=["web"], strategy="rolling")
    world.work(begun["deployment_id"])
    assert check()["wanted"]["commit"] == NEW
    assert check()["ok"]
    rollbacks.rollback({"deployment_id": begun["deployment_id"]})
    world.work(begun["deployment_id"], until=lambda found: found["status"] == "rolled_back" and world.idle())
    found = check()
    assert found["ok"], found["problems"]
    assert (found["wanted"]["commit"], found["serving"]["commit"]) == (OLD, OLD)


def test_a_deploy_that_is_not_live_changes_nothing_of_what_is_wanted(world, turn_clock):
    deployed(world)
    for status in ("waiting", "running", "failed", "cancelled"):
        turn_clock(timedelta(seconds=1))
        a_deployment(world.sql, commit=NEW, status=status, targets={"web": {}})
    assert check()["ok"]


# The log


@pytest.mark.parametrize(
    ("given", "outcome", "said"),
    [
        ({"forbidden": ["Trace[b]ack"]}, "failed", "Traceback (most recent call last)"),
        ({"expected": ["listening"]}, "successful", "2 lines"),
        ({"expected": ["ready"]}, "inconclusive", "does not have 'ready'"),
        ({"expected": ["listening"], "forbidden": ["Traceback"]}, "failed", "Traceback"),
    ],
)
def test_a_log_is_judged_by_the_patterns_that_are_given(given, outcome, said, world):
    deployed(world)
    world.providers.behave(OLD, place="web", lines=["listening on 8080", "Traceback (most recent call last)"])
    found = check(**given)
    assert found["logs"]["outcome"] == outcome
    assert said in found["logs"]["reason"]
    assert found["ok"] is (outcome == "successful")


def test_without_patterns_those_of_the_deployments_own_gate_count(world):
    made = deployed(world)
    assert check()["logs"] == {"outcome": None, "reason": "nobody said what must or must not be in it"}
    gates = json.dumps([asdict(Gate("logs", forbidden=("Traceback",)))])
    world.sql("update tidemark.deployments set gates = cast(:gates as jsonb) where id = :id", gates=gates, id=made.id)
    world.providers.behave(OLD, place="web", lines=["Traceback (most recent call last)"])
    assert "its log is failed" in wrong(check())
    assert check(forbidden=["nothing of this"])["ok"]


def test_the_log_is_read_as_far_back_as_asked_and_never_before_the_deployment(world, turn_clock):
    turn_clock(timedelta(hours=2))
    world.providers.turn(7200)
    made = deployed(world)

    def window(**given):
        world.providers.forget()
        check(forbidden=["x"], **given)
        (asked,) = [call.query for call in world.providers.journal if call.path == "/v1/logs"]
        return asked["startTime"]

    (began,) = world.sql(
        "select to_char(created_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') from tidemark.deployments where id = :id",
        id=made.id,
    )[0]
    assert window() == window(window_seconds=86_400) == began
    turn_clock(timedelta(hours=1))
    assert window() > window(window_seconds=1200) > began
    assert window(window_seconds=86_400) == began


def test_a_provider_that_gives_no_log_says_so_and_is_not_blamed_for_it(world):
    deployed(world, name="page")
    found = check("page", forbidden=["Traceback"])
    assert found["ok"], found["problems"]
    assert found["logs"] == {"outcome": None, "reason": "netlify does not give the log of what runs there"}


# Asking


def test_a_target_without_an_address_is_asked_where_its_provider_says_it_runs(world):
    world.sql("update tidemark.targets set config = config - 'url' where name = 'page'")
    deployed(world, name="page")
    found = check("page")
    assert found["health"]["ok"], found["health"]


def test_what_is_asked_wrongly_is_pointed_at(world):
    with pytest.raises(Invalid) as raised:
        check(expected=["("], forbidden="Traceback", window_seconds=0, colour="red")
    pointers = [each["pointer"] for each in raised.value.fields["errors"]]
    assert sorted(pointers) == ["/colour", "/expected/0", "/forbidden", "/window_seconds"]
    with pytest.raises(Unknown):
        check("nowhere")


def test_whoever_is_passive_calls_nobody(world):
    deployed(world)
    lease.held(holder="other")
    world.providers.forget()
    with pytest.raises(Passive):
        check()
    assert world.providers.journal == []


def test_it_is_a_route_for_operators(world):
    deployed(world)
    path = "/api/hxo/targets/web/check"
    reply = wsgi(Request("POST", path, "", (("authorization", f"Bearer {OWNER}"),), b""), gateway.target_of("POST", path))
    assert (reply.status, reply.json["ok"]) == (200, True)
