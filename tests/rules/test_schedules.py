"""What becomes of slots that have come, by the policies of their schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from common.rules import schedules
from common.rules.schedules import Due, cleaned, decided

NOON = datetime(2026, 6, 9, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
GOOD = {"name": "mine", "cron": "0 * * * *", "function": "heal"}


def due(
    *, since: datetime = NOON, cron: str = "0 * * * *", unfinished: int = 0, ends_at: datetime | None = None, **policies: object
) -> Due:
    chosen = {"catch_up": "none", "catch_up_limit": 3, "overlap": "skip", **policies}
    return Due("mine", cron, "UTC", next_slot=since, unfinished=unfinished, ends_at=ends_at, now=NOON, function="heal", **chosen)  # type: ignore[arg-type]


def fates(asked: Due, now: datetime) -> list[str]:
    return [fire.state + ("+waits" if fire.waits else "") for fire in decided(asked._replace(now=now))[0]]


def test_a_slot_that_has_come_is_due_and_the_next_one_is_known():
    fires, following = decided(due()._replace(now=NOON + 5 * timedelta(seconds=1)))
    assert ([(fire.slot, fire.state) for fire in fires], following) == ([(NOON, "due")], NOON + HOUR)


@pytest.mark.parametrize(
    ("policy", "late", "expected"),
    [
        ("none", schedules.GRACE, ["missed", "missed", "due"]),
        ("none", schedules.GRACE + MINUTE, ["missed", "missed", "missed"]),
        ("last", 59 * MINUTE, ["missed", "missed", "due"]),
        ("all", 59 * MINUTE, ["due", "due+waits", "due+waits"]),
    ],
)
def test_what_an_outage_swallowed_is_caught_up_with_as_the_schedule_says(policy, late, expected):
    asked = due(since=NOON - 2 * HOUR, catch_up=policy)
    assert fates(asked, NOON + late) == expected
    assert decided(asked._replace(now=NOON + late))[1] == NOON + HOUR


def test_no_more_are_caught_up_with_than_the_limit_and_they_are_the_latest():
    assert fates(due(since=NOON - 4 * HOUR, catch_up="all"), NOON) == ["missed", "missed", "due", "due+waits", "due+waits"]
    assert fates(due(since=NOON - 2 * HOUR, catch_up="all", overlap="allow"), NOON) == ["due"] * 3


@pytest.mark.parametrize("policy", ["none", "last", "all"])
def test_a_long_outage_is_gone_through_in_rounds_and_ends_as_in_one(policy, monkeypatch):
    asked = due(since=NOON - 40 * MINUTE, cron="* * * * *", catch_up=policy, overlap="allow")
    whole = decided(asked)
    monkeypatch.setattr(schedules, "ROUND", 7)
    found, rounds = [], 0
    following = asked.next_slot
    while following <= NOON:
        fires, following = decided(asked._replace(next_slot=following))
        found += fires
        rounds += 1
    assert (found, following) == whole
    assert rounds > 5


@pytest.mark.parametrize(
    ("policy", "unfinished", "expected"),
    [
        ("skip", 0, "due"),
        ("skip", 1, "skipped"),
        ("queue", 0, "due"),
        ("queue", 1, "due+waits"),
        ("queue", schedules.MOST_WAITING, "skipped"),
        ("allow", 1, "due"),
    ],
)
def test_a_slot_that_meets_one_that_is_not_over_does_as_the_schedule_says(policy, unfinished, expected):
    assert fates(due(overlap=policy, unfinished=unfinished), NOON) == [expected]


def test_a_schedule_that_has_ended_has_no_further_slot():
    assert decided(due(ends_at=NOON + HOUR))[1] == NOON + HOUR
    assert decided(due(ends_at=NOON + HOUR - MINUTE))[1] is None
    assert schedules.next_slot("0 * * * *", "UTC", NOON, NOON + 3 * HOUR, None) == NOON + 3 * HOUR  # it may begin with a slot


def test_a_whole_schedule_has_its_defaults():
    found, faults = cleaned(GOOD)
    assert faults == []
    assert found == GOOD | {
        "time_zone": None, "arguments": {}, "enabled": True, "catch_up": "none", "catch_up_limit": 10, "overlap": "skip",
        "starts_at": None, "ends_at": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Mine"), ("name", ""), ("name", "a" * 64), ("name", None), ("name", 5), ("name", "a/b"),
        ("cron", "61 * * * *"), ("cron", None), ("cron", []), ("time_zone", "Mars/Olympus"), ("time_zone", 5),
        ("function", "tick"), ("function", "os.system"), ("function", None), ("function", ["heal"]),
        ("arguments", []), ("arguments", "x"), ("arguments", {"x": "y" * 5000}),
        ("enabled", "true"), ("enabled", 1), ("catch_up", "some"), ("catch_up", {}), ("overlap", "maybe"),
        ("catch_up_limit", 0), ("catch_up_limit", 101), ("catch_up_limit", "5"), ("catch_up_limit", True), ("catch_up_limit", 1.5),
        ("starts_at", "0000-00-00"), ("starts_at", "tomorrow"), ("ends_at", "10000-01-01T00:00:00Z"), ("ends_at", 5), ("other", 1),
    ],
)  # fmt: skip
def test_a_fault_is_pointed_at(field, value):
    _, faults = cleaned(GOOD | {field: value})
    assert [fault["pointer"] for fault in faults] == [f"/{field}"]


def test_an_end_before_the_beginning_is_pointed_at():
    _, faults = cleaned(GOOD | {"starts_at": "2026-02-01T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"})
    assert [fault["pointer"] for fault in faults] == ["/ends_at"]
