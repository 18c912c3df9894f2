"""deploy.promote: a wave that was verified and voted for is what people are to use.

A provider that goes live by itself has done so; then this only looks again. Of two targets of which one hands its traffic over
to the other, the switch is asked for, its effect is read back where the public looks, and the former one is drained.
"""

from __future__ import annotations

from typing import Any

from common import db, settings
from common.clients import deploys
from common.clients.deploys import Done, Place
from common.db import Transaction
from common.rules import quorum
from common.rules.quorum import Policy
from common.rules.shard import Context, Ran
from common.stores import deployments, notices, votes

KIND = "deploy.promote"
IS_OURS = True


def plan(config: dict[str, Any]) -> int:
    """One shard for each target of the wave."""
    return deploys.counted(config)


def run(shards: range, context: Context) -> Ran:
    """Count the votes; promote."""
    return deploys.ran(shards, context, lambda shard: _target(context, shard))


def _target(context: Context, no: int) -> Done:
    at = deploys.place(context, context.stage.config["targets"][no])
    outcome = _voted(context, at)
    former = at.deployment.strategy["replaces"].get(at.target.name)
    if former is not None:
        deploys.handed_over(context, at, former)
    elif not deploys.serves(deploys.served(at), at.wanted):
        at.wait("it does not serve what was voted on any more")

    def write(tx: Transaction) -> None:
        deployments.mark(tx, at.deployment.id, at.target.name, "promoted")
        deploys.told(tx, at.deployment, "promote", "done", target=at.target.name)

    return Done({"target": at.target.name, "votes": outcome.reason, "replaces": former}, write)


def _voted(context: Context, at: Place) -> quorum.Outcome:
    """Raises: Waiting, while votes are missing and there is time; Refused, when the wave was voted down, or nobody came in time."""
    ballot = deploys.ballot(context)
    with db.transaction("worker", read_only=True) as tx:
        cast = votes.cast_of(tx, ballot.subject)
    policy = Policy(
        deadline=ballot.deadline,
        mode=settings.load().hxo_consensus_mode,
        autonomy_needs=at.deployment.strategy["quorum"],
    )
    outcome = quorum.decided(cast, policy, at.now)
    if outcome.state == "open":
        at.wait(outcome.reason)
    if outcome.state != "approved":
        _tell(at, ballot.subject, outcome)
        deploys.refuse(f"votes_{outcome.state}", f"The wave is not promoted: {outcome.reason}")
    return outcome


def _tell(at: Place, about: str, outcome: quorum.Outcome) -> None:
    with db.transaction("worker") as tx:
        payload = {"type": "consensus.failure", "message": outcome.reason, "subject": about, "outcome": outcome.state}
        notices.add(
            tx, "hxo.alert", payload, source="deploy", dedupe_key=f"{about}:{outcome.state}", correlation_id=at.deployment.id
        )
