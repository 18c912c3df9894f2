"""The limiter: never a call over any window, none lost below it, and everybody stops when one is told to."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as how
from hypothesis import strategies as st

from common import db
from common.outgoing.slots import LATE
from common.rules.urgency import Urgency
from common.stores import limits
from common.stores.limits import Slot

ORGANIZATION = "748369814"
GAP = 60 / 95
BURST = 2
ALLOWED = 100  # calls that Zoho takes in any 60 seconds
# What the limiter gives to whoever comes, on a clock that is told: callers at :arrivals wait for their slot, however long.
SIMULATED = """
    with recursive granted as (
        select 0 as position, null::timestamptz as at, null::timestamptz as slot, '-infinity'::timestamptz as free_at
        union all
        select g.position + 1, a.at, next.slot, next.slot + make_interval(secs => :gap)
          from granted g
          cross join lateral (select '2026-01-01'::timestamptz + make_interval(secs => (:arrivals::float8[])[g.position + 1]) as at) a
          cross join lateral (
               select tidemark.next_slot(g.free_at, '-infinity', a.at, make_interval(secs => :gap), :burst::integer) as slot
          ) next
         where g.position < cardinality(:arrivals::float8[])
    )
    select extract(epoch from greatest(slot, at) - '2026-01-01')::float8, extract(epoch from slot - '2026-01-01')::float8
      from granted where position > 0 order by position
