"""The limits of the Zoho stand-in: per minute, per day, at a time; what its headers tell; and its log of calls."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.local.caller import Caller
from tests.local.client import eventually


def statuses(caller, count):
    return [caller.get("items", per_page=1).status for _ in range(count)]


def test_the_101st_call_of_a_minute_is_refused_and_the_window_slides(caller, zoho):
    assert statuses(caller, 60) == [200] * 60
    zoho.turn(30)
    assert statuses(caller, 40) == [200] * 40
    refused = caller.get("items")
    assert (refused.status, refused.code) == (429, 44)
    assert "maximum number of requests per minute" in refused.json["message"]
    zoho.turn(29.9)
    assert caller.get("items").status == 429
    zoho.turn(0.1)
    assert statuses(caller, 61) == [200] * 60 + [429], "the first sixty are a minute ago, the other forty are not"


def test_refused_calls_count_for_no_limit(caller, zoho):
    zoho.limits.minute = 3
    assert statuses(caller, 6) == [200] * 3 + [429] * 3
    assert caller.get("items").headers["x-rate-limit-remaining"] == "9997"
    zoho.turn(60)
    assert statuses(caller, 1) == [200]


def test_after_the_last_call_of_the_day_nothing_helps_but_the_next_day(caller, zoho):
    zoho.limits.daily = 5
    assert statuses(caller, 5) == [200] * 5
    refused = caller.get("items")
    assert (refused.status, refused.code) == (429, 45)
    assert refused.json["message"] == "The API call for this organization has exceeded the maximum call rate limit of 5."
    assert refused.headers["x-rate-limit-remaining"] == "0"
    zoho.turn(int(refused.headers["x-rate-limit-reset"]) - 1)
    caller.log_in()
    assert caller.get("items").code == 45
    zoho.turn(1)
    assert caller.get("items").code == 0


def test_every_call_tells_of_the_day_and_the_day_is_the_organizations_own(caller, zoho):
    caller.log_in()
    first, bad = caller.get("items"), caller.get("spaceships")
    assert [reply.headers["x-rate-limit-limit"] for reply in (first, bad)] == ["10000"] * 2
    assert [reply.headers["x-rate-limit-remaining"] for reply in (first, bad)] == ["9999", "9998"]
    assert first.headers["x-rate-limit-reset"] == str((24 - 12) * 3600 - 1800), "it is 12:30 in +0300"
    zoho.move("-0800")
    assert caller.get("items").headers["x-rate-limit-reset"] == str((24 - 1) * 3600 - 1800), "and 01:30 in -0800"


def test_the_eleventh_call_at_a_time_is_refused(caller, zoho):
    caller.log_in()
    others = [Caller(zoho) for _ in range(10)]
    for other in others:
        other.token = caller.token
    zoho.faults.add("held", calls=10)
    with ThreadPoolExecutor(10) as threads:
        waiting = [threads.submit(other.get, "items") for other in others]
        eventually(lambda: zoho.limits.running == 10)
        refused = caller.get("items")
        zoho.faults.clear()
        assert [each.result().status for each in waiting] == [200] * 10
    assert (refused.status, refused.code) == (429, 1070)
    eventually(lambda: zoho.limits.running == 0)
    assert caller.get("items").status == 200
    for other in others:
        other.close()


def test_limits_can_be_switched_off(caller, zoho):
    zoho.limits.off()
    assert statuses(caller, 150) == [200] * 150


def test_every_call_is_in_the_log_with_its_time_and_its_end(caller, zoho):
    caller.get("items", page=1)
    zoho.turn(5)
    caller.get("spaceships")
    token, items, bad = zoho.calls
    assert (token.method, token.path, token.status) == ("POST", "/oauth/v2/token", 200)
    assert (items.path, items.status, items.code) == ("/books/v3/items", 200, 0)
    assert items.query.endswith("page=1")
    assert (bad.status, bad.code, bad.at - items.at) == (404, 5, 5)
    zoho.forget()
    assert zoho.calls == []


def test_the_busiest_minute_is_any_sixty_seconds_and_429s_are_counted_by_code(caller, zoho):
    zoho.limits.minute = 40
    statuses(caller, 30)
    zoho.turn(59)
    statuses(caller, 15)
    zoho.turn(30)
    statuses(caller, 20)
    assert zoho.busiest_minute() == 45
    assert zoho.throttled() == {44: 5}


def test_calls_for_tokens_are_in_the_log_but_count_for_no_limit(caller, zoho):
    for _ in range(5):
        caller.log_in()
    assert len(zoho.calls) == 5
    assert zoho.busiest_minute() == 0
