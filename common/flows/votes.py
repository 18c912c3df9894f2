"""Votes on a plan: each verifier looks for itself, and says yes, no, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from common import db, log, settings, shards
from common.errors import AppError
from common.flows import migrate, status, verify
from common.rules import quorum
from common.rules.exports import Altered
from common.stores import leaves, plans, schema_versions, votes

NAMED = 5


class Said(NamedTuple):
    """What a verifier has to say."""

    vote: str
    reason: str
    evidence: dict[str, Any]


def collect(plan: str, subject: str, policy: quorum.Policy, until: float) -> list[votes.Vote]:
    """Let every verifier vote on a plan that has not done so; all votes there are then. `until` is of time.monotonic()."""
    with db.transaction("worker") as tx:
        have = {vote.verifier for vote in votes.cast_of(tx, subject)}
    for verifier in sorted(policy.members - have):
        said = _said(verifier, plan, until)
        with db.transaction("worker") as tx:
            votes.cast(tx, subject, verifier, said.vote, said.reason, said.evidence, policy.deadline)
    with db.transaction("worker") as tx:
        return votes.cast_of(tx, subject)


def policy(deadline: datetime) -> quorum.Policy:
    """Who must agree, as HXO_CONSENSUS_MODE says."""
    return quorum.Policy(deadline, settings.load().hxo_consensus_mode)


def _said(verifier: str, plan: str, until: float) -> Said:
    """What a verifier says; one that cannot look abstains, which is not to agree."""
    try:
        return VERIFIERS[verifier](plan, until)
    except AppError as error:
        log.warning("verifier.abstained", verifier=verifier, plan=plan, error=error.detail)
        return Said(quorum.ABSTAIN, f"could not look: {error.detail}", {})


def _schema(plan: str, _until: float) -> Said:
    """Whether the database has the schema of this code, and every stage is of a kind that takes its config."""
    with db.transaction("status", read_only=True) as tx:
        found, head = schema_versions.newest(tx), leaves.head(tx, plan)
    wanted = migrate.wanted_version()
    faults = [] if found is not None and found >= wanted else [f"the schema is at version {found}, the code needs {wanted}"]
    for stage in head:
        try:
            shards.find(stage.kind).plan(stage.config)
        except AppError as error:
            faults.append(f"stage {stage.id}: {error.detail}")
    evidence = {"schema_version": found, "wanted_version": wanted, "kinds": sorted({stage.kind for stage in head})}
    return _judged(faults, f"version {found}, and {len(head)} stages of known kinds", evidence)


def _proof(plan: str, until: float) -> Said:
    """Whether the tree of results, computed anew from every leaf, is the one that was written down."""
    found = verify.check(plan, until)
    evidence = {
        "checked_shards": found.checked,
        "computed_root": found.root.hex() if found.root else None,
        "altered": [each.told() for each in found.altered[:NAMED]],
    }
    if found.altered:
        return Said(quorum.NO, "; ".join(_named(each) for each in found.altered[:NAMED]), evidence)
    if found.after is not None:
        return Said(quorum.ABSTAIN, f"the time was over after {found.checked} shards", evidence)
    if not found.is_clean:
        return Said(quorum.NO, "the plan's root is not the one over its stages", evidence)
    return Said(quorum.YES, f"{found.checked} leaves give the root that was written down", evidence)


def _named(each: Altered) -> str:
    which = f"shard {each.lo}" if each.hi - each.lo == 1 else f"shards {each.lo} to {each.hi - 1}"
    return f"{which} of stage {each.stage}: {each.what}"


def _health(_plan: str, _until: float) -> Said:
    """Whether we ourselves are well, as /health tells."""
    code, told = status.overview()
    said = {name: told[name] for name in ("status", "lock_state", "db_schema_ready")}
    faults = [] if code == 200 and told["status"] == "ok" else [f"/health says {told['status']}"]  # noqa: PLR2004 - HTTP's word for well
    return _judged(faults, "/health says ok", said)


def _parity(plan: str, _until: float) -> Said:
    """Whether every shard that there should be has left its outcome, and none more."""
    with db.transaction("status", read_only=True) as tx:
        counts = leaves.counts(tx, plan)
    faults = [] if counts.recorded == counts.expected else [f"{counts.recorded} outcomes were recorded of {counts.expected} shards"]
    return _judged(faults, f"{counts.recorded} shards, each with its outcome", dict(counts._asdict()))


def _budget(plan: str, _until: float) -> Said:
    """Whether it kept to its time and its retries."""
    with db.transaction("status", read_only=True) as tx:
        row = plans.progress(tx, plan)[0]
    faults = []
    if row.retries > row.retry_budget:
        faults.append(f"{row.retries} retries of {row.retry_budget}")
    if row.plan_finished_at is None or row.plan_finished_at > row.deadline_at:
        faults.append("it went on beyond its time limit")
    evidence = {"retries": row.retries, "retry_budget": row.retry_budget, "deadline_at": row.deadline_at.isoformat()}
    return _judged(faults, f"{row.retries} retries of {row.retry_budget}, in time", evidence)


def _judged(faults: list[str], well: str, evidence: Mapping[str, Any]) -> Said:
    return Said(quorum.NO if faults else quorum.YES, "; ".join(faults) or well, dict(evidence))


VERIFIERS: Mapping[str, Callable[[str, float], Said]] = {
    "schema": _schema,
    "proof": _proof,
    "health": _health,
    "parity": _parity,
    "budget": _budget,
}
