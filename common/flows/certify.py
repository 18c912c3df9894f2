"""Certify: a signed statement of what came of a plan, once its verifiers agree; in the shape of an in-toto statement."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

from common import db, log, settings
from common.errors import Conflict
from common.flows import plan_status, seal, verify
from common.flows import votes as verifiers
from common.flows.plans import check_enabled
from common.flows.process import SHARE
from common.flows.status import id_of
from common.rules import quorum
from common.stores import alerts, certificates, configuration, leaves, notices, schema_versions, votes
from common.stores.certificates import Certificate
from common.stores.leaves import Head
from common.stores.votes import Vote

STATEMENT, PREDICATE = "https://in-toto.io/Statement/v1", "urn:tidemark:plan-certification:1"
SECONDS = 300.0


def certify(identifier: str) -> dict[str, Any]:
    """Have a plan's verifiers vote, and sign what they agree on; a plan that is certified already is told as it is.

    Raises: Unknown; Conflict, when the plan has not succeeded or is not sealed, or the vote did not go well: then with
    `outcome` and `votes`, and an alert was raised.
    """
    check_enabled()
    plan = str(id_of(identifier))
    until = time.monotonic() + settings.load().function_timeout_seconds.total_seconds() * SHARE
    first = _sealed(plan)
    with db.transaction("worker") as tx:
        former = certificates.newest(tx, plan)
        subject, policy = _round(tx, first)
    if former is not None and former.counts:
        return former.told()
    cast = verifiers.collect(plan, subject, policy, until)
    with db.transaction("worker") as tx:
        now = certificates.now(tx)
    outcome = quorum.decided(cast, policy, now)
    if outcome.state != "approved":
        _refuse(plan, outcome, cast)
    return _issued(first, subject, policy, cast).told()


def _sealed(plan: str) -> Head:
    """What the plan's tree is made with.

    Raises: Unknown, Conflict.
    """
    first = verify.head_of(plan)[0]
    if first.plan_status != "succeeded":
        message = f"The plan is {first.plan_status}: only one that has succeeded can be certified."
        raise Conflict(message)
    if first.plan_root is None:
        seal.seal(plan)
        first = verify.head_of(plan)[0]
    if first.plan_root is None:
        message = "The plan's tree of results is not closed yet: try again in a moment."
        raise Conflict(message)
    return first


def _round(tx: db.Transaction, first: Head) -> tuple[str, quorum.Policy]:
    """What is voted on: this root in its last round, or in a new one where the last may be asked again.

    Raises: Conflict, when Truth has said no to this root.
    """
    root, ended = first.plan_root or b"", first.finished_at
    prefix = f"plan:{first.plan}:{root.hex()[:32]}:{int(ended.timestamp() * 1000) if ended else 0}:"
    now = certificates.now(tx)
    seconds = float(configuration.all_values(tx).get("consensus.seconds") or SECONDS)
    last = votes.latest(tx, prefix)
    if last is None:
        return f"{prefix}1", verifiers.policy(now + timedelta(seconds=seconds))
    cast = votes.cast_of(tx, last)
    deadline = max((vote.deadline_at for vote in cast), default=now)
    policy = verifiers.policy(deadline)
    outcome = quorum.decided(cast, policy, now)
    if outcome.is_final:
        message = f"This was refused for good: {outcome.reason}. Replay the plan, and certify that."
        raise Conflict(message, outcome="rejected", votes=[vote.told() for vote in cast])
    if outcome.state in ("open", "approved"):
        return last, policy
    return f"{prefix}{int(last.rpartition(':')[2]) + 1}", verifiers.policy(now + timedelta(seconds=seconds))


def _issued(first: Head, subject: str, policy: quorum.Policy, cast: list[Vote]) -> Certificate:
    """Sign and keep what was agreed on, and tell the bus, if the plan still stands as it was looked at.

    Raises: Conflict.
    """
    if first.plan_root is None or first.finished_at is None:
        message = "The plan is not sealed."
        raise Conflict(message)
    root = first.plan_root.hex()
    found = plan_status.shown(first.plan)
    with db.transaction("worker") as tx:
        identifier, now = str(uuid4()), certificates.now(tx)
        statement = {
            "_type": STATEMENT,
            "subject": [{"name": f"plan/{first.plan}", "digest": {first.hash: root}}],
            "predicateType": PREDICATE,
            "predicate": {
                "certificate_id": identifier,
                "plan_id": first.plan,
                "plan_name": first.name,
                "hash": first.hash,
                "seed": first.seed,
                "stages": [
                    {"id": row.id, "kind": row.kind, "shards": row.released, "merkle_root": row.root} for row in found.stages
                ],
                "counts": _counts(tx, first.plan),
                "consensus": {
                    "subject": subject,
                    "mode": policy.mode,
                    "deadline_at": policy.deadline,
                    "votes": [_brief(vote) for vote in cast if vote.verifier in policy.members],
                },
                "release": settings.load().running_release,
                "schema_version": schema_versions.newest(tx),
                "issued_at": now,
                "issued_by": log.field("operator"),
                "key_id": settings.load().signing_keys[0][0],
            },
        }
        is_new = certificates.add(
            tx, identifier=identifier, plan=first.plan, root=first.plan_root, finished_at=first.finished_at, statement=statement
        )
        made = certificates.newest(tx, first.plan)
        if made is None or not made.counts:
            message = "The plan has changed since it was looked at: certify it again."
            raise Conflict(message)
        if is_new:
            _tell(tx, "hxo.aggregate.certify", {"plan_id": first.plan, "certificate": made.brief()})
            _tell(tx, "hxo.aggregate.finalized", {"plan_id": first.plan, "merkle_root": root})
    log.info("plan.certified", plan=first.plan, root=root, certificate=made.id)
    return made


def _counts(tx: db.Transaction, plan: str) -> dict[str, int]:
    counts = leaves.counts(tx, plan)
    return {
        "total": counts.recorded,
        "done": counts.recorded - counts.failed - counts.quarantined,
        "failed": counts.failed,
        "healed": counts.healed,
        "quarantined": counts.quarantined,
    }


def _brief(vote: Vote) -> dict[str, Any]:
    return {name: value for name, value in vote.told().items() if name != "evidence"}


def _refuse(plan: str, outcome: quorum.Outcome, cast: list[Vote]) -> None:
    """Raises: Conflict, after an alert was raised and the bus was told."""
    kind = "certification.failure" if outcome.is_final else "consensus.failure"
    with db.transaction("worker") as tx:
        alerts.raise_alert(
            tx,
            alert_type=kind,
            severity="error",
            title="A plan was not certified",
            message=f"{outcome.reason}. Look at /api/hxo/plan/{plan}/certify and /api/hxo/plan/{plan}/verify-shards.",
            metadata={"plan_id": plan, "outcome": outcome.state},
        )
        _tell(tx, "hxo.alert", {"type": kind, "message": outcome.reason, "plan_id": plan, "severity": "error"})
        _tell(tx, "hxo.aggregate.failed", {"plan_id": plan, "reason": outcome.reason})
    log.error("plan.not_certified", plan=plan, outcome=outcome.state, reason=outcome.reason)
    then = "that is final" if outcome.is_final else "look at it, then certify again"
    message = f"The plan is not certified: {outcome.reason}; {then}."
    raise Conflict(message, outcome=outcome.state, votes=[vote.told() for vote in cast])


def _tell(tx: db.Transaction, topic: str, payload: dict[str, Any]) -> None:
    notices.add(tx, topic, payload, source="truth", correlation_id=payload["plan_id"])


# What is shown -------------------------------------------------------------------------------------------------------


def shown(identifier: str) -> dict[str, Any]:
    """A plan's certificate, whether it counts, and the last votes.

    Raises: Unknown.
    """
    plan = str(id_of(identifier))
    verify.head_of(plan)
    with db.transaction("status", read_only=True) as tx:
        found = certificates.newest(tx, plan)
        last = votes.latest(tx, f"plan:{plan}:")
        cast = votes.cast_of(tx, last) if last else []
        now = certificates.now(tx)
    outcome = quorum.decided(cast, verifiers.policy(cast[0].deadline_at), now) if cast else None
    certificate = found.told() if found else {"plan_id": plan, "certified": False, "certificate": None}
    return certificate | {
        "outcome": outcome.state if outcome else None,
        "reason": outcome.reason if outcome else None,
        "votes": [vote.told() for vote in cast],
    }
