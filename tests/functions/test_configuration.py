"""Settings over HTTP: what they are, what they were, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common import db
from common.rules.http import Request
from common.stores import configuration
from deploy.local import gateway
from tests.conftest import OWNER
from tests.functions.shells import Reply, keeps_the_promises_of_a_refusal, wsgi

pytestmark = pytest.mark.usefixtures("database_url")
PATH = "/admin/config"


def ask(method: str, path: str, body: Any = None, token: str = OWNER) -> Reply:
    sent = b"" if body is None else json.dumps(body).encode()
    return wsgi(Request(method, path, "", (("authorization", f"Bearer {token}"),), sent), gateway.target_of(method, path))


def values() -> dict[str, Any]:
    with db.transaction("worker") as tx:
        return configuration.all_values(tx)


def test_every_setting_is_listed_with_a_value_of_its_type(sql):
    found = {each["key"]: each for each in ask("GET", PATH).json["settings"]}
    ((count,),) = sql("select (select count(*) from tds_configuration) + (select count(*) from tidemark.settings)")
    assert len(found) == count
    assert found["batch_size"]["value"] == 100
    assert found["failure_rate_threshold"]["value"] == 0.05
    assert found["reconciliation.enabled"]["value"] is True
    assert isinstance(found["plans.concurrency"]["value"], dict)


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("queue_backlog_threshold", 2000, "2000"),
        ("failure_rate_threshold", 0.25, "0.25"),
        ("reconciliation.enabled", False, "false"),
        ("reconciliation.schedule_cron", "30 3 * * *", "30 3 * * *"),
        ("operator.calls_per_minute", 120, "120"),
        ("schedules.time_zone", "Asia/Baghdad", "Asia/Baghdad"),
        ("plans.concurrency", {"noop": 2}, '{"noop": 2}'),
    ],
)
def test_a_changed_value_counts_at_once_and_what_it_was_is_kept(sql, key, value, stored):
    before = ask("GET", f"{PATH}/{key}").json
    answer = ask("PATCH", f"{PATH}/{key}", {"value": value})
    assert (answer.status, answer.json["value"], answer.json["version"]) == (200, value, before["version"] + 1)
    (former,) = answer.json["history"]
    assert (former["value"], former["version"]) == (before["value"], before["version"])
    assert former["replaced_by"] == answer.json["updated_by"] != before["updated_by"]
    assert values()[key] == configuration.READ[before["value_type"]](stored)
    assert sql("select count(*) from tds_configuration") == [[11]]


def test_the_form_in_which_a_value_is_stored_stays_as_the_seed_has_it(sql):
    forms = "select config_key, jsonb_typeof(config_value) from tds_configuration union all select key, jsonb_typeof(value) from tidemark.settings order by 1"
    before = sql(forms)
    assert ask("PATCH", PATH, {"batch_size": 50, "zoho.burst": 3, "reconciliation.enabled": False}).status == 200
    assert sql(forms) == before


def test_many_are_changed_together_or_not_at_all():
    reply = ask("PATCH", PATH, {"batch_size": 50, "queue_backlog_threshold": 0})
    assert keeps_the_promises_of_a_refusal(reply)
    assert [error["pointer"] for error in reply.json["errors"]] == ["/queue_backlog_threshold"]
    assert values()["batch_size"] == 100


@pytest.mark.parametrize(
    ("key", "body", "pointer"),
    [
        ("batch_size", {"value": "100"}, "/value"),
        ("batch_size", {"value": True}, "/value"),
        ("batch_size", {"value": 5}, "/value"),
        ("batch_size", {"value": 1001}, "/value"),
        ("failure_rate_threshold", {"value": 1.5}, "/value"),
        ("reconciliation.schedule_cron", {"value": "61 * * * *"}, "/value"),
        ("schedules.time_zone", {"value": "Mars/Olympus"}, "/value"),
        ("plans.concurrency", {"value": {"noop": -1}}, "/value"),
        ("lease.seconds", {"value": 60}, "/value"),
        ("plans.concurrency", {"value": "x"}, "/value"),
        ("batch_size", {}, "/value"),
        ("batch_size", {"value": 20, "colour": "red"}, "/colour"),
        ("batch_size", {"value": 20, "version": "1"}, "/version"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(key, body, pointer):
    before = values()
    reply = ask("PATCH", f"{PATH}/{key}", body)
    assert reply.status == 422
    assert keeps_the_promises_of_a_refusal(reply)
    assert pointer in [error["pointer"] for error in reply.json["errors"]]
    assert values() == before


def test_a_setting_that_there_is_not_is_not_made(sql):
    assert ask("PATCH", f"{PATH}/colour", {"value": 1}).status == 404
    assert ask("PATCH", PATH, {"colour": 1}).status == 404
    assert ask("PATCH", PATH, {}).status == 422
    assert ask("GET", f"{PATH}/colour").status == 404
    assert sql("select count(*) from tidemark.settings where key = 'colour'") == [[0]]


def test_whoever_looked_at_an_older_version_is_told():
    assert ask("PATCH", f"{PATH}/batch_size", {"value": 50, "version": 1}).status == 200
    reply = ask("PATCH", f"{PATH}/batch_size", {"value": 60, "version": 1})
    assert reply.status == 409
    assert values()["batch_size"] == 50


def test_a_change_by_sql_has_its_version_and_its_predecessor_too(sql):
    sql("update tidemark.settings set value = '7' where key = 'zoho.burst'")
    found = ask("GET", f"{PATH}/zoho.burst").json
    assert (found["value"], found["version"], found["history"][0]["value"]) == (7, 2, 2)


def test_only_an_owner_may():
    token = ask("POST", "/admin/tokens", {"name": "op", "role": "operator"}).json["token"]
    assert ask("GET", PATH, token=token).status == 403
    assert ask("PATCH", f"{PATH}/batch_size", {"value": 20}, token=token).status == 403
