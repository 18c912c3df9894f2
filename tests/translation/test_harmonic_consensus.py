"""harmonic consensus: independent verifiers, one signed vote each, a deadline; m of n; to abstain is not to approve."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest

from common import db
from common.errors import Invalid
from common.flows import certify
from common.flows import votes as verifiers
from common.rules import quorum
from common.rules.quorum import Policy
from common.stores import certificates, votes
from tests.truth import ask, finished

SUBJECT = "deploy:7"


def now() -> datetime:
    with db.transaction("worker") as tx:
        return certificates.now(tx)


def cast(deadline: datetime, **said: str) -> list[bool]:
    with db.transaction("worker") as tx:
        return [votes.cast(tx, SUBJECT, verifier, vote, "because", {}, deadline) for verifier, vote in said.items()]


def outcome(policy: Policy) -> quorum.Outcome:
    with db.transaction("worker") as tx:
        return quorum.decided(votes.cast_of(tx, SUBJECT), policy, certificates.now(tx))


@pytest.fixture
def policy(sql) -> Policy:
    return Policy(now() + timedelta(minutes=5))


ALL = dict.fromkeys(sorted(quorum.VERIFIERS), "yes")


def test_a_duplicate_vote_is_ignored_by_two_connections_at_once(policy, sql):
    together, taken = threading.Barrier(2), []

    def work(vote: str) -> None:
        together.wait(10)
        taken.extend((vote, done) for done in cast(policy.deadline, health=vote))

    threads = [threading.Thread(target=work, args=(vote,)) for vote in ("yes", "no")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(done for _, done in taken) == [False, True]
    assert sql("select vote from tidemark.votes") == [[vote for vote, done in taken if done]]


def test_what_times_out_is_not_promoted(policy, turn_clock):
    cast(policy.deadline, schema="yes", proof="yes", health="yes")
    assert outcome(policy).state == "open"
    turn_clock(timedelta(minutes=5))
    assert cast(policy.deadline, parity="yes", budget="yes") == [False, False]
    assert outcome(policy).state == "timed_out"


def test_one_type_with_a_veto_blocks(policy):
    cast(policy.deadline, **ALL | {"proof": "no"})
    lenient = Policy(policy.deadline, truth_needs=1, autonomy_needs=1)
    assert outcome(lenient).state == "rejected"


def test_to_abstain_is_not_to_approve(policy):
    cast(policy.deadline, **ALL | {"health": "abstain"})
    assert outcome(policy).state == "rejected"


def test_harmonic_needs_truth_and_autonomy_and_simple_truth_alone(policy):
    cast(policy.deadline, schema="yes", proof="yes")
    assert outcome(policy).state == "open"
    assert outcome(Policy(policy.deadline, "SIMPLE")).state == "approved"
    cast(policy.deadline, health="yes", parity="yes", budget="yes")
    assert outcome(policy).state == "approved"


def test_fault_11_one_voter_votes_once_a_stranger_not_at_all_and_there_are_rejections_and_timeouts(policy, sql):
    """The origin let one voter make a majority, asked nobody who they were, and knew neither a no nor an end."""
    assert cast(policy.deadline, proof="yes") == [True]
    assert [cast(policy.deadline, proof="yes") for _ in range(4)] == [[False]] * 4
    assert outcome(policy).state == "open"
    with pytest.raises(Invalid):
        cast(policy.deadline, admiral="yes")
    cast(policy.deadline, schema="no")
    assert outcome(policy).state == "rejected"
    assert outcome(Policy(now(), truth=frozenset({"proof"}))).state == "timed_out"


def test_votes_on_a_plan_are_signed_and_their_mode_is_that_of_the_environment(sql, trial, configured):
    configured(HXO_CONSENSUS_MODE="SIMPLE")
    plan = finished()
    assert ask(plan, "certify", method="POST").status == 200
    assert sorted(vote["verifier"] for vote in certify.shown(plan)["votes"]) == ["proof", "schema"]
    assert verifiers.policy(now()).members == {"schema", "proof"}
    sql("update tidemark.votes set signature = 'x'")
    assert certify.shown(plan)["votes"] == []
