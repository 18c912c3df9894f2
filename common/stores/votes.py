"""Votes: what verifiers say of something, once each, signed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from common import encoding, log, settings
from common.db import Transaction
from common.errors import Invalid
from common.rules import capability, quorum

CHARACTERS = 2000  # of a reason


class Vote(NamedTuple):
    """A vote as it was cast."""

    subject: str
    verifier: str
    vote: str  # yes, no, abstain
    reason: str
    evidence: str  # JSON as it was signed
    deadline_at: datetime
    cast_at: datetime
    signature: str

    @property
    def statement(self) -> dict[str, Any]:
        """What was signed."""
        times = {"deadline_at": self.deadline_at.isoformat(), "cast_at": self.cast_at.isoformat()}
        return {name: getattr(self, name) for name in ("subject", "verifier", "vote", "reason", "evidence")} | times

    @property
    def is_signed(self) -> bool:
        """Whether a key that still counts signed exactly this."""
        return capability.is_attested(self.statement, self.signature, "vote", settings.load().signing_keys)

    def told(self) -> dict[str, Any]:
        """As it is shown."""
        return {
            "verifier": self.verifier,
            "vote": self.vote,
            "reason": self.reason,
            "evidence": encoding.loads(self.evidence),
            "cast_at": self.cast_at,
            "signature": self.signature,
        }


def cast(  # noqa: PLR0917 - a vote has so many parts
    tx: Transaction, subject: str, verifier: str, vote: str, reason: str, evidence: Mapping[str, Any], deadline: datetime
) -> bool:
    """Write down what a verifier says; False when it has voted on this before, or the deadline is over.

    Raises: Invalid, for a verifier that there is not, or what is no vote.
    """
    if verifier not in quorum.VERIFIERS:
        message = f"{verifier[:64]} is no verifier; there are {', '.join(sorted(quorum.VERIFIERS))}."
        raise Invalid(message)
    if vote not in (quorum.YES, quorum.NO, quorum.ABSTAIN):
        message = f"{vote[:64]} is no vote: say yes, no or abstain."
        raise Invalid(message)
    now: datetime = tx.value("votes.now")
    if now >= deadline:
        return False
    text = encoding.canonical(dict(evidence)).decode()
    said = Vote(subject, verifier, vote, reason[:CHARACTERS], text, deadline, now, "")
    signature = capability.attested(said.statement, "vote", settings.load().signing_keys[0])
    return (
        tx.run(
            "votes.cast",
            subject=subject,
            verifier=verifier,
            vote=vote,
            reason=said.reason,
            evidence=text,
            deadline_at=deadline,
            cast_at=now,
            signature=signature,
        )
        == 1
    )


def cast_of(tx: Transaction, subject: str) -> list[Vote]:
    """The votes on something, the first one first. What was written past `cast` bears no good signature, and is left out."""
    found = tx.all(Vote, "votes.of", subject=subject)
    for vote in found:
        if not vote.is_signed:
            log.error("vote.forged", subject=subject, verifier=vote.verifier)
    return [vote for vote in found if vote.is_signed]


def latest(tx: Transaction, prefix: str) -> str | None:
    """The last subject that begins so, of those that were voted on."""
    found = tx.value("votes.latest", prefix=prefix)
    return None if found is None else str(found)
