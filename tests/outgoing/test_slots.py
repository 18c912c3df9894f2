"""Waiting for a slot: at its moment, not longer than it pays, and never with one that is too late."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from common import db
from common.errors import Throttled
from common.outgoing import slots
from common.rules.urgency import Urgency
from common.stores import limits

ORGANIZATION = "748369814"


@pytest.fixture
def quick(sql):
    """A slot every 20 ms, and no burst."""
    sql("update tidemark.settings set value = '3000' where key = 'zoho.calls_per_minute'")
    sql("update tidemark.settings set value = '0' where key = 'zoho.burst'")


def wait(urgency: Urgency = Urgency.BULK, seconds: float = 10) -> limits.Slot:
    return slots.wait_for_one("zoho", ORGANIZATION, urgency, time.monotonic() + seconds)


def block(seconds: float) -> None:
    with db.transaction("worker") as tx:
        limits.introduce(tx, "zoho", ORGANIZATION)
        limits.block(tx, "zoho", ORGANIZATION, seconds=seconds, reason="code 44", slower=False)


def test_the_first_call_of_all_waits_for_nothing(database_url):
    assert wait().wait <= 0


def test_a_slot_is_ours_at_its_moment_and_not_before(quick, sql):
    for _ in range(10):
        slot = wait()
        [[early]] = sql("select extract(epoch from cast(:at as timestamptz) - clock_timestamp())::float8", at=slot.at)
        assert early + slot.wait < 0.002  # two clocks


def test_lanes_together_lose_no_slot(quick, sql):
    def lane() -> None:
        for _ in range(25):
            wait()

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(lane) for _ in range(4)]:
            future.result()
    [[used, span]] = sql("select used, extract(epoch from free_at - clock_timestamp())::float8 from tidemark.source_limits")
    assert used == 100
    assert span < 0.1  # nothing is reserved beyond the last call


def test_who_may_not_reach_so_far_ahead_waits_until_it_may(quick, sql):
    wait()
    sql("update tidemark.source_limits set free_at = clock_timestamp() + interval '1 s'")
    began = time.monotonic()
    wait(Urgency.REPAIR)  # 0.7 s ahead
    assert 0.9 < time.monotonic() - began < 3


def test_a_wait_that_does_not_pay_is_refused_at_once_with_its_length(database_url):
    block(60)
    began = time.monotonic()
    with pytest.raises(Throttled) as refusal:
        wait(Urgency.INTERACTIVE, seconds=300)
    assert refusal.value.retry_after_seconds == 30  # from then on it may reserve the slot at the end of the block
    with pytest.raises(Throttled) as refusal:
        wait(Urgency.BULK, seconds=300)
    assert refusal.value.retry_after_seconds in {58, 59}
    assert time.monotonic() - began < 2


def test_no_slot_is_reserved_that_lies_after_the_callers_time(quick, sql):
    wait()
    sql("update tidemark.source_limits set free_at = clock_timestamp() + interval '1 s'")
    with pytest.raises(Throttled):
        wait(Urgency.INTERACTIVE, seconds=0.3)
    assert sql("select used from tidemark.source_limits") == [[1]]


def test_a_used_up_day_is_refused_until_it_ends(quick, sql):
    wait()
    sql("update tidemark.source_limits set used = 10000, resets_at = clock_timestamp() + interval '5000 s'")
    with pytest.raises(Throttled, match="day's calls") as refusal:
        wait(Urgency.INTERACTIVE)
    assert refusal.value.retry_after_seconds == pytest.approx(5000, abs=3)


def test_a_slot_that_is_too_late_is_thrown_away(quick, sql, monkeypatch):
    wait()
    sql("update tidemark.source_limits set free_at = clock_timestamp() + interval '50 ms'")
    sleep, slept = time.sleep, []

    def oversleep(seconds: float) -> None:
        sleep(seconds + (0 if slept else slots.LATE + 0.1))
        slept.append(seconds)

    monkeypatch.setattr(slots.time, "sleep", oversleep)
    wait()
    assert sql("select used from tidemark.source_limits") == [[3]]


def test_who_has_a_slot_stops_as_well_when_everybody_is_told_to(quick, sql):
    wait()
    sql("update tidemark.source_limits set free_at = clock_timestamp() + interval '400 ms'")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        reserved = threading.Event()
        while not reserved.is_set():
            if sql("select used from tidemark.source_limits") == [[2]]:
                reserved.set()
        block(60)
        with pytest.raises(Throttled):
            waiting.result()