"""


@pytest.fixture
def known(database_url: str) -> str:
    with db.transaction("worker") as tx:
        limits.introduce(tx, "zoho", ORGANIZATION)
    return database_url


def take(urgency: Urgency = Urgency.BULK, patience: float | None = None) -> Slot:
    with db.transaction("worker") as tx:
        slot = limits.take(tx, "zoho", ORGANIZATION, urgency, patience=urgency.ahead if patience is None else patience)
    assert slot is not None
    return slot


def taken(urgency: Urgency) -> int:
    """How many slots an urgency can hold at once."""
    count = 0
    while take(urgency).is_granted:
        count += 1
    return count


def block(seconds: float = 60, *, slower: bool = True) -> None:
    with db.transaction("worker") as tx:
        limits.block(tx, "zoho", ORGANIZATION, seconds=seconds, reason="code 44", slower=slower)


def hear(day_limit: int | None = None, remaining: int | None = None, resets_in: int | None = None) -> None:
    with db.transaction("worker") as tx:
        limits.hear(tx, "zoho", ORGANIZATION, day_limit=day_limit, remaining=remaining, resets_in=resets_in)


def state() -> limits.State:
    with db.transaction("status", read_only=True) as tx:
        (found,) = limits.state(tx)
    return found


def busiest(begun: list[float], window: float = 60.0) -> int:
    """The most of these moments in any window, both its ends included."""
    ordered = sorted(begun)
    most, first = 0, 0
    for last, at in enumerate(ordered):
        while at - ordered[first] > window:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_the_busiest_window_is_found():
    assert busiest([0, 59.9, 60.0, 60.1, 200]) == 3
    assert busiest([0, 61, 122]) == 1


# The formula -----------------------------------------------------------------------------------------------------


class Connected:
    """One connection for many examples."""

    def __init__(self, url: str) -> None:
        self.connection = db.Connection(db.Address(url))

    def simulated(self, arrivals: list[float], burst: int = BURST) -> list[tuple[float, float]]:
        """(begin, slot) in seconds for each arrival."""
        params = {"arrivals": arrivals, "gap": GAP, "burst": burst}
        rows, _ = self.connection.execute(SIMULATED, params)
        return [(begin, slot) for begin, slot in rows]


@pytest.fixture
def connected(database_url: str) -> Iterator[Connected]:
    made = Connected(database_url)
    yield made
    made.connection.close()


crowd = st.lists(st.tuples(st.floats(0, 90), st.integers(1, 60)), min_size=1, max_size=12).map(
    lambda groups: sorted(sum(pause for pause, _ in groups[: n + 1]) for n, (_, many) in enumerate(groups) for _ in range(many))
)


@given(arrivals=crowd, lateness=st.lists(st.floats(0, LATE), min_size=1, max_size=50))
@example(arrivals=[0.0] * 300, lateness=[0.0])
@example(arrivals=[0.0] * 300, lateness=[LATE, *[0.0] * 99])
@how(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_window_holds_more_calls_than_are_allowed_whoever_comes_when(connected, arrivals, lateness):
    begun = [begin + lateness[n % len(lateness)] for n, (begin, _) in enumerate(connected.simulated(arrivals))]
    assert busiest(begun) <= ALLOWED


def test_a_larger_burst_would_be_seen_to_break_the_window(connected):
    assert busiest([begin for begin, _ in connected.simulated([0.0] * 300, burst=10)]) > ALLOWED


@given(arrivals=crowd)
@how(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_slots_are_never_closer_than_the_gap_and_none_is_left_out_while_somebody_waits(connected, arrivals):
    granted = connected.simulated(arrivals)
    for (_, before), (begin, slot) in itertools.pairwise(granted):
        assert slot - before >= GAP - 1e-5
        assert begin <= slot + 1e-5 or begin - slot <= BURST * GAP + 1e-5
        if begin == slot:  # it waited: for the very next slot
            assert slot - before <= GAP + 1e-5


# The row ---------------------------------------------------------------------------------------------------------


def test_an_organization_is_introduced_once(database_url):
    with db.transaction("worker") as tx:
        assert limits.take(tx, "zoho", ORGANIZATION, Urgency.BULK, patience=1) is None
        limits.introduce(tx, "zoho", ORGANIZATION)
        limits.introduce(tx, "zoho", ORGANIZATION)
        assert limits.take(tx, "zoho", ORGANIZATION, Urgency.BULK, patience=1).is_granted


def test_the_row_gives_what_the_formula_says(known, sql):
    for urgency in (Urgency.BULK, Urgency.INTERACTIVE, Urgency.STOCK, Urgency.BULK, Urgency.REPAIR, Urgency.INTERACTIVE) * 3:
        before = sql("select free_at::text, blocked_until::text from tidemark.source_limits")[0]
        slot = take(urgency)
        params = {"free_at": before[0], "blocked": before[1], "at": slot.at, "gap": GAP, "burst": BURST}
        [[wait]] = sql(
            """select extract(epoch from tidemark.next_slot(:free_at::timestamptz, :blocked::timestamptz, :at::timestamptz,
                      make_interval(secs => :gap), :burst::integer) - :at::timestamptz)::float8""",
            **params,
        )
        assert slot.wait == pytest.approx(wait, abs=1e-4)
        assert slot.is_granted == (wait <= urgency.ahead)


def test_eight_at_once_are_given_different_slots_and_no_window_too_many(known):
    slots: list[Slot] = []
    together = threading.Barrier(8)

    def reserve() -> None:
        together.wait()
        slots.extend(take(Urgency.INTERACTIVE, patience=1e6) for _ in range(40))

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(reserve) for _ in range(8)]:
            future.result()
    assert len(slots) == 320
    assert all(slot.is_granted for slot in slots)
    moments = sorted(slot.at.timestamp() + slot.wait for slot in slots)
    assert min(after - before for before, after in itertools.pairwise(moments)) > GAP - 1e-3
    assert busiest([slot.at.timestamp() + max(0.0, slot.wait) for slot in slots]) <= ALLOWED
    assert state().used_today == 320


def test_the_urgent_get_in_within_two_seconds_of_a_full_sync(known):
    assert taken(Urgency.BULK) == 1 + BURST + 2
    assert not take(Urgency.BULK).is_granted
    assert not take(Urgency.REPAIR).is_granted
    slot = take(Urgency.INTERACTIVE)
    assert slot.is_granted
    assert slot.wait < 2.0


def test_a_slot_that_was_refused_is_still_there(known):
    taken(Urgency.BULK)
    before = take(Urgency.BULK)
    assert take(Urgency.INTERACTIVE).wait == pytest.approx(before.wait, abs=0.3)


def test_a_setting_counts_from_the_next_call_on(known, sql):
    sql("update tidemark.settings set value = '6' where key = 'zoho.calls_per_minute'")
    first, second = take(), take()
    assert second.wait - first.wait == pytest.approx(10 - (second.at - first.at).total_seconds(), abs=1e-4)


# The day ---------------------------------------------------------------------------------------------------------


def test_each_urgency_leaves_its_share_of_the_day_to_the_more_urgent(known, sql):
    sql("update tidemark.settings set value = '100' where key = 'zoho.calls_per_day'")
    for urgency, used in (("repair", 80), ("bulk", 85), ("incremental", 94), ("stock", 97), ("interactive", 100)):
        sql("update tidemark.source_limits set used = :used, free_at = '-infinity'", used=used - 1)
        assert take(Urgency(urgency)).is_granted
        refusal = take(Urgency(urgency), patience=1e6)
        assert (refusal.is_granted, refusal.is_spent, refusal.used) == (False, True, used)


def test_a_new_day_begins_when_the_source_said(known, sql):
    hear(day_limit=1000, remaining=3, resets_in=7200)
    assert take(Urgency.BULK).is_spent
    sql("update tidemark.source_limits set resets_at = clock_timestamp() - interval '50 h'")
    slot = take(Urgency.BULK)
    assert (slot.is_granted, slot.used) == (True, 1)
    assert slot.resets_in == pytest.approx(22 * 3600, abs=5)


def test_the_source_is_believed_when_it_leaves_us_less(known):
    take()
    hear(day_limit=1000, remaining=400, resets_in=3600)
    assert (state().used_today, state().left_today, state().day_limit) == (600, 400, 1000)
    hear(day_limit=1000, remaining=900, resets_in=3600)  # others' calls do not come back: this is an answer that came late
    assert state().used_today == 600
    hear(day_limit=1000, remaining=999, resets_in=86000)  # there, a new day has begun
    assert (state().used_today, state().left_today) == (1, 999)


def test_the_source_does_not_lift_the_operators_own_limit(known, sql):
    sql("update tidemark.settings set value = '50' where key = 'zoho.calls_per_day'")
    hear(day_limit=10000, remaining=10000, resets_in=3600)
    assert state().day_limit == 50
    hear()  # says nothing
    assert (state().day_limit, take().told_limit) == (50, 10000)


# Complaints ------------------------------------------------------------------------------------------------------


def test_a_complaint_stops_everybody_and_slows_them_once(known):
    rate = state().calls_per_minute
    for _ in range(4):  # calls that were on their way
        block()
    with db.transaction("worker") as tx:
        assert limits.is_blocked(tx, "zoho", ORGANIZATION)
    refusal = take(Urgency.INTERACTIVE)
    assert not refusal.is_granted
    assert refusal.wait == pytest.approx(60, abs=2)
    found = state()
    assert found.blocked_reason == "code 44"
    assert found.next_slot_in == pytest.approx(60, abs=2)
    assert (rate, found.calls_per_minute) == (95, 76)


def test_the_longer_block_counts(known):
    block(seconds=600)
    block(seconds=60)
    assert take().wait == pytest.approx(600, abs=2)


def test_what_slows_has_an_end_and_a_hundred_good_answers_take_some_of_it_back(known, sql):
    for _ in range(20):
        block(seconds=0)
    assert state().slowdown == 4
    for _ in range(99):
        hear()
    assert state().slowdown == 4
    hear()
    assert state().slowdown == pytest.approx(3.92)
    sql("update tidemark.source_limits set slowdown = 1.001, clean = 99")
    hear()
    assert state().slowdown == 1


def test_a_used_up_day_stops_everybody_but_slows_nobody(known):
    block(seconds=3600, slower=False)
    assert (state().slowdown, take().is_granted) == (1, False)


def test_the_state_before_any_call_is_told_without_infinities(known):
    found = state()
    assert (found.blocked_until, found.blocked_reason, found.resets_at, found.next_slot_in) == (None, None, None, 0)
    assert (found.used_today, found.left_today) == (0, 10000)


def test_the_limits_run_on_the_clock_of_the_world_not_of_the_transaction(known, turn_clock):
    block(seconds=60)
    turn_clock(timedelta(days=2))
    assert not take().is_granted
