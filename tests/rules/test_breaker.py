"""The breaker as a state machine: whatever happens in whatever order, and from whoever."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from common.rules import breaker as rules
from common.rules.breaker import LEASE, Breaker, Limits, Refused, State

START = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(failures=5, successes=2, open_for=timedelta(seconds=60))
STEPS = st.one_of(
    st.tuples(st.just("wait"), st.integers(0, 70)),
    st.tuples(st.just("call"), st.just(0)),
    st.tuples(st.sampled_from(["good", "bad", "untold"]), st.integers(0, 9)),
    st.tuples(st.just("reset"), st.just(0)),
)


@dataclass
class World:
    """A breaker, its callers, and what must be true of both."""

    now: datetime = START
    breaker: Breaker = field(default_factory=Breaker)
    fresh: int = 0
    calls: list[int] = field(default_factory=list)  # tokens of those under way
    probes: dict[int, datetime] = field(default_factory=dict)  # when each began
    bad_in_a_row: int = 0  # told in time, since it closed
    let_through: int = 0

    def step(self, what: str, number: int) -> None:
        before, self.fresh = self.breaker, self.fresh + 1
        if what == "wait":
            self.now += timedelta(seconds=number)
        elif what == "call":
            self.call()
        elif what == "reset":
            self.breaker = rules.reset(before, self.fresh)
            self.bad_in_a_row = 0
        elif self.calls:
            self.end(what, self.calls.pop(number % len(self.calls)))
        self.check(before)

    def call(self) -> None:
        said = rules.admitted(self.breaker, self.now, self.fresh)
        if isinstance(said, Refused):
            assert self.breaker.state is not State.CLOSED
            assert timedelta() < said.wait <= LIMITS.open_for
            return
        if self.breaker.state is not State.CLOSED:
            living = [token for token, began in self.probes.items() if token in self.calls and self.now - began < LEASE]
            assert not [token for token in living if token == self.breaker.token]
            self.probes[said.token] = self.now
        self.breaker = said
        self.calls.append(said.token)
        self.let_through += 1

    def end(self, how_: str, token: int) -> None:
        before = self.breaker
        if how_ == "good":
            self.breaker = rules.succeeded(before, token, self.now, LIMITS, self.fresh)
        elif how_ == "bad":
            self.breaker = rules.failed(before, token, self.now, LIMITS, self.fresh)
        else:
            self.breaker = rules.untold(before, token, self.now)
        if token != before.token:
            assert self.breaker == before
        elif before.state is State.CLOSED and how_ != "untold":
            self.bad_in_a_row = self.bad_in_a_row + 1 if how_ == "bad" else 0
            assert (self.breaker.state is State.OPEN) == (self.bad_in_a_row >= LIMITS.failures)
        elif before.is_probing and how_ == "bad":
            assert self.breaker.state is State.OPEN

    def check(self, before: Breaker) -> None:
        """What the table's constraints ask for, and which states may follow which."""
        after = self.breaker
        assert (after.state is State.CLOSED) == (after.next_probe_at is None) == (after.opened_at is None)
        assert not after.is_probing or after.state is State.HALF_OPEN
        assert after.failures == 0 or after.state is State.CLOSED
        assert after.successes == 0 or after.state is State.HALF_OPEN
        assert after.failures < LIMITS.failures
        assert after.successes < LIMITS.successes
        if after.state is not before.state:
            assert after.token > before.token
            assert (before.state, after.state) != (State.CLOSED, State.HALF_OPEN)
        if after.state is State.CLOSED and before.state is not State.CLOSED:
            self.bad_in_a_row = 0


@given(st.lists(STEPS, max_size=120))
@how(max_examples=2000, deadline=None)
def test_whatever_happens_there_is_one_probe_and_nobody_late_has_a_say(steps):
    world = World()
    for what, number in steps:
        world.step(what, number)


@given(st.lists(STEPS, max_size=60))
@how(max_examples=500, deadline=None)
def test_whatever_has_happened_calls_that_go_well_close_it_within_a_minute_and_a_lease(steps):
    world = World()
    for what, number in steps:
        world.step(what, number)
    world.now += max(LIMITS.open_for, LEASE)
    for _ in range(LIMITS.successes):
        world.step("call", 0)
        world.end("good", world.calls.pop())
    assert world.breaker.state is State.CLOSED


