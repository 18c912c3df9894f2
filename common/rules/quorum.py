"""Quorum: what the votes of independent verifiers come to.

Truth looks at what was done, Autonomy at whether we are in a state to go on with it. HARMONIC wants both, SIMPLE Truth
alone. A chamber says yes when enough of its members do, and no when they cannot any more, or a member with a veto says no:
to abstain is not to say yes. Truth's no is final; Autonomy's no is for a person to look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

TRUTH: Mapping[str, str] = {"schema": "everything has the shape that this code knows", "proof": "the tree of results holds"}
AUTONOMY: Mapping[str, str] = {
    "health": "we are well",
    "parity": "what is there is what should be",
    "budget": "it kept to its limits",
}
VERIFIERS = frozenset({*TRUTH, *AUTONOMY})
YES, NO, ABSTAIN = "yes", "no", "abstain"


class Vote(Protocol):
    """What counts of a vote."""

    @property
    def verifier(self) -> str:
        """Who."""

    @property
    def vote(self) -> str:
        """What: yes, no or abstain."""

    @property
    def reason(self) -> str:
        """Why, for people."""

    @property
    def cast_at(self) -> datetime:
        """When."""


@dataclass(frozen=True)
class Policy:
    """Who must agree, and until when. Without a number all of a chamber must."""

    deadline: datetime
    mode: str = "HARMONIC"
    truth: frozenset[str] = frozenset(TRUTH)
    autonomy: frozenset[str] = frozenset(AUTONOMY)
    truth_needs: int | None = None  # m of n
    autonomy_needs: int | None = None
    veto: frozenset[str] = frozenset({"proof"})  # whose no is enough, whatever the others say

    @property
    def members(self) -> frozenset[str]:
        """Whose votes count."""
        return self.truth | (self.autonomy if self.mode == "HARMONIC" else frozenset())


@dataclass(frozen=True)
class Outcome:
    """What the votes come to."""

    state: str  # open, approved, rejected, timed_out
    reason: str
    is_final: bool = False  # Truth said no: asking again changes nothing
    for_review: bool = False  # somebody may look, and ask again
    missing: tuple[str, ...] = field(default=())  # who has not voted


def decided(votes: Iterable[Vote], policy: Policy, now: datetime) -> Outcome:
    """What the votes come to by now. One counts if its voter is a member, it is that voter's first, and it came in time."""
    counted: dict[str, Vote] = {}
    for vote in sorted(votes, key=lambda vote: vote.cast_at):
        if vote.verifier in policy.members and vote.cast_at < policy.deadline:
            counted.setdefault(vote.verifier, vote)
    missing = tuple(sorted(policy.members - counted.keys()))
    truth = _chamber(counted, policy.truth, policy.truth_needs, policy.veto)
    if truth == NO:
        is_final = any(counted[member].vote == NO for member in policy.truth & counted.keys())
        return Outcome(
            "rejected", _why("Truth", counted, policy.truth), is_final=is_final, for_review=not is_final, missing=missing
        )
    autonomy: str | None = YES
    if policy.mode == "HARMONIC":
        autonomy = _chamber(counted, policy.autonomy, policy.autonomy_needs, policy.veto)
        if autonomy == NO:
            return Outcome("rejected", _why("Autonomy", counted, policy.autonomy), for_review=True, missing=missing)
    if truth == autonomy == YES:
        return Outcome("approved", "everybody who must has agreed", missing=missing)
    waits = f"not enough have voted: {', '.join(missing)}"
    return Outcome("timed_out" if now >= policy.deadline else "open", waits, missing=missing)


def _chamber(counted: Mapping[str, Vote], members: frozenset[str], needs: int | None, veto: frozenset[str]) -> str | None:
    """YES, NO, or None while either is possible."""
    said = {member: counted[member].vote for member in members if member in counted}
    if any(vote == NO for member, vote in said.items() if member in veto):
        return NO
    yes = sum(vote == YES for vote in said.values())
    wanted = len(members) if needs is None else needs
    if yes >= wanted:
        # Whoever may stop it must have had the chance.
        return YES if all(member in said for member in members & veto) else None
    return NO if yes + len(members) - len(said) < wanted else None


def _why(chamber: str, counted: Mapping[str, Vote], members: frozenset[str]) -> str:
    against: Sequence[str] = [
        f"{name} {'says no' if counted[name].vote == NO else 'abstains'}: {counted[name].reason}"
        for name in sorted(members & counted.keys())
        if counted[name].vote != YES
    ]
    return f"{chamber} does not agree; " + "; ".join(against)
