"""What a running service says of itself; whatever it does instead is not taken for an answer."""

from __future__ import annotations

import pytest

from common.outgoing import probe
from common.rules.deploys import Target
from tests.outgoing.conftest import answer

pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def standing(serve, configured):
    """`standing(b"...", version_path="/v")`: a target whose service says these, and its server."""

    def start(*scripts, **config):
        server = serve(*scripts)
        configured(EGRESS_ALLOW=f"127.0.0.1:{server.port}")
        return Target("web", "render", {"url": server.url, **config}), server

    return start


def test_a_service_that_answers_2xx_is_well(standing):
    target, server = standing(answer(b"{}"), health_path="/up")
    found = probe.health(target)
    assert (found.ok, found.status) == (True, 200)
    assert found.took_ms > 0
    assert server.requests == ["GET /up "]


def test_the_path_that_is_asked_is_the_configured_one_unless_the_target_says_otherwise(standing, configured):
    target, server = standing(answer(b"{}"), answer(b"{}"))
    probe.health(target)
    configured(EGRESS_ALLOW=f"127.0.0.1:{server.port}", HEALTHCHECK_PATH="/well")
    probe.health(target)
    assert server.requests == ["GET /health/live ", "GET /well "]


def test_a_service_below_a_path_is_asked_there(standing):
    target, server = standing(answer(b"{}"), health_path="/up")
    probe.health(Target("web", "render", {**target.config, "url": f"{target.config['url']}/sites/web/"}))
    assert server.requests == ["GET /sites/web/up "]


@pytest.mark.parametrize("status", ["503 Service Unavailable", "404 Not Found", "500 Internal Server Error"])
def test_a_service_that_answers_anything_else_is_not_well(standing, status):
    target, _ = standing(answer(b"{}", status))
    found = probe.health(target)
    assert not found.ok
    assert found.status == int(status[:3])
    assert status[:3] in found.said


def test_a_redirect_is_not_well(standing):
    target, _ = standing(answer(b"", "302 Found", "Location: /login"))
    assert not probe.health(target).ok


def test_a_service_that_does_not_answer_is_not_well_and_nobody_is_stopped_by_it(standing):
    target, _ = standing(None)
    found = probe.health(target)
    assert (found.ok, found.status) == (False, None)
    assert "did not answer" in found.said


def test_a_service_that_leads_inside_is_not_asked(serve, configured):
    server = serve(answer(b"{}"))
    found = probe.health(Target("web", "render", {"url": server.url}))
    assert not found.ok
    assert server.requests == []


def test_a_target_without_an_address_says_what_to_set():
    assert "url" in probe.health(Target("web", "render", {})).said


@pytest.mark.parametrize(
    ("body", "field", "version"),
    [
        (b'{"version": "c0ffee1"}', None, "c0ffee1"),
        (b'{"build": {"commit": "c0ffee1"}}', "build.commit", "c0ffee1"),
        (b'{"version": ""}', None, None),
        (b'{"version": 7}', None, None),
        (b'{"other": "c0ffee1"}', None, None),
        (b'["version"]', None, None),
        (b"c0ffee1", None, None),
        (b"", None, None),
    ],
)
def test_a_version_is_what_the_named_field_says(standing, body, field, version):
    target, server = standing(answer(body), version_path="/version", **({"version_field": field} if field else {}))
    assert probe.version(target) == version
    assert server.requests == ["GET /version "]


def test_a_version_that_nobody_tells_is_not_known(standing):
    target, _ = standing(answer(b'{"version": "c0ffee1"}', "503 Service Unavailable"), version_path="/version")
    assert probe.version(target) is None
    gone, _ = standing(None, version_path="/version")
    assert probe.version(gone) is None
    assert probe.version(Target("web", "render", {"url": "https://web.example.com"})) is None
