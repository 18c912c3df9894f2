"""What a comparison of an entity with its source comes to: how much of it is equal, what went wrong, and what is to be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from common.rules.entity import Entity

ALERT_BELOW = 95.0  # per cent
FEWEST_UNBELIEVED = 20  # records missing at the source of which it is never said that they are too many
UNBELIEVED_SHARE = 0.01
# What an entity counts for in the score of all of them. The five are the origin's; its images are no entity here.
WEIGHTS: Mapping[str, float] = {"product": 0.3, "customer": 0.2, "price_list": 0.15, "stock_adjustment": 0.15, "vendor": 0.1}
OTHER_WEIGHT = 0.1  # of each of the others
LATE = timedelta(hours=1)  # behind what an incremental sync reads again: within it, the source showed the change too late

MISSING_HERE, MISSING_THERE, STALE, CHANGED = "missing_here", "missing_there", "stale", "changed"


class Counts(NamedTuple):
    """What a comparison counted, before anything was repaired."""

    source: int | None  # None: the source was not counted
    local: int
    missing_here: int = 0
    missing_there: int = 0
    stale: int = 0  # here is an older version
    changed: int = 0  # one version, two contents
    repaired: int = 0  # of these four, by now


@dataclass(frozen=True)
class ComparisonResult:
    """What it comes to."""

    difference: int | None  # source less local
    match_percentage: float
    requires_sync: bool
    recommendation: str  # no_sync_needed, incremental_sync, full_sync, manual_review
    priority: int  # 1 is first, 10 can wait for ever


def compared(counts: Counts, *, is_complete: bool = True, is_stuck: bool = False) -> ComparisonResult:
    """The result of `counts`; `is_complete`: that what differs was found row by row, or that nothing does.

    If it was not, what the counts differ by is drift as well. `is_stuck`: some of it nobody but a person can repair.
    """
    found = counts.missing_here + counts.missing_there + counts.stale + counts.changed
    difference = None if counts.source is None else counts.source - counts.local
    drifted = found if is_complete else max(found, abs(difference or 0))
    either = max((counts.source or 0) + counts.missing_there, counts.local + counts.missing_here, drifted)
    match = 100.0 if either == 0 else 100.0 * (either - drifted) / either
    left = max(0, found - counts.repaired)
    if not is_complete:
        recommendation, priority = "full_sync", _urgent(match)
    elif not left:
        recommendation, priority = "no_sync_needed", 10
    elif is_stuck or counts.missing_there - counts.repaired > max(FEWEST_UNBELIEVED, UNBELIEVED_SHARE * either):
        recommendation, priority = "manual_review", 1  # so many do not vanish: look at the source before anything is deleted
    elif match < ALERT_BELOW:
        recommendation, priority = "full_sync", _urgent(match)
    else:
        recommendation, priority = "incremental_sync", _urgent(match)
    return ComparisonResult(difference, round(match, 4), recommendation != "no_sync_needed", recommendation, priority)


def _urgent(match: float) -> int:
    """1 below 80 per cent, then later and later: 8 from 99.9 on."""
    return 1 + sum(match >= least for least in (80, 90, 95, 97, 98, 99, 99.9))


def score(matches: Mapping[str, float]) -> float | None:
    """The score of all entities out of 100, by their match percentages; None when none was compared."""
    weights = {label: WEIGHTS.get(label, OTHER_WEIGHT) for label in matches}
    if not weights:
        return None
    return round(sum(weight * matches[label] for label, weight in weights.items()) / sum(weights.values()), 2)


def named(points: float | None) -> str:
    """The word for a score."""
    if points is None:
        return "unknown"
    for least, word in ((95, "excellent"), (90, "good"), (80, "warning")):
        if points >= least:
            return word
    return "critical"


# Single records ---------------------------------------------------------------------------------------------------


class Version(NamedTuple):
    """A record on one of the two sides, as far as a comparison looks at it."""

    id: str
    stamp: datetime | None
    hash: str | None  # of its row of the list; None: it never was in one
    amounts: tuple[Decimal | None, ...] = ()  # what the source sums
    is_deleted: bool = False


def drift(there: Version, here: Version | None, *, horizon: datetime | None = None) -> str | None:
    """How a record of the source's list differs from ours; None when it does not.

    What changed after `horizon`, on either side, is not drift: the next incremental sync brings it, or a webhook did.
    """
    if horizon is not None and any(each and each.stamp and each.stamp > horizon for each in (there, here)):
        return None
    if here is None or here.is_deleted:
        return MISSING_HERE
    if there.stamp is not None and (here.stamp is None or there.stamp > here.stamp):
        return STALE
    if not _agree(there, here) or (here.hash is not None and there.hash != here.hash):
        return CHANGED
    return None


def _agree(there: Version, here: Version) -> bool:
    """Whether the amounts that the source's row has are ours."""
    return all(amount is None or amount == ours for amount, ours in zip(there.amounts, here.amounts, strict=True))


def is_local_edit(there: Version, here: Version | None) -> bool:
    """Whether only our side can have changed: it has the source's row, and other figures, or a later time than the source."""
    if here is None or here.is_deleted:
        return False
    is_later = here.stamp is not None and there.stamp is not None and here.stamp > there.stamp
    return is_later or (here.hash == there.hash and here.stamp == there.stamp and not _agree(there, here))


def telling(entity: Entity) -> list[str]:
    """The keys of a record whose change is drift: those that a column is made of.

    The others are rendered for the eye: `due_days` of an unpaid invoice is another every morning. Nor are stock figures
    among them: they move under one time of change, and the stock sync knows.
    """
    keys = [key for name, column in entity.columns.items() for key in (column.keys or (name,))]
    return [key for key in keys if not entity.marks or not any(word in key for word in ("stock", "locations", "warehouses"))]


def is_rendered_only(entity: Entity, there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Whether two rows of a list differ in nothing that tells."""
    return all(there.get(key) == here.get(key) for key in telling(entity))


class Facts(NamedTuple):
    """What is known of a record that drifted."""

    is_deleted_here: bool = False
    is_local_edit: bool = False
    is_quarantined: bool = False  # a version of it could not be read
    has_failed_run: bool = False  # a sync of its entity failed since the source changed it
    was_received: bool = False  # a webhook told of this version, or a later one
    has_webhooks: bool = False  # webhooks tell of this entity's records


def cause(kind: str, stamp: datetime | None, horizon: datetime | None, facts: Facts) -> str:
    """Why a record drifted, as far as what is known says it; `stamp`: when the source changed it."""
    if kind == MISSING_THERE:
        return "unverified"  # asked for by its id, it will be deleted_at_source or page_drift
    is_late = stamp is not None and horizon is not None and horizon - stamp <= LATE
    known = (
        (facts.is_deleted_here, "deleted_here"),
        (facts.is_local_edit, "local_edit"),
        (facts.is_quarantined, "quarantined"),
        (kind == CHANGED, "silent_change"),  # without a new time of change, nothing could have told
        (facts.has_failed_run, "failed_page"),
        (facts.was_received, "not_applied"),
        (is_late, "late_visible"),
        (facts.has_webhooks, "webhook_lost"),
    )
    return next((why for is_so, why in known if is_so), "unknown")
