"""What only Render has: hooks, jobs, logs and metrics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from common import settings
from common.errors import SourceRefused
from common.outgoing import providers as outgoing
from common.outgoing.providers import Api
from common.rules.deploys import METRICS, State, Target, Wanted
from common.rules.http import Answer
from common.targets import render
from tests.targets.conftest import FIRST, KEY, A, B, a_place

HOUR = timedelta(hours=1)


@pytest.fixture
def web(providers):
    return a_place(providers, "web")


@pytest.fixture
def hooked(providers):
    """The green service, of which nothing is known but its hook."""
    at = a_place(providers, "green")
    config = {name: value for name, value in at.target.config.items() if name != "service_id"}
    return at._replace(target=Target("render-green", "render", config | {"deploy_hook": "RENDER_DEPLOY_HOOK_GREEN"}))


def window():
    now = datetime.now(UTC)
    return now - HOUR, now + HOUR


def test_a_hook_begins_a_deploy_of_the_commit_which_is_found_by_looking(hooked):
    assert hooked.trigger(A) is None
    (found,) = hooked.found(A)
    assert hooked.ended(found.id).state is State.LIVE
    assert hooked.place.running == A
    assert hooked.providers.journal[0].query["ref"] == A


def test_a_hook_that_leads_inside_is_not_called(hooked, configured):
    configured(EGRESS_ALLOW="")
    with pytest.raises(SourceRefused, match="https"):
        hooked.trigger(A)
    assert hooked.providers.journal == []


def test_a_hook_whose_secret_is_wrong_is_refused_without_telling_it(hooked, configured):
    address = settings.load().render_deploy_hook_green
    configured(RENDER_DEPLOY_HOOK_GREEN=address + "-and-more")
    with pytest.raises(SourceRefused) as refusal:
        hooked.trigger(A)
    assert "hook-key" not in refusal.value.detail
    assert "RENDER_DEPLOY_HOOK_GREEN" in refusal.value.detail


def test_with_a_hook_and_no_key_a_deploy_is_begun_and_nothing_is_claimed_of_it(hooked, configured):
    configured(RENDER_API_KEY="")
    assert hooked.trigger(A) is None
    assert hooked.providers.triggers("green") == 1
    with pytest.raises(SourceRefused, match="RENDER_API_KEY is not set"):
        hooked.found(A)


def test_a_hook_that_names_no_service_cannot_be_watched(hooked, configured):
    configured(RENDER_DEPLOY_HOOK_GREEN=f"{hooked.providers.url}/somewhere?key=1")
    with pytest.raises(SourceRefused, match="set service_id"):
        hooked.module.serving(hooked.target)


def test_deploys_of_others_are_not_taken_for_ours(web):
    web.place.is_automatic = True
    web.providers.push(A)
    assert web.found(A) == []
    web.trigger(A)
    assert len(web.found(A)) == 1


def test_a_command_is_run_once_and_asked_after(web):
    identifier = web.module.job(web.target, "alembic upgrade head", KEY)
    assert [web.module.job_state(web.target, identifier) for _ in range(2)] == [State.MIGRATING, State.LIVE]
    failing = web.module.job(web.target, "fail", KEY)
    assert [web.module.job_state(web.target, failing) for _ in range(2)][-1] is State.FAILED
    assert [job["startCommand"] for job in web.place.jobs] == ["alembic upgrade head", "fail"]


def test_the_log_is_read_in_a_window(web):
    web.providers.say("web", "listening")
    assert [line.text for line in web.module.lines(web.target, *window())] == ["listening"]
    early = datetime.now(UTC) - 2 * HOUR
    assert web.module.lines(web.target, early, early + HOUR) == []


def test_what_a_commit_says_is_in_the_log_while_it_runs(web):
    web.providers.behave(A, lines=["ERROR: boom"])
    assert web.module.lines(web.target, *window()) == []
    web.deployed(A)
    (line,) = web.module.lines(web.target, *window())
    assert line.text == "ERROR: boom"
    assert line.at.tzinfo is not None


def test_what_is_measured_is_of_what_runs(web):
    web.providers.behave(A, error_rate=0.4, latency_p95_ms=900, requests=500, cpu=0.9)
    before = web.module.measured(web.target, *window())
    assert before.keys() == set(METRICS)
    assert before["error_rate"] == pytest.approx(0.001)
    web.deployed(A)
    after = web.module.measured(web.target, *window())
    assert (after["error_rate"], after["latency_p95_ms"], after["requests"], after["cpu"]) == (0.4, 900.0, 500.0, 0.9)
    assert all(type(value) is float for value in after.values())


def test_without_a_request_there_is_no_error_rate(web):
    web.providers.behave(FIRST, requests=0)
    found = web.module.measured(web.target, *window())
    assert found["requests"] == 0
    assert {"error_rate", "latency_p95_ms"}.isdisjoint(found)


def test_what_is_put_back_is_found_by_looking_too(web):
    web.deployed(A)
    since = datetime.now(UTC)
    web.providers.faults.add("empty", path="/rollback")
    from common.rules.deploys import Point

    assert web.module.restore(web.target, Point(web.first, FIRST), KEY) is None
    (found,) = web.module.found(web.target, Wanted(FIRST), KEY, since - timedelta(seconds=1))
    assert web.ended(found.id).state is State.LIVE


def test_what_was_thrown_away_cannot_be_put_back_and_that_is_said(web):
    web.providers.faults.add("fails", commit=B)
    failed = web.deployed(B)
    from common.rules.deploys import Point

    with pytest.raises(SourceRefused, match="not retained"):
        web.module.restore(web.target, Point(failed.id, B), KEY)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "17"}, 17),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 60),
        ({"ratelimit-reset": "42"}, 42),
        ({"retry-after": "99999999"}, outgoing.LONGEST_WAIT),
        ({"x-ratelimit-reset": "30"}, 30),
        ({"x-ratelimit-reset": "1"}, 1),
        ({}, 60),
    ],
)
def test_the_time_to_wait_is_read_from_whatever_header_says_it(headers, seconds):
    assert outgoing._wait(Answer(429, b"", headers)) == seconds


def test_what_a_provider_says_is_repeated_in_one_line_and_no_longer_than_it_helps():
    api = Api("render", "https://api.example.com", "k", "RENDER_API_KEY")
    said = outgoing._refusal(api, "this", Answer(422, b'{"message": "no\\n{\\"severity\\": 1}' + b"x" * 1000 + b'"}'))
    assert "\n" not in said.detail
    assert len(said.detail) < 400


def test_a_moment_in_the_future_is_a_time_to_wait(monkeypatch):
    monkeypatch.setattr(outgoing.time, "time", lambda: 1_800_000_000.0)
    assert outgoing._wait(Answer(403, b"", {"x-ratelimit-reset": "1800000090"})) == 90


def test_a_forbidden_answer_that_is_about_the_rate_is_a_throttle():
    from common.errors import Throttled

    with pytest.raises(Throttled):
        outgoing._check_that_it_is_well(
            Api("github", "", "k", "GITHUB_TOKEN"), Answer(403, b"{}", {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "20"})
        )


def test_render_is_asked_at_its_own_address_unless_told_otherwise(database_url):
    assert render._api().origin == "https://api.render.com"


def test_seconds_are_told_as_milliseconds_and_of_several_instances_the_worst_counts():
    from common.rules import render_series

    latencies = [
        {"unit": "s", "values": [{"value": 0.2}, {"value": 0.9}]},
        {"unit": "ms", "values": [{"value": 300}]},
    ]
    found = render_series.measured(requests=[], latencies=latencies, others={"cpu": [{"values": None}], "memory": []})
    assert found == {"requests": 0, "latency_p95_ms": 900.0}