def opened(at: datetime = START) -> Breaker:
    breaker = Breaker()
    for _ in range(LIMITS.failures):
        breaker = rules.failed(breaker, 0, at, LIMITS, 1)
    assert breaker.state is State.OPEN
    return breaker


def probed(breaker: Breaker, at: datetime, token: int) -> Breaker:
    found = rules.admitted(breaker, at, token)
    assert isinstance(found, Breaker)
    return found


def test_it_opens_at_the_fifth_failure_in_a_row_and_a_success_starts_the_row_anew():
    breaker = Breaker()
    for _ in range(4):
        breaker = rules.failed(breaker, 0, START, LIMITS, 1)
    breaker = rules.succeeded(breaker, 0, START, LIMITS, 2)
    for _ in range(4):
        breaker = rules.failed(breaker, 0, START, LIMITS, 3)
    assert breaker.state is State.CLOSED
    assert rules.failed(breaker, 0, START, LIMITS, 4).state is State.OPEN


@pytest.mark.parametrize(("seconds", "wait"), [(0, 60), (59, 1), (60, None), (7200, None)])
def test_for_a_minute_it_lets_nobody_through_and_says_how_long(seconds, wait):
    said = rules.admitted(opened(), START + timedelta(seconds=seconds), 7)
    assert said.wait == timedelta(seconds=wait) if wait else said.state is State.HALF_OPEN


def test_while_one_probes_the_others_are_asked_to_come_back_soon():
    minute = START + LIMITS.open_for
    breaker = probed(opened(), minute, 7)
    assert rules.admitted(breaker, minute, 8) == Refused(rules.WHILE_PROBED)
    assert rules.admitted(breaker, minute + LEASE - timedelta(seconds=1), 8) == Refused(timedelta(seconds=1))


def test_two_probes_that_go_well_close_it():
    minute = START + LIMITS.open_for
    once = rules.succeeded(probed(opened(), minute, 7), 7, minute, LIMITS, 8)
    assert (once.state, once.successes, once.is_probing) == (State.HALF_OPEN, 1, False)
    twice = rules.succeeded(probed(once, minute, 9), 9, minute, LIMITS, 10)
    assert twice == Breaker(token=10)


def test_one_probe_that_fails_opens_it_for_another_minute_and_it_remembers_since_when():
    minute = START + LIMITS.open_for
    once = rules.succeeded(probed(opened(), minute, 7), 7, minute, LIMITS, 8)
    again = rules.failed(probed(once, minute, 9), 9, minute, LIMITS, 10)
    assert again == Breaker(State.OPEN, token=10, opened_at=START, next_probe_at=minute + LIMITS.open_for)


def test_a_probe_whose_lease_ran_out_is_replaced_and_has_no_say_when_it_comes_back():
    minute = START + LIMITS.open_for
    dead = probed(opened(), minute, 7)
    other = probed(dead, minute + LEASE, 8)
    assert (other.token, other.is_probing) == (8, True)
    assert rules.succeeded(other, 7, minute + LEASE, LIMITS, 9) == other
    assert rules.failed(other, 7, minute + LEASE, LIMITS, 9) == other


def test_a_probe_is_heard_once():
    minute = START + LIMITS.open_for
    once = rules.succeeded(probed(opened(), minute, 7), 7, minute, LIMITS, 8)
    assert rules.succeeded(once, 7, minute, LIMITS, 9) == once


def test_a_probe_that_says_nothing_makes_room_for_another():
    minute = START + LIMITS.open_for
    breaker = rules.untold(probed(opened(), minute, 7), 7, minute)
    assert (breaker.state, probed(breaker, minute, 8).token) == (State.HALF_OPEN, 8)


def test_after_a_reset_nobody_from_before_has_a_say():
    minute = START + LIMITS.open_for
    fresh = rules.reset(probed(opened(), minute, 7), 8)
    assert fresh == Breaker(token=8)
    assert rules.failed(fresh, 7, minute, LIMITS, 9) == fresh
