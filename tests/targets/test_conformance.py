"""What every provider must do: the same suite over all of them, against the stand-in."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta

import pytest

from common import targets
from common.errors import Conflict, SourceRefused, Suspended, Throttled, Unavailable, Unknown
from common.outgoing import probe
from common.rules import deploys
from common.rules.deploys import OVER, Ability, Point, State, Wanted
from tests.targets.conftest import FIRST, KEY, A, B, C, a_place

PATHS = {"web": "/v1/services", "page": "/api/v1", "api": "/repos/"}
VARIABLES = {"web": "RENDER_API_KEY", "page": "NETLIFY_AUTH_TOKEN", "api": "GITHUB_TOKEN"}
VERBS = {line.split("def ")[1].split("(")[0] for line in (deploys.__doc__ or "").splitlines() if " def " in line}


@pytest.mark.parametrize("provider", targets.providers())
def test_a_provider_has_every_verb(provider):
    module = targets.find(provider)
    assert {verb for verb in (VERBS | {"unfreeze"}) if not inspect.isfunction(getattr(module, verb, None))} == set()
    assert not module.CAN - frozenset(Ability)
    assert (Ability.JOBS in module.CAN) == (hasattr(module, "job") and hasattr(module, "job_state"))


def test_a_deploy_is_begun_once_and_becomes_live_and_is_read_back(at):
    begun = at.trigger()
    assert begun.state not in OVER
    states = [at.module.get(at.target, begun.id).state for _ in range(12)]
    assert states[-1] is State.LIVE
    assert State.UNKNOWN not in states
    assert states.index(State.LIVE) > 0
    serving = at.module.serving(at.target)
    assert (serving.id, serving.commit) == (begun.id, A)
    assert at.providers.triggers(at.name) == 1
    assert at.place.running == A
    assert probe.version(at.target) == A


def test_a_deploy_that_was_live_is_superseded_by_the_next(at):
    first, second = at.deployed(A, "key-1"), at.deployed(B, "key-2")
    assert at.module.get(at.target, first.id).state is State.SUPERSEDED
    assert at.module.get(at.target, second.id).state is State.LIVE
    assert [deploy.state for deploy in at.module.listed(at.target, 10)].count(State.LIVE) == 1


def test_what_an_intent_began_is_found_and_nothing_else(at):
    assert at.found() == []
    begun = at.trigger()
    at.trigger(B, "tidemark-another-one")
    assert [deploy.id for deploy in at.found()] == [begun.id]
    assert at.found()[0].commit == A


def test_two_deploys_of_one_intent_are_both_found_the_oldest_first(at):
    at.providers.faults.add("doubled")
    at.trigger()
    ids = [deploy.id for deploy in at.place.deploys[-2:]]
    if at.name == "api":  # the workflow was dispatched for one of them; the other waits
        at.place.deploys[-2].is_waiting = False
        at.place.deploys[-2].statuses.append({"state": "queued", "created_at": "2026-01-01T00:00:00+00:00"})
    assert [deploy.id for deploy in at.found()] == ids


def test_the_latest_deploys_are_listed_the_newest_first(at):
    made = [at.deployed(commit, f"key-{commit[0]}").id for commit in (A, B, C)]
    assert [deploy.id for deploy in at.module.listed(at.target, 3)] == made[::-1]
    assert len(at.module.listed(at.target, 2)) == 2


def test_a_deploy_that_is_on_its_way_is_cancelled_and_one_that_is_over_is_left_alone(at):
    begun = at.trigger()
    at.module.cancel(at.target, begun.id)
    assert at.module.get(at.target, begun.id).state is State.CANCELED
    at.module.cancel(at.target, begun.id)
    live = at.deployed(B, "key-2")
    at.module.cancel(at.target, live.id)
    assert at.module.serving(at.target).id == live.id


def test_a_former_deploy_is_put_back_and_runs_again(at):
    at.deployed(A)
    back = at.module.restore(at.target, Point(at.first, FIRST), "tidemark-back")
    at.ended(back.id)
    assert at.module.serving(at.target).commit == FIRST
    assert at.place.running == FIRST
    assert probe.version(at.target) == FIRST


def test_what_is_frozen_stays_as_it_is_when_somebody_pushes_until_it_is_unfrozen(at):
    at.place.is_automatic = at.name != "api"
    at.module.freeze(at.target)
    assert at.module.is_frozen(at.target)
    at.providers.push(B)
    at.module.listed(at.target, 5)
    at.ended(at.place.deploys[-1].id)
    assert at.place.running == FIRST
    at.module.unfreeze(at.target)
    assert not at.module.is_frozen(at.target)
    if at.name != "api":
        at.providers.push(C)
        at.ended(at.place.deploys[-1].id)
        assert at.place.running == C


def test_a_frozen_target_can_be_put_back_and_stays_frozen(at):
    at.deployed(A)
    at.module.freeze(at.target)
    back = at.module.restore(at.target, Point(at.first, FIRST), "tidemark-back")
    at.ended(back.id)
    assert at.place.running == FIRST
    assert at.module.is_frozen(at.target)


@pytest.mark.parametrize("name", ["page", "api"])
def test_a_deploy_that_could_never_become_live_because_of_the_freeze_is_not_begun(providers, name):
    at = a_place(providers, name)
    at.module.freeze(at.target)
    with pytest.raises(SourceRefused, match="Unfreeze it first"):
        at.trigger()
    assert providers.triggers(name) == 0


def test_the_environment_is_read_and_what_is_secret_there_is_empty(at):
    at.place.variables["HIDDEN_TOKEN"] = "nobody-may-read-this"
    found = at.module.environment(at.target)
    assert found["LOG_LEVEL"] == "info"
    assert found.keys() == at.place.variables.keys()
    assert found["HIDDEN_TOKEN"] == ("nobody-may-read-this" if at.name == "web" else "")


def test_an_environment_of_many_pages_is_read_to_its_end(at):
    at.place.variables.update({f"VARIABLE_{no:03d}": str(no) for no in range(230)})
    assert at.module.environment(at.target).keys() == at.place.variables.keys()


def test_a_provider_knows_where_its_target_runs(at):
    assert at.module.address(at.target) == at.providers.site(at.name)


def test_a_deploy_that_there_is_not_is_unknown(at):
    with pytest.raises(Unknown, match="Check the ids"):
        at.module.get(at.target, "999999999")


# Faults ----------------------------------------------------------------------------------------------------------


def test_a_deploy_that_fails_is_failed_and_the_old_one_serves_on(at):
    at.providers.faults.add("fails")
    assert at.deployed().state is State.FAILED
    assert at.module.serving(at.target).commit == at.place.running == FIRST


def test_a_deploy_that_is_stuck_is_never_over(at):
    at.providers.faults.add("stuck")
    begun = at.trigger()
    assert at.ended(begun.id, looks=30).state not in OVER | {State.UNKNOWN}
    assert at.module.serving(at.target).commit == FIRST


def test_a_state_that_nobody_has_heard_of_is_unknown_and_never_live(at):
    at.providers.faults.add("strange", value="reticulating_splines")
    deploy = at.deployed()
    assert (deploy.state, deploy.said) == (State.UNKNOWN, "reticulating_splines")
    assert State.UNKNOWN not in OVER
    assert at.module.serving(at.target).commit == FIRST


def test_a_provider_that_lies_is_contradicted_by_what_runs(at):
    at.providers.faults.add("lies")
    deploy = at.deployed()
    assert deploy.state is State.LIVE
    assert at.module.serving(at.target).commit == A
    assert probe.version(at.target) == FIRST


def test_a_deploy_that_is_listed_late_is_found_once_it_is_there(at):
    at.providers.faults.add("late", value=2)
    at.trigger()
    looks = [len(at.found()) for _ in range(4)]
    assert looks[-1] == 1
    assert sorted(looks) == looks
    assert at.providers.triggers(at.name) == 1
    assert at.name == "api" or looks[0] == 0  # there, making it has looked at the list, too


@pytest.mark.parametrize("name", ["web", "page"])
def test_an_answer_without_a_body_is_no_deploy_yet_and_it_is_found_by_looking(providers, name):
    at = a_place(providers, name)
    providers.faults.add("empty", method="POST")
    assert at.trigger() is None
    (found,) = at.found()
    assert found.id == at.place.deploys[-1].id
    assert providers.triggers(name) == 1


def test_an_answer_that_is_lost_leaves_a_deploy_that_is_found_by_looking(at):
    at.providers.faults.add("lost", method="POST")
    with pytest.raises(Unavailable):
        at.trigger()
    if at.name == "api":  # the deployment is there, and nobody has dispatched the workflow
        assert at.found() == []
        at.trigger()
    assert len(at.found()) == 1
    assert at.providers.triggers(at.name) == 1


def test_what_is_in_the_way_is_a_conflict(at):
    at.providers.faults.add("conflict", method="POST")
    with pytest.raises(Conflict):
        at.trigger()
    assert at.providers.triggers(at.name) == 0


def test_too_many_calls_are_told_with_the_time_to_wait_and_open_no_breaker(at, sql):
    at.providers.faults.add("throttled", calls=6, value=17)
    for _ in range(6):
        with pytest.raises(Throttled) as refusal:
            at.module.serving(at.target)
        assert refusal.value.retry_after_seconds == 17
    assert at.module.serving(at.target).commit == FIRST


@pytest.mark.parametrize("fault", ["error", "unavailable", "garbled"])
def test_a_provider_in_trouble_is_unavailable_and_then_left_alone(at, sql, fault):
    at.providers.faults.add(fault, calls=None)
    for _ in range(5):
        with pytest.raises(Unavailable) as refusal:
            at.module.serving(at.target)
        assert not isinstance(refusal.value, Suspended | Throttled)
    before = len(at.providers.journal)
    with pytest.raises(Suspended):
        at.module.serving(at.target)
    assert len(at.providers.journal) == before
    assert sql("select name, state from tidemark.breakers where state <> 'closed'") == [[at.target.provider, "open"]]


def test_an_answer_that_comes_too_late_is_unavailable(at, monkeypatch):
    from common.outgoing import providers

    monkeypatch.setattr(providers, "SECONDS", 0.2)
    at.providers.faults.add("slow", value=0.6)
    with pytest.raises(Unavailable, match="in time"):
        at.module.serving(at.target)


def test_a_key_that_is_not_accepted_names_the_variable_to_look_at(at, configured):
    configured(**{VARIABLES[at.name]: "some-other-key-altogether"})
    with pytest.raises(SourceRefused, match=VARIABLES[at.name]) as refusal:
        at.module.serving(at.target)
    assert "some-other-key" not in refusal.value.detail


def test_a_right_that_is_missing_names_the_variable_to_look_at(at):
    at.providers.faults.add("refused", path=PATHS[at.name])
    with pytest.raises(SourceRefused, match=VARIABLES[at.name]):
        at.module.serving(at.target)


def test_a_key_that_is_not_set_is_said_before_anybody_is_asked(at, configured):
    configured(**{VARIABLES[at.name]: ""})
    with pytest.raises(SourceRefused, match=f"{VARIABLES[at.name]} is not set"):
        at.module.serving(at.target)
    assert at.providers.journal == []


def test_a_deploy_takes_time_when_states_do(configured):
    from deploy.local.providers import StandIn

    with StandIn(step=10) as providers:
        configured(**providers.environment())
        at = a_place(providers, "web")
        begun = at.trigger()
        assert at.ended(begun.id).state is State.QUEUED
        providers.turn(25)
        assert at.ended(begun.id).state is State.BUILDING
        providers.turn(60)
        assert at.ended(begun.id).state is State.LIVE


def test_a_window_that_the_intent_does_not_reach_into_finds_nothing_at_render(providers):
    at = a_place(providers, "web")
    at.trigger()
    assert at.found(since=datetime.now(UTC) + timedelta(minutes=1)) == []
    assert len(at.found(since=datetime.now(UTC) - timedelta(minutes=1))) == 1


def test_the_key_reaches_those_that_keep_it(providers):
    for name in ("page", "api"):
        at = a_place(providers, name)
        assert at.module.get(at.target, at.trigger().id).key == KEY


def test_an_artifact_is_asked_for_as_what_it_is(providers):
    at = a_place(providers, "web")
    at.module.trigger(at.target, Wanted(artifact="registry.example.com/app:1"), KEY)
    at.module.trigger(at.target, Wanted(artifact="art-7"), KEY)
    assert [call.document for call in providers.journal if call.method == "POST"] == [
        {"imageUrl": "registry.example.com/app:1"},
        {"artifactId": "art-7", "deployMode": "deploy_only"},
    ]
    (found,) = at.module.found(at.target, Wanted(artifact="art-7"), KEY, datetime.now(UTC) - timedelta(minutes=1))
    assert found.artifact == "art-7"
