"""deploy.vote: independent verifiers look at a wave, and each casts one vote on whether it may be promoted.

Truth: `schema`, whether the database has the schema that this code wants; `proof`, whether the tree of what this plan has
reported so far holds. Autonomy: `health`, whether the targets are well; `parity`, whether they serve what was wanted;
`budget`, whether the plan keeps to its retries and its time. Who cannot tell abstains, and that is not a yes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from common import db, encoding, log
from common.clients import deploys
from common.clients.deploys import Done
from common.db import Transaction
from common.errors import AppError
from common.outgoing import probe
from common.rules import merkle, quorum
from common.rules.shard import Context, Ran
from common.stores import leaves, migrations, plans, votes

KIND = "deploy.vote"
IS_OURS = True
CHUNKS = 1000
VERIFIERS = (*quorum.TRUTH, *quorum.AUTONOMY)  # one shard each, in this order


class Said(NamedTuple):
    """A vote, and what it rests on."""

    vote: str  # yes, no or abstain
    reason: str
    evidence: dict[str, Any]


def plan(config: dict[str, Any]) -> int:
    """One shard for each verifier."""
    deploys.counted(config)
    return len(VERIFIERS)


def run(shards: range, context: Context) -> Ran:
    """Look, and vote."""
    return deploys.ran(shards, context, lambda shard: _vote(context, VERIFIERS[shard]))


def _vote(context: Context, verifier: str) -> Done:
    try:
        said = LOOKS[verifier](context)
    except AppError as error:
        said = Said(quorum.ABSTAIN, f"could not look: {error.detail}", {})
    ballot = deploys.ballot(context)

    def write(tx: Transaction) -> None:
        if not votes.cast(tx, ballot.subject, verifier, said.vote, said.reason, said.evidence, ballot.deadline):
            log.info("vote.not_counted", subject=ballot.subject, verifier=verifier)

    return Done({"subject": ballot.subject, "verifier": verifier, "vote": said.vote}, write)


def _schema(_: Context) -> Said:
    with db.transaction("worker", read_only=True) as tx:
        pending = migrations.pending(tx).expand
    evidence = {"pending": pending}
    if pending:
        return Said(quorum.NO, f"these migrations have not run: {', '.join(pending)}", evidence)
    return Said(quorum.YES, "the schema is what this code wants", evidence)


def _proof(context: Context) -> Said:
    """Every chunk that the stages before this one have reported, its peaks made anew from its digests."""
    checked = 0
    with db.transaction("worker", read_only=True) as tx:
        for no in range(context.stage.no):
            for chunk in leaves.page(tx, context.stage.plan, no, 0, CHUNKS):
                digests = [chunk.digests[at : at + merkle.SIZE] for at in range(0, len(chunk.digests), merkle.SIZE)]
                if merkle.peaks(context.hash, chunk.lo, digests) != chunk.peaks:
                    where = f"stage {no}, shards {chunk.lo} to {chunk.hi - 1}"
                    return Said(quorum.NO, f"what was reported was altered since: {where}", {"stage": no, "lo": chunk.lo})
                checked += len(digests)
    return Said(quorum.YES, f"{checked} leaves hold", {"leaves": checked})


def _health(context: Context) -> Said:
    seen = {}
    for name in context.stage.config["targets"]:
        at = deploys.place(context, name)
        if at.target.config.get("url"):
            seen[name] = probe.health(at.target)
    evidence = {name: {"ok": each.ok, "said": each.said} for name, each in seen.items()}
    ill = sorted(name for name, each in seen.items() if not each.ok)
    if ill:
        return Said(quorum.NO, f"not well: {', '.join(ill)}", evidence)
    if not seen:
        return Said(quorum.YES, "no target has an address to ask; their providers say that they are live", evidence)
    return Said(quorum.YES, f"{len(seen)} targets are well", evidence)


def _parity(context: Context) -> Said:
    evidence: dict[str, Any] = {}
    apart = []
    for name in context.stage.config["targets"]:
        at = deploys.place(context, name)
        serving = deploys.served(at)
        evidence[name] = {"wanted": at.wanted._asdict(), "serving": serving._asdict()}
        if not deploys.serves(serving, at.wanted):
            apart.append(name)
    if apart:
        return Said(quorum.NO, f"what was wanted is not what is served at {', '.join(apart)}", evidence)
    return Said(quorum.YES, f"{len(evidence)} targets serve what was wanted", evidence)


def _budget(context: Context) -> Said:
    with db.transaction("worker", read_only=True) as tx:
        (spent,) = plans.progress(tx, context.stage.plan)[:1]
    left: timedelta = spent.deadline_at - spent.now
    evidence = {"retries": spent.retries, "budget": spent.retry_budget, "seconds_left": round(left.total_seconds())}
    if spent.retries >= spent.retry_budget or left <= timedelta():
        return Said(quorum.NO, f"{spent.retries} retries of {spent.retry_budget}, {left.total_seconds():.0f} s left", evidence)
    return Said(quorum.YES, "within its retries and its time", encoding.loads(encoding.dumps(evidence)))


LOOKS: Mapping[str, Callable[[Context], Said]] = {
    "schema": _schema,
    "proof": _proof,
    "health": _health,
    "parity": _parity,
    "budget": _budget,
}
