"""Every word that a provider has for a state is translated as the table of canonical states has it; any other is unknown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from common import settings
from common.rules.deploys import State, is_commit
from common.rules.plan import Reader
from common.targets import find, github, netlify, providers, render

RENDER = {
    State.QUEUED: "created queued",
    State.BUILDING: "build_in_progress",
    State.MIGRATING: "pre_deploy_in_progress",
    State.RELEASING: "update_in_progress",
    State.LIVE: "live",
    State.SUPERSEDED: "deactivated",
    State.FAILED: "build_failed pre_deploy_failed update_failed",
    State.CANCELED: "canceled",
    State.UNKNOWN: "Live LIVE success ready None",
}
NETLIFY = {
    State.QUEUED: "new enqueued accepted",
    State.AWAITING_APPROVAL: "pending_review",
    State.BUILDING: "building retrying",
    State.RELEASING: "uploading uploaded preparing prepared processing processed",
    State.FAILED: "error",
    State.REJECTED: "rejected",
    State.UNKNOWN: "live published READY None",
}
GITHUB = {
    State.QUEUED: "queued pending",
    State.BUILDING: "in_progress",
    State.LIVE: "success",
    State.FAILED: "failure error",
    State.UNKNOWN: "live ready waiting SUCCESS",
}


def words(table):
    return [(word, state) for state, listed in table.items() for word in listed.split()]


@pytest.mark.parametrize(("word", "state"), words(RENDER))
def test_a_word_of_render(word, state):
    assert render._read({"id": "dep-1", "status": word}).state is state


@pytest.mark.parametrize(("word", "state"), words(NETLIFY))
@pytest.mark.parametrize("live", ["1", "2", None])
def test_a_word_of_netlify(word, state, live):
    assert netlify._read({"id": "1", "state": word}, live).state is state


def test_what_is_ready_at_netlify_is_live_only_when_the_site_has_published_it():
    assert netlify._read({"id": "1", "state": "ready"}, "1").state is State.LIVE
    assert netlify._read({"id": "1", "state": "ready"}, "2").state is State.SUPERSEDED
    assert netlify._read({"id": "1", "state": "ready"}, None).state is State.SUPERSEDED


def test_a_deploy_that_somebody_stopped_at_netlify_is_canceled_and_not_failed():
    assert netlify._read({"id": "1", "state": "error", "error_message": "Canceled build"}, None).state is State.CANCELED
    assert netlify._read({"id": "1", "state": "error", "error_message": "Deploy cancelled by user"}, None).state is State.CANCELED
    assert netlify._read({"id": "1", "state": "error", "error_message": "Build exited with 2"}, None).state is State.FAILED


@pytest.mark.parametrize(("word", "state"), words(GITHUB))
def test_a_word_of_github(word, state):
    assert github._read({"id": 1}, [{"state": word}]).state is state


def test_a_deployment_without_a_word_is_queued_and_an_inactive_one_was_live_once_or_never():
    assert github._read({"id": 1}, []).state is State.QUEUED
    assert github._read({"id": 1}, [{"state": "inactive"}, {"state": "success"}]).state is State.SUPERSEDED
    assert github._read({"id": 1}, [{"state": "inactive"}, {"state": "queued"}]).state is State.CANCELED


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("pending", State.QUEUED),
        ("running", State.MIGRATING),
        ("succeeded", State.LIVE),
        ("failed", State.FAILED),
        ("canceled", State.CANCELED),
    ],
)
def test_a_word_of_a_job(word, state):
    assert render.JOB_STATES[word] is state


def test_a_commit_is_the_same_when_one_is_abbreviated():
    assert is_commit("c0ffee1", "c0ffee1" + "0" * 33)
    assert not is_commit("c0ffee1", "c0ffee2" + "0" * 33)
    assert not is_commit("c0", "c0ffee1")
    assert not is_commit(None, None)
    assert not is_commit("c0ffee1", None)


FAULTS = [
    ("render", {}, "/config/service_id"),
    ("render", {"service_id": "web"}, "/config/service_id"),
    ("render", {"service_id": "srv-1", "deploy_hook": "https://api.example.com/deploy/srv-1?key=abc"}, "/config/deploy_hook"),
    ("render", {"service_id": "srv-1", "deploy_hook": "SECRET_KEY"}, "/config/deploy_hook"),
    ("render", {"service_id": "srv-1", "auto_deploy": "off"}, "/config/auto_deploy"),
    ("render", {"service_id": "srv-1", "green": {"service_id": 7}}, "/config/green/service_id"),
    ("render", {"service_id": "srv-1", "green": []}, "/config/green"),
    ("render", {"service_id": "srv-1", "api_key": "rnd_secret"}, "/config/api_key"),
    ("netlify", {}, "/config/site_id"),
    ("netlify", {"site_id": "../x"}, "/config/site_id"),
    ("netlify", {"site_id": "x", "health_path": "health"}, "/config/health_path"),
    ("github", {}, "/config/repository"),
    ("github", {"repository": "owner"}, "/config/repository"),
    ("github", {"repository": "owner/../name"}, "/config/repository"),
    ("github", {"repository": "owner/name", "workflow": "../x.yml"}, "/config/workflow"),
    ("github", {"repository": "owner/name", "required_contexts": "ci"}, "/config/required_contexts"),
    ("github", {"repository": "owner/name", "url": "//nowhere"}, "/config/url"),
    ("github", {"repository": "owner/name", "required_env": ["A B"]}, "/config/required_env"),
]


@pytest.mark.parametrize(("provider", "config", "pointer"), FAULTS)
def test_a_config_that_cannot_be_right_is_told_with_its_place_and_without_its_value(provider, config, pointer):
    reader = Reader()
    find(provider).check(config, reader)
    assert [fault["pointer"] for fault in reader.faults] == [pointer]
    assert not any(secret in fault["message"] for fault in reader.faults for secret in ("rnd_secret", "key=abc"))


def test_no_provider_is_known_by_a_word_for_live_that_another_one_has():
    assert set(providers()) == {"github", "netlify", "render"}
    live = {name: {word for word, state in find(name).STATES.items() if state is State.LIVE} for name in providers()}
    assert live == {"render": {"live"}, "github": {"success"}, "netlify": set()}  # there, publishing makes it live


def test_a_moment_is_read_as_each_provider_writes_it():
    from common.rules import targets

    assert targets.instant("2026-01-02T03:04:05.123456789Z") == datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)
    assert targets.instant("2026-01-02T03:04:05Z") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert targets.instant("yesterday") is targets.instant(None) is targets.instant("2026-01-02T03:04:05") is None


def test_a_row_can_name_a_hook_and_no_other_variable(configured):
    configured(RENDER_DEPLOY_HOOK="https://api.example.com/deploy/srv-1?key=1")
    assert settings.secret("RENDER_DEPLOY_HOOK") == "https://api.example.com/deploy/srv-1?key=1"
    assert settings.secret("NETLIFY_DEPLOY_HOOK") == ""
    for name in ("SECRET_KEY", "DATABASE_URL", "render_api_key", "", "__class__"):
        with pytest.raises(KeyError):
            settings.secret(name)
