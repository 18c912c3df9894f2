"""Deploys against the stand-ins of Render, Netlify and GitHub, from the first call to the version that is served."""

from __future__ import annotations

import json

import pytest

from common import db
from common.errors import Conflict, Invalid, PreconditionFailed
from common.flows import deployment_status, deployments, plan_verbs, plans, rollbacks, work
from common.rules.http import Request
from tests.releases import BAD, NEW, OLD, TARGETS, THIRD, act, live, live_of, opened, parts, triggered, triggers


@pytest.fixture
def world(sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as found:
        yield found


# Well ----------------------------------------------------------------------------------------------------------------


def test_a_deploy_to_three_targets_goes_live(world):
    before = triggers(world)
    found = live(world)
    assert [target["serving"]["commit"] for target in found["targets"]] == [NEW] * 3
    assert {name: world.running()[name] for name in TARGETS} == dict.fromkeys(TARGETS, NEW)
    assert all(target["verified_at"] and target["promoted_at"] for target in found["targets"])
    assert [target["previous"]["commit"] for target in found["targets"]] == [OLD] * 3
    assert set(triggered(world, before).values()) == {1}


def test_the_second_wave_waits_for_the_first(world):
    found = live(world)
    by = parts(found["deployment_id"])
    assert by["web"].promoted_at < min(by["page"].intended_at, by["api"].intended_at)


def test_a_wave_bakes_before_the_next(world):
    strategy = {"kind": "waves", "waves": [["web"], ["page", "api"]], "bake_seconds": 600}
    begun = world.start(strategy=strategy)
    world.work(begun["deployment_id"], until=lambda found: found["targets"][0]["promoted_at"])
    world.work(begun["deployment_id"], until=lambda found: found["targets"][1]["state"] != "queued")
    (waited,) = world.sql(
        "select extract(epoch from max(intended_at) - (select promoted_at from tidemark.deployment_targets where target = 'web'))"
        " from tidemark.deployment_targets where target in ('page', 'api')"
    )[0]
    assert waited >= 600


def test_the_same_key_begins_the_same_deploy_once(world):
    first, again = world.start(key="k1"), world.start(key="k1")
    assert again == first
    with pytest.raises(Invalid):
        world.start(key="k1", commit=THIRD)
    (count,) = world.sql("select count(*) from tidemark.deployments")[0]
    assert count == 1


def test_two_deploys_never_meet_at_a_target(world):
    world.start(targets=["web"], strategy="rolling")
    with pytest.raises(Conflict, match="Another deployment is at: web"):
        world.start(targets=["page", "web"], strategy="rolling")
    world.start(targets=["page"], strategy="rolling")


def test_what_there_is_not_is_pointed_at(world):
    with pytest.raises(Invalid) as raised:
        world.start(targets=["web", "nowhere"], strategy="rolling")
    assert raised.value.fields["errors"] == [{"pointer": "/targets/1", "message": "there is no target nowhere"}]


def test_a_gate_that_nobody_could_ever_tell_of_is_refused(world):
    with pytest.raises(Invalid) as raised:
        world.start(targets=["page"], strategy="rolling", gates=BAD)
    assert raised.value.fields["errors"][0]["pointer"] == "/gates/metrics"


# Taken back ----------------------------------------------------------------------------------------------------------


def test_a_deploy_that_fails_at_its_provider_is_taken_back_where_it_was_begun(world):
    world.providers.faults.add("fails", place="page", commit=NEW, value="error")
    found = world.work(world.start()["deployment_id"])
    assert found["status"] == "rolled_back"
    assert found["reason"].startswith("verify-2: The deploy")
    assert {name: world.running()[name] for name in TARGETS} == dict.fromkeys(TARGETS, OLD)


def test_a_deploy_that_touched_nothing_has_nothing_to_take_back(world):
    world.put("web", required_env=["NO_SUCH_VARIABLE"])
    before = triggers(world)
    found = world.work(world.start()["deployment_id"])
    assert found["status"] == "failed"
    assert "web lacks the variables NO_SUCH_VARIABLE" in found["reason"]
    assert found["rolled_back_by"] is None
    assert set(triggered(world, before).values()) == {0}
    world.put("web")
    live(world)  # and others may deploy again


def test_aborting_a_deploy_takes_back_what_it_has_touched(world):
    begun = world.start()
    world.work(begun["deployment_id"], until=lambda found: found["targets"][0]["promoted_at"])
    act(plan_verbs.act, "abort", begun["plan_id"])
    found = world.work(begun["deployment_id"])
    assert found["status"] == "rolled_back"
    assert world.running()["web"] == OLD


def test_a_first_deploy_that_fails_has_nothing_to_go_back_to_and_says_so(world):
    green = world.providers.places["green"]
    green.deploys.clear()
    green.live = green.running = None
    world.providers.faults.add("fails", place="green", commit=NEW, value="build_failed")
    found = world.work(world.start(targets=["green"], strategy="rolling")["deployment_id"])
    assert found["status"] == "not_rolled_back"
    (alert,) = world.sql("select message from tds_alerts where alert_type = 'deploy.not_rolled_back' and not resolved")[0]
    assert "Nothing was live at green before" in alert


def test_a_rollback_that_failed_can_be_tried_again(world):
    found = live(world)
    world.providers.faults.add("refused", calls=None, path="/rollback", method="POST")
    act(rollbacks.rollback, {"deployment_id": found["deployment_id"]})
    failed = world.work(found["deployment_id"], until=lambda found: found["status"] == "not_rolled_back")
    world.providers.faults.clear()
    back = deployment_status.show(failed["rolled_back_by"])
    act(plan_verbs.act, "retry", back["plan_id"])
    assert world.work(found["deployment_id"], until=lambda found: found["status"] == "rolled_back")
    assert world.running()["web"] == OLD


def test_a_deploy_that_was_superseded_is_not_taken_back(world):
    first = live(world)
    world.providers.commit(THIRD)
    live(world, commit=THIRD)
    with pytest.raises(Conflict, match="later deployment"):
        act(rollbacks.rollback, {"deployment_id": first["deployment_id"]})


def test_a_rollback_is_not_rolled_back(world):
    found = live(world)
    back = act(rollbacks.rollback, {"deployment_id": found["deployment_id"]})[1]
    world.work(back["deployment_id"])
    with pytest.raises(Conflict, match="is a rollback itself"):
        act(rollbacks.rollback, {"deployment_id": back["deployment_id"]})


def test_the_plan_of_a_deploy_that_was_taken_back_is_not_retried_nor_replayed(world):
    world.providers.faults.add("fails", place="web", commit=NEW, value="build_failed")
    found = world.work(world.start()["deployment_id"])
    with pytest.raises(Conflict, match="ask for a new one"):
        act(plan_verbs.act, "retry", found["plan_id"])
    with pytest.raises(Invalid):
        act(plans.replay, found["plan_id"])


# What providers do ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"name": "empty", "method": "POST", "path": "/deploys"},
        {"name": "throttled", "calls": 3},
        {"name": "error", "calls": 4},
        {"name": "unavailable", "calls": 4, "method": "GET"},
        {"name": "garbled", "calls": 2, "method": "GET"},
        {"name": "conflict", "calls": 1, "method": "POST"},
        {"name": "late", "place": "web", "commit": NEW, "value": 4},
        {"name": "doubled", "place": "web", "commit": NEW},
        {"name": "lost", "calls": 3, "method": "POST"},
    ],
    ids=lambda fault: fault["name"],
)
def test_a_deploy_goes_live_whatever_its_providers_do_on_the_way(world, fault):
    world.providers.faults.add(**fault)
    live(world)
    assert {name: world.running()[name] for name in TARGETS} == dict.fromkeys(TARGETS, NEW)


