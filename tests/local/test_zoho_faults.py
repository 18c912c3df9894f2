"""What goes wrong at the Zoho stand-in on request, to which calls, and for how long."""

from __future__ import annotations

import http.client
import time

import pytest

from deploy.local.zoho.faults import NAMES
from deploy.local.zoho.modules import INVENTORY


def gets(caller, count, path="items"):
    return [caller.get(path, per_page=1) for _ in range(count)]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [("unauthorized", 401, 57), ("minute", 429, 44), ("daily", 429, 45), ("busy", 429, 1070), ("failing", 200, 1000)],
)
def test_a_refusal_happens_to_as_many_calls_as_it_was_asked_for(caller, zoho, name, status, code):
    zoho.faults.add(name, calls=2)
    assert [(reply.status, reply.code) for reply in gets(caller, 3)] == [(status, code)] * 2 + [(200, 0)]


@pytest.mark.parametrize(("name", "status"), [("error", 500), ("unavailable", 503)])
def test_an_outage_answers_a_page_of_html(caller, zoho, name, status):
    zoho.faults.add(name, calls=1)
    (reply, then) = gets(caller, 2)
    assert (reply.status, reply.headers["content-type"]) == (status, "text/html;charset=UTF-8")
    assert reply.text.startswith("<!DOCTYPE html>")
    assert then.code == 0


def test_a_fault_in_the_middle_of_a_walk_lets_some_calls_pass_first(caller, zoho):
    zoho.faults.add("unauthorized", calls=1, after=2)
    assert [reply.status for reply in gets(caller, 4)] == [200, 200, 401, 200]


def test_a_fault_may_be_for_one_path_only(caller, zoho):
    zoho.faults.add("unavailable", path="/bills")
    assert [reply.status for reply in (*gets(caller, 1), *gets(caller, 1, "bills"))] == [200, 503]


def test_a_fault_ends_with_its_time_or_when_it_is_cleared(caller, zoho):
    zoho.faults.add("minute", seconds=40)
    zoho.faults.add("unavailable", path="/bills")
    assert caller.get("items").status == 429
    zoho.turn(39)
    assert caller.get("items").status == 429
    zoho.turn(1)
    assert caller.get("items").status == 200
    assert caller.get("bills").status == 503
    zoho.faults.clear("unavailable")
    assert caller.get("bills").status == 200


def test_the_accounts_server_is_spared_unless_it_is_named(caller, zoho):
    zoho.faults.add("unavailable")
    assert "access_token" in caller.log_in().json
    zoho.faults.add("error", path="/oauth", calls=1)
    assert caller.ask("POST", "/oauth/v2/token").status == 500


def test_json_may_end_in_its_middle_though_the_length_is_right(caller, zoho):
    zoho.faults.add("truncated", calls=1)
    reply = caller.get("items")
    assert reply.status == 200
    assert len(reply.text.encode()) == int(reply.headers["content-length"])
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        _ = reply.json
    assert caller.get("items").code == 0


def test_a_connection_may_break_in_the_middle_of_an_answer(caller, zoho):
    caller.log_in()
    zoho.faults.add("cut", calls=1)
    with pytest.raises(http.client.IncompleteRead):
        caller.get("items")
    caller.connection.close()
    assert caller.get("items").code == 0


def test_an_answer_may_take_its_time_and_is_whole_then(caller, zoho):
    caller.log_in()
    zoho.faults.add("slow", calls=1, value=0.2)
    began = time.monotonic()
    assert caller.get("items").code == 0
    assert time.monotonic() - began >= 0.2


def test_it_may_be_down_for_a_while_accounts_and_all(caller, zoho):
    caller.log_in()
    zoho.faults.add("down", seconds=60)
    for act in (lambda: caller.get("items"), caller.log_in):
        with pytest.raises(http.client.RemoteDisconnected):
            act()
        caller.connection.close()
    assert [call.status for call in zoho.calls[1:]] == [0, 0]
    zoho.turn(60)
    assert caller.get("items").code == 0


def test_a_filter_that_is_honoured_may_be_ignored(caller, zoho):
    time_to_come = "2099-01-01T00:00:00+0000"
    assert caller.get("bills", last_modified_time=time_to_come).json["bills"] == []
    zoho.faults.add("unfiltered")
    assert len(caller.get("bills", last_modified_time=time_to_come).json["bills"]) == 25


def test_a_page_may_repeat_for_ever(caller, zoho):
    zoho.faults.add("repeating", path="/items")
    pages = [caller.inventory("items", page=page, per_page=10).json for page in (1, 2, 50)]
    assert pages[0]["items"] == pages[1]["items"] == pages[2]["items"] != []
    assert [page["page_context"]["has_more_page"] for page in pages] == [True] * 3
    assert [page["page_context"]["page"] for page in pages] == [1, 2, 50]
    assert len(caller.walk("contacts", "contacts", base=INVENTORY, per_page=10)) == 50


def test_an_unknown_fault_is_refused(zoho):
    with pytest.raises(ValueError, match="there is no fault 'gremlins'"):
        zoho.faults.add("gremlins")
    for name in NAMES:
        zoho.faults.add(name)
    assert [fault["name"] for fault in zoho.faults.told()] == list(NAMES)
