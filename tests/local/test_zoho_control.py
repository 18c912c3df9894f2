"""The Zoho stand-in's own routes, and the stand-in as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from deploy.local.zoho.kinds import KINDS
from tests.local.caller import Caller
from tests.local.test_zoho_changes import SECRET, receiver


def post(caller, method, /, **given):
    return caller.ask("POST", f"/_/{method}", json.dumps(given))


def test_it_says_how_to_log_in(caller, zoho):
    said = caller.ask("GET", "/_/").json
    assert (said["api_url"], said["accounts_url"], said["organization_id"]) == (zoho.url, zoho.accounts_url, zoho.organization)
    assert (said["client_id"], said["client_secret"], said["refresh_token"]) == (
        zoho.client_id, zoho.client_secret, zoho.refresh_token,
    )  # fmt: skip
    assert said["limits"] == {"minute": 100, "daily": 10_000, "in_flight": 10}


def test_records_are_made_edited_and_deleted(caller, zoho):
    (made,) = post(caller, "create", label="product", name="Lamp").json
    assert post(caller, "edit", label="product", ids=[made], rate=3).json == [made]
    record = caller.ask("GET", "/_/records/product").json[made]
    assert (record["name"], record["rate"]) == ("Lamp", 3)
    assert caller.ask("GET", "/_/rows/product").json == zoho.rows("product")
    assert post(caller, "delete", label="product", ids=[made]).json == [made]
    assert made not in zoho.records("product")
    assert len(post(caller, "edit_quietly", label="product", count=3).json) == 3
    assert len(post(caller, "edit_in_bulk", label="product", count=4).json) == 4
    changes = post(caller, "change", count=5, labels=["bill"]).json
    assert [change["label"] for change in changes] == ["bill"] * 5


def test_time_limits_and_faults_are_turned(caller, zoho):
    before = zoho.now()
    assert post(caller, "turn", seconds=61).json == {}
    assert (zoho.now() - before).total_seconds() == 61
    post(caller, "late", seconds=4)
    post(caller, "skew", seconds=-5)
    assert (zoho.late, zoho.skew.total_seconds()) == (4, -5)
    assert post(caller, "limits", minute=2, daily=None).json == {"minute": 2, "daily": None, "in_flight": 10}
    assert post(caller, "limits", off=True).json == {"minute": None, "daily": None, "in_flight": None}
    post(caller, "faults", name="unavailable", calls=1, path="/items")
    assert [fault["name"] for fault in caller.ask("GET", "/_/faults").json] == ["unavailable"]
    assert caller.get("items").status == 503
    post(caller, "faults", name="error")
    caller.ask("DELETE", "/_/faults")
    assert caller.get("items").status == 200
    post(caller, "move", offset="+0530")
    assert caller.get("bills").json["bills"][0]["created_time"].endswith("+0530")
    post(caller, "revoke")
    assert caller.get("items").status == 401
    post(caller, "churn", every=1, create=1, label="bill")
    caller.log_in()
    zoho.late = 0
    assert len(caller.get("bills").json["bills"]) == 26


def test_calls_are_summed_up(caller, zoho):
    zoho.limits.minute = 2
    for _ in range(3):
        caller.get("items")
    said = caller.ask("GET", "/_/calls").json
    assert (said["calls"], said["busiest_minute"], said["throttled"], said["tokens"]) == (4, 3, {"44": 1}, 1)
    assert [call["status"] for call in said["log"]] == [200, 200, 200, 429]
    caller.ask("DELETE", "/_/calls")
    assert caller.ask("GET", "/_/calls").json["calls"] == 0


def test_webhooks_are_switched_on(caller, zoho):
    with receiver() as (url, received):
        post(caller, "webhooks", url=url, secret=SECRET)
        post(caller, "create", label="product", count=2)
        zoho._webhooks.wait()
    assert len(received) == 2


@pytest.mark.parametrize(
    ("method", "given", "status"),
    [("change", {"colour": "red"}, 400), ("edit", {"label": "product", "ids": ["1"]}, 400), ("faults", {"name": "gremlins"}, 400),
     ("limits", {"hourly": 1}, 400), ("move", {"offset": "east"}, 400), ("stop", {}, 404), ("create", {"label": "spaceship"}, 400)],
)  # fmt: skip
def test_what_cannot_be_done_is_said(caller, method, given, status):
    reply = post(caller, method, **given)
    assert reply.status == status
    assert reply.json["error"]


def test_a_body_that_is_no_json_and_a_request_that_is_none_are_refused(caller):
    assert caller.ask("POST", "/_/change", "{broken").status == 400
    assert caller.ask("GET", "/_/records/spaceship").status == 404
    assert caller.ask("GET", "/oauth/v2/token", Transfer_Encoding="chunked").status == 400


@pytest.mark.process
def test_it_serves_as_a_process_of_its_own_and_ends_when_told():
    words = [sys.executable, "-m", "deploy.local.zoho", "--port", "0", "--size", "2", "--items", "30", "--no-limits", "--seed", "7"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as process:
        try:
            url = process.stdout.readline().split("at ")[1].split(";")[0]
            caller = Caller(SimpleNamespace(url=url))
            said = caller.ask("GET", "/_/").json
            caller.zoho = SimpleNamespace(organization=said.pop("organization_id"), **said)
            assert len(caller.get("items").json["items"]) == 30
            assert {label: len(caller.ask("GET", f"/_/records/{label}").json) for label in KINDS} == dict.fromkeys(KINDS, 2) | {
                "product": 30
            }
            assert said["limits"] == {"minute": None, "daily": None, "in_flight": None}
            caller.close()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


@pytest.mark.process
def test_a_taken_port_and_an_offset_that_is_none_are_said(zoho):
    for words, said in ((["--port", zoho.url.rpartition(":")[2]], "in use"), (["--port", "0", "--offset", "east"], "+0300")):
        ended = subprocess.run([sys.executable, "-m", "deploy.local.zoho", *words], capture_output=True, text=True, check=False)
        assert ended.returncode == 1
        assert said in ended.stderr