def test_a_provider_that_lies_is_not_believed(world):
    world.providers.faults.add("lies", place="web", commit=NEW)
    begun = world.start(strategy={"kind": "waves", "waves": [["web"], ["page", "api"]], "wave_seconds": 300})
    found = world.work(begun["deployment_id"])
    assert found["status"] == "rolled_back"
    assert parts(begun["deployment_id"])["web"].verified_at is None
    assert "verify-1 took longer" in found["reason"]


# Decided by people ---------------------------------------------------------------------------------------------------


def test_a_deploy_waits_for_those_who_must_approve_it(world):
    begun = world.start(approvals=1)
    assert begun["status"] == "waiting"
    assert not work.work().chunks
    with pytest.raises(PreconditionFailed):
        act(deployments.approve, begun["deployment_id"], {"confirm": "0" * 64})
    with pytest.raises(Conflict, match="Somebody else"):
        act(deployments.approve, begun["deployment_id"], {"confirm": begun["definition_hash"]}, by="ann")
    with pytest.raises(Conflict, match="waits to be approved"):
        act(plan_verbs.act, "resume", begun["plan_id"])
    found = act(deployments.approve, begun["deployment_id"], {"confirm": begun["definition_hash"]})
    assert found["status"] == "running"
    assert found["approved_by"] == ["bea"]
    assert live_of(world, begun)


def test_two_must_approve_where_two_are_asked_for_and_nobody_counts_twice(world):
    begun = world.start(approvals=2)
    confirm = {"confirm": begun["definition_hash"]}
    assert act(deployments.approve, begun["deployment_id"], confirm)["status"] == "waiting"
    with pytest.raises(Conflict, match="bea has approved it before"):
        act(deployments.approve, begun["deployment_id"], confirm)
    assert act(deployments.approve, begun["deployment_id"], confirm, by="cid")["status"] == "running"


def test_a_deploy_that_is_cancelled_while_it_waits_touches_nothing(world):
    begun = world.start(approvals=1)
    act(plan_verbs.act, "cancel", begun["plan_id"])
    found = deployment_status.show(begun["deployment_id"])
    assert found["status"] == "cancelled"
    world.start()


