"""EnvRecon: configuration drift between targets is told by names and hashes, and never by a value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common import settings
from common.outgoing import calls
from common.rules import environments
from common.rules.environments import Side
from common.rules.http import Request
from deploy.local import gateway
from deploy.local.providers import StandIn
from tests.conftest import OWNER
from tests.functions.shells import Reply, keeps_the_promises_of_a_refusal, wsgi

PATH = "/api/diagnostics/env-drift"


@pytest.fixture
def providers(configured):
    with StandIn() as standing:
        configured(**standing.environment())
        yield standing
        calls.close()


def ask(method: str, path: str, body: Any = None, token: str = OWNER) -> Reply:
    sent = b"" if body is None else json.dumps(body).encode()
    return wsgi(Request(method, path, "", (("authorization", f"Bearer {token}"),), sent), gateway.target_of(method, path))


def refused(reply: Reply, status: int) -> None:
    assert keeps_the_promises_of_a_refusal(reply)
    assert reply.status == status


def keys(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply.body
    return {each["name"]: each for each in reply.json["keys"]}


def test_targets_with_the_same_variables_have_not_drifted(providers):
    found = ask("GET", PATH).json
    assert (found["status"], found["keys"]) == ("same", [])
    assert [target["name"] for target in found["targets"]] == ["github", "netlify", "render", "render-green"]
    assert all(target["variables"] == 3 and target["missing"] == [] and target["error"] is None for target in found["targets"])


def test_a_key_that_is_missing_on_one_target_is_reported(providers):
    del providers.places["page"].variables["DATABASE_URL"]
    found = ask("GET", PATH)
    assert found.json["status"] == "drifted"
    (told,) = found.json["keys"]
    assert (told["name"], told["missing_on"], told["on"]) == ("DATABASE_URL", ["netlify"], ["github", "render", "render-green"])


def test_a_value_that_differs_is_reported_by_its_hash(providers):
    providers.places["green"].variables["LOG_LEVEL"] = "debug"
    told = keys(ask("GET", PATH))["LOG_LEVEL"]
    assert told["values"] == "different"
    assert told["hashes"]["render"] == told["hashes"]["github"] != told["hashes"]["render-green"]


def test_a_variable_that_a_target_must_have_is_missed_there(providers):
    given = providers.target("web")
    given["config"]["required_env"] = ["SECRET_KEY", "STRIPE_KEY"]
    assert ask("PUT", "/api/hxo/targets/render", given).status == 201
    found = ask("GET", PATH).json
    assert found["status"] == "drifted"
    assert {target["name"]: target["missing"] for target in found["targets"]}["render"] == ["STRIPE_KEY"]


def test_what_is_a_targets_own_business_is_not_compared(providers):
    given = providers.target("web")
    given["config"]["own_env"] = ["PORT"]
    assert ask("PUT", "/api/hxo/targets/render", given).status == 201
    providers.places["web"].variables["PORT"] = "8080"
    assert ask("GET", PATH).json["status"] == "same"


def test_secrets_are_never_in_the_output(providers, capfd):
    for name, place in providers.places.items():
        place.variables |= {"STRIPE_KEY": f"sk-value-of-{name}", "HIDDEN_TOKEN": f"hidden-value-of-{name}"}
    shown = ask("GET", PATH).body.decode() + "".join(capfd.readouterr())
    values = {value for place in providers.places.values() for value in place.variables.values()}
    assert "STRIPE_KEY" in shown
    assert [value for value in values if value in shown] == []


def test_a_value_that_nobody_may_read_is_not_called_the_same(providers):
    for place in providers.places.values():
        place.variables["HIDDEN_TOKEN"] = "the-same-everywhere"
    found = ask("GET", PATH)
    assert found.json["status"] == "unknown"
    told = keys(found)["HIDDEN_TOKEN"]
    assert (told["values"], told["hashes"]["netlify"], told["missing_on"]) == ("unknown", None, [])


def test_a_target_that_cannot_be_read_is_told_of_and_holds_nobody_up(providers, configured):
    configured(**providers.environment() | {"HXO_FEDERATION_TIMEOUT": "300"})
    providers.faults.add("slow", path="/api/v1/", value=1.0, calls=None)
    providers.faults.add("refused", path="/repos/", calls=None)
    found = ask("GET", PATH).json
    assert found["status"] == "unknown"
    errors = {target["name"]: target["error"] for target in found["targets"]}
    assert "in time" in errors["netlify"]
    assert "GITHUB_TOKEN" in errors["github"]
    assert errors["render"] is errors["render-green"] is None


def test_a_passive_deployment_asks_no_provider(providers, configured, sql):
    assert ask("GET", PATH).status == 200
    configured(**providers.environment() | {"DEPLOYMENT": "another"})
    providers.forget()
    refused(ask("GET", PATH), 503)
    assert providers.journal == []


def test_hashes_are_salted_with_a_key_and_with_the_name(database_url):
    key = settings.load().environment_key
    assert environments.hashed("A", "1", key) != environments.hashed("B", "1", key)
    assert environments.hashed("A", "1", key) != environments.hashed("A", "1", "another key")
    assert environments.hashed("A", "1", key) == environments.hashed("A", "1", key)
    assert environments.hashed("A", "", key) is None


def test_one_target_alone_can_only_lack_what_it_must_have():
    alone = environments.compared([Side("web", {"A": "1"}, required=["A", "B"])], "k")
    assert (alone["status"], alone["targets"][0]["missing"], alone["keys"]) == ("drifted", ["B"], [])
    assert environments.compared([Side("web", {"A": "1"})], "k")["status"] == "same"
    assert environments.compared([], "k") == {"status": "same", "targets": [], "keys": []}
    assert environments.compared([Side("web", None, error="down")], "k")["status"] == "unknown"
