"""What votes come to."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from common.rules import quorum
from common.rules.quorum import ABSTAIN, NO, YES, Policy

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
DEADLINE = NOON + timedelta(minutes=5)
HARMONIC, SIMPLE = Policy(DEADLINE), Policy(DEADLINE, "SIMPLE")


class Vote(NamedTuple):
    verifier: str
    vote: str
    reason: str = "because"
    cast_at: datetime = NOON


def votes(**said: str) -> list[Vote]:
    return [Vote(verifier, vote) for verifier, vote in said.items()]


ALL = dict.fromkeys(sorted(quorum.VERIFIERS), YES)
TRUTH = dict.fromkeys(quorum.TRUTH, YES)


def test_harmonic_wants_everybody_of_both_and_simple_truth_alone():
    assert quorum.decided(votes(**ALL), HARMONIC, NOON).state == "approved"
    assert quorum.decided(votes(**TRUTH), HARMONIC, NOON).state == "open"
    assert quorum.decided(votes(**TRUTH), SIMPLE, NOON).state == "approved"
    assert quorum.decided(votes(**TRUTH | {"health": NO}), SIMPLE, NOON).state == "approved"


@pytest.mark.parametrize("verifier", sorted(quorum.VERIFIERS))
def test_each_of_them_is_needed(verifier):
    rest = {name: vote for name, vote in ALL.items() if name != verifier}
    found = quorum.decided(votes(**rest), HARMONIC, NOON)
    assert (found.state, found.missing) == ("open", (verifier,))


def test_truths_no_is_final_and_autonomys_no_is_for_a_person():
    found = quorum.decided(votes(**ALL | {"schema": NO}), HARMONIC, NOON)
    assert (found.state, found.is_final, found.for_review) == ("rejected", True, False)
    assert "schema says no: because" in found.reason
    found = quorum.decided(votes(**ALL | {"budget": NO}), HARMONIC, NOON)
    assert (found.state, found.is_final, found.for_review) == ("rejected", False, True)
    both = quorum.decided(votes(**ALL | {"proof": NO, "budget": NO}), HARMONIC, NOON)
    assert (both.state, both.is_final) == ("rejected", True)


@pytest.mark.parametrize("verifier", sorted(quorum.VERIFIERS))
def test_to_abstain_is_not_to_say_yes_but_may_be_asked_again(verifier):
    found = quorum.decided(votes(**ALL | {verifier: ABSTAIN}), HARMONIC, NOON)
    assert (found.state, found.is_final, found.for_review) == ("rejected", False, True)
    assert f"{verifier} abstains" in found.reason


def test_m_of_n_needs_m_and_ends_when_m_cannot_be_reached_any_more():
    policy = Policy(DEADLINE, autonomy_needs=2)
    assert quorum.decided(votes(**TRUTH, health=YES, budget=YES), policy, NOON).state == "approved"
    assert quorum.decided(votes(**TRUTH, health=YES, budget=NO), policy, NOON).state == "open"
    assert quorum.decided(votes(**TRUTH, health=YES, budget=NO, parity=ABSTAIN), policy, NOON).state == "rejected"


def test_a_veto_counts_whatever_the_others_say_and_is_waited_for():
    policy = Policy(DEADLINE, truth_needs=1)
    assert quorum.decided(votes(**ALL | {"proof": NO}), policy, NOON).state == "rejected"
    without = {name: vote for name, vote in ALL.items() if name != "proof"}
    assert quorum.decided(votes(**without), policy, NOON).state == "open"
    assert quorum.decided(votes(**ALL | {"schema": NO}), policy, NOON).state == "approved"


def test_what_is_open_at_the_deadline_is_timed_out_and_not_approved():
    some = votes(**TRUTH)
    assert quorum.decided(some, HARMONIC, DEADLINE - timedelta(seconds=1)).state == "open"
    assert quorum.decided(some, HARMONIC, DEADLINE).state == "timed_out"
    assert quorum.decided([], HARMONIC, DEADLINE).state == "timed_out"


def test_a_vote_after_the_deadline_does_not_count():
    late = [*votes(**{name: vote for name, vote in ALL.items() if name != "health"}), Vote("health", YES, cast_at=DEADLINE)]
    assert quorum.decided(late, HARMONIC, DEADLINE).state == "timed_out"


def test_a_stranger_and_a_second_vote_do_not_count():
    strangers = [Vote(f"stranger {number}", YES) for number in range(9)]
    assert quorum.decided(strangers, HARMONIC, NOON).state == "open"
    twice = [*votes(**ALL | {"proof": NO}), Vote("proof", YES, cast_at=NOON + timedelta(seconds=1))]
    for order in itertools.islice(itertools.permutations(twice), 0, 720, 7):
        assert quorum.decided(order, HARMONIC, NOON).state == "rejected"