def test_nothing_is_deployed_in_a_freeze_window(world):
    window = [{"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "reason": "holidays"}]
    world.sql("update tidemark.settings set value = :value::jsonb where key = 'deploy.freeze_windows'", value=json.dumps(window))
    with pytest.raises(Conflict, match="holidays"):
        world.start()


def test_a_window_that_begins_meanwhile_stops_what_was_not_begun(world):
    begun = world.start(targets=["web"], strategy="rolling")
    window = [{"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "reason": "an incident"}]
    world.sql("update tidemark.settings set value = :value::jsonb where key = 'deploy.freeze_windows'", value=json.dumps(window))
    found = world.work(begun["deployment_id"])
    assert found["status"] == "failed"
    assert "an incident" in found["reason"]


def test_a_gate_that_cannot_tell_waits_for_a_person(world):
    world.providers.behave(NEW, place="web", requests=0)
    gates = {"metrics": [{"name": "error_rate", "max": 0.05, "count": 1}]}
    begun = world.start(targets=["web"], strategy="rolling", gates=gates)
    found = world.work(begun["deployment_id"], until=lambda found: found["held_for"])
    assert "error_rate of web is inconclusive" in found["held_for"]
    act(deployments.approve, begun["deployment_id"], {"confirm": begun["definition_hash"]})
    for _ in range(3):  # the same gate is read again once it is promoted
        found = world.work(begun["deployment_id"], until=lambda found: found["held_for"] or found["ended_at"])
        if found["held_for"]:
            act(deployments.approve, begun["deployment_id"], {"confirm": begun["definition_hash"]})
    assert found["status"] == "live", found["reason"]
    assert found["targets"][0]["gates"]["trigger:error_rate"]["waived_by"] == "bea"


def test_a_gate_that_nobody_decides_ends_with_its_time(world):
    world.providers.behave(NEW, place="web", requests=0)
    gates = {"metrics": [{"name": "error_rate", "max": 0.05, "count": 1}]}
    strategy = {"kind": "rolling", "wave_seconds": 300}
    found = world.work(world.start(targets=["web"], strategy=strategy, gates=gates)["deployment_id"])
    assert found["status"] == "rolled_back"


def test_a_line_that_is_forbidden_after_promotion_takes_it_back(world):
    world.providers.behave(NEW, place="web", lines=["listening", "Traceback (most recent call last):"])
    gates = {"logs": {"forbidden": ["Traceback"], "expected": ["listening"]}}
    found = world.work(world.start(targets=["web"], strategy="rolling", gates=gates)["deployment_id"])
    assert found["status"] == "rolled_back", found["targets"]
    assert "watch-1" in found["reason"]
    assert "Traceback" in found["reason"]


def test_a_service_that_is_not_well_is_taken_back(world):
    world.providers.behave(NEW, place="web", health=500)
    found = world.work(world.start(targets=["web"], strategy="rolling")["deployment_id"])
    assert found["status"] == "rolled_back"
    assert "health" in found["reason"]


# Told ----------------------------------------------------------------------------------------------------------------


def test_the_bus_is_told_of_each_step_once(world):
    found = live(world)
    rows = world.sql(
        "select topic, payload ->> 'stage', payload ->> 'status', payload ->> 'target', count(*) from tidemark.notices"
        " where topic like 'deploy.%' and correlation_id = :id group by 1, 2, 3, 4",
        id=found["deployment_id"],
    )
    assert {row[4] for row in rows} == {1}
    told = {(row[1], row[2]) for row in rows}
    assert {("deploy", "initiated"), ("trigger", "begun"), ("verify after trigger", "passed"), ("promote", "done")} <= told
    assert [row for row in rows if row[0] == "deploy.outcome.success"]


def test_the_list_has_the_newest_first(world):
    first = live(world, targets=["web"], strategy="rolling")
    second = live(world, targets=["api"], strategy="rolling")
    listed = deployment_status.listed(Request("GET", "/api/hxo/deployments", query="limit=1"))
    assert [each["deployment_id"] for each in listed["deployments"]] == [second["deployment_id"]]
    assert first["deployment_id"] in {
        each["deployment_id"] for each in deployment_status.listed(Request("GET", "/"))["deployments"]
    }
    with pytest.raises(Invalid):
        deployment_status.listed(Request("GET", "/", query="limit=0"))


def test_no_secret_of_a_provider_stands_in_a_table(world):
    live(world)
    keys = [value for name, value in world.providers.environment().items() if name.endswith(("KEY", "TOKEN"))]
    with db.transaction("status", read_only=True) as tx:
        assert tx is not None
    for table in ("deployments", "deployment_targets", "targets", "notices", "plans", "stages"):
        for (row,) in world.sql(f"select to_jsonb(t)::text from tidemark.{table} t"):
            assert not [key for key in keys if key in row], table
