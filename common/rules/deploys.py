"""What is deployed, where, and how far it is: one vocabulary for every provider. A provider is a file of common/targets with:

    CAN: frozenset[Ability]                            what it offers beyond triggering and reading
    def check(config, reader)                          note what is wrong with a target's config (rules.plan.Reader)
    def trigger(target, wanted, key) -> Deploy | None  begin; None: it was taken, and must be looked for (`found`)
    def found(target, wanted, key, since) -> list      the deploys that this intent began, the oldest first; `since`: the
                                                       intent, less what the clocks may differ by
    def get(target, identifier) -> Deploy              raises Unknown
    def listed(target, limit) -> list[Deploy]          the newest first
    def cancel(target, identifier)                     nothing, when it is over already
    def restore(target, point, key) -> Deploy | None   put the deploy of a rollback point back
    def freeze(target), unfreeze(target)               stop, and allow again, deploys that nobody here asked for
    def is_frozen(target) -> bool
    def serving(target) -> Serving                     what the provider says is live, read now
    def address(target) -> str | None                  where it runs, as far as the provider knows
    def environment(target) -> Mapping[str, str]       variables that its next deploy gets; a value nobody may read is empty
    def lines(target, since, until) -> list[Line]      of its log
    def measured(target, since, until) -> Mapping[str, float]     of METRICS, those it has

What a provider cannot do is not in CAN, and is then not called. All of them raise Unavailable (Throttled for 429),
when the provider is in trouble; SourceRefused, when it says no; Conflict, when something else is going on there (409); Unknown,
when there is no such thing (404). After Unavailable nobody knows whether something was begun: look for it with `found`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

SHORTEST_COMMIT = 7
METRICS = ("error_rate", "latency_p95_ms", "requests", "cpu", "memory")  # shares 0..1, milliseconds, a number in the window


class State(StrEnum):
    """How far a deploy is, in our words; every provider's own words are translated into these."""

    QUEUED = "queued"
    AWAITING_APPROVAL = "awaiting_approval"
    BUILDING = "building"
    MIGRATING = "migrating"
    RELEASING = "releasing"
    VERIFYING = "verifying"
    LIVE = "live"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELED = "canceled"
    UNKNOWN = "unknown"  # a word that we do not know: never taken for live


OVER = frozenset({State.LIVE, State.SUPERSEDED, State.FAILED, State.REJECTED, State.CANCELED})


def is_commit(one: str | None, other: str | None) -> bool:
    """Whether these are the same commit, either of which may be abbreviated."""
    if not one or not other:
        return False
    short, full = sorted((one.lower(), other.lower()), key=len)
    return short == full or (len(short) >= SHORTEST_COMMIT and full.startswith(short))


class Ability(StrEnum):
    """What a provider may offer."""

    RESTORE = "restore"
    FREEZE = "freeze"
    CANCEL = "cancel"
    LOGS = "logs"
    METRICS = "metrics"
    ENVIRONMENT = "environment"
    # def job(target, command, key) -> str, def jobs(target, command, since) -> list[str], the oldest first, and
    # def job_state(target, id) -> State (LIVE: it has succeeded)
    JOBS = "jobs"


@dataclass(frozen=True)
class Target:
    """Something that is deployed to."""

    name: str
    provider: str
    config: Mapping[str, Any] = field(default_factory=dict)


class Wanted(NamedTuple):
    """What is to run there: a commit, or something built before."""

    commit: str | None = None
    artifact: str | None = None


class Deploy(NamedTuple):
    """One deploy, as its provider tells of it."""

    id: str
    state: State
    said: str  # the provider's own word for the state
    commit: str | None = None
    artifact: str | None = None
    key: str | None = None  # our mark on it, where the provider keeps one
    created_at: datetime | None = None
    finished_at: datetime | None = None
    message: str | None = None


class Serving(NamedTuple):
    """What is live."""

    id: str | None  # of the deploy; None: nothing is, or nobody can say
    commit: str | None = None
    artifact: str | None = None


class Line(NamedTuple):
    """One line of a log."""

    at: datetime
    text: str


class Point(NamedTuple):
    """What a target can be put back to."""

    id: str  # of the provider's deploy
    commit: str | None = None
    artifact: str | None = None


def fingerprint(environment: Mapping[str, str], key: str) -> str:
    """What tells whether variables have changed, and nothing of their values to whoever does not have `key`."""
    said = b"".join(
        b"%d:%s%d:%s" % (len(n), n, len(v), v) for n, v in sorted((n.encode(), v.encode()) for n, v in environment.items())
    )
    return hmac.new(key.encode(), said, hashlib.sha256).hexdigest()


def key_of(deployment: str, target: str) -> str:
    """The mark of an intent at a provider that keeps one."""
    return f"tidemark-{hashlib.sha256(f'{deployment}/{target}'.encode()).hexdigest()[:16]}"
