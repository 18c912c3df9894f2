"""What comparisons come to: counted from the drifts they found, written down, and told of when too little is equal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from common import log
from common.db import Transaction
from common.rules.bisection import Figures
from common.rules.comparison import ALERT_BELOW, MISSING_THERE, ComparisonResult, Counts, cause, compared
from common.rules.entity import Entity
from common.stores import alerts, standing, statistics
from common.stores.statistics import Conclusion, Drift, Statistic

ALERT = "reconciliation_match"


@dataclass(frozen=True)
class Ended:
    """How a comparison ended; what it found is among its drifts."""

    method: str
    local_count: int  # before anything was repaired
    source: Figures | None = None  # None: the source was not counted
    local: Figures | None = None
    calls: int = 0
    verified_at: datetime | None = None
    is_complete: bool = True
    sums_differ: bool = False
    message: str | None = None
    needs_list: bool = False  # too long for a comparison to read: a full sync is recommended, whatever was found


def conclude(tx: Transaction, statistic: int, entity: Entity, ended: Ended) -> ComparisonResult:
    """Write down what a comparison came to, and open or close the alert of its entity."""
    found = statistics.found(tx, statistic)
    counts = Counts(
        source=None if ended.source is None else ended.source.rows,
        local=ended.local_count,
        missing_here=found.missing_here,
        missing_there=found.missing_there,
        stale=found.stale,
        changed=found.changed,
        repaired=found.repaired,
    )
    result = compared(counts, is_complete=ended.is_complete, is_stuck=found.stuck > 0)
    if ended.needs_list:
        result = replace(result, recommendation="full_sync", requires_sync=True, priority=min(result.priority, 5))
    statistics.finish(
        tx,
        statistic,
        Conclusion(
            method=ended.method,
            counts=counts,
            result=result,
            ages=(found.p50, found.p95, found.longest),
            calls=ended.calls,
            verified_at=ended.verified_at,
            is_complete=ended.is_complete,
            sums_differ=ended.sums_differ,
            source_sums=(ended.source and ended.source.sums) or (),
            local_sums=(ended.local and ended.local.sums) or (),
            message=ended.message,
        ),
    )
    _tell(tx, entity, result, counts)
    log.info("comparison.ended", entity=entity.label, method=ended.method, match=result.match_percentage, calls=ended.calls)
    return result


def _tell(tx: Transaction, entity: Entity, result: ComparisonResult, counts: Counts) -> None:
    if result.match_percentage >= ALERT_BELOW:
        alerts.resolve(tx, alert_type=ALERT, entity=entity.label)
        return
    found = {name: count for name, count in counts._asdict().items() if count}
    alerts.raise_alert(
        tx,
        alert_type=ALERT,
        severity="error",
        title=f"Only {result.match_percentage:.1f} % of {entity.path} were equal to the source",
        message=f"Less than {ALERT_BELOW:.0f} % matched before the repair. Recommended now: {result.recommendation}.",
        entity=entity.label,
        affected=counts.missing_here + counts.missing_there + counts.stale + counts.changed,
        metadata=found,
    )


def restate(tx: Transaction, entity: Entity, ids: Iterable[int], **news: object) -> None:
    """Count again what comparisons of an entity that are over have found; `news`: fields of Ended that are otherwise by now."""
    for statistic in statistics.by_ids(tx, ids):
        if statistic.finished_at is not None:
            conclude(tx, statistic.id, entity, replace(_ended(statistic), **news))  # type: ignore[arg-type]


def _ended(statistic: Statistic) -> Ended:
    source = statistic.source_count
    return Ended(
        method=statistic.method,
        local_count=statistic.local_count or 0,
        source=None if source is None else Figures(source, tuple(statistic.source_sums or ()) or None),
        local=Figures(statistic.local_count or 0, tuple(statistic.local_sums or ()) or None),
        calls=statistic.calls,
        verified_at=statistic.verified_at,
        is_complete=statistic.is_complete,
        sums_differ=statistic.sums_differ,
        message=statistic.message,
        needs_list=statistic.is_complete and statistic.recommendation == "full_sync",
    )


def settle(tx: Transaction, organization: str, every: Iterable[Entity]) -> None:
    """Close the drifts of these entities that have been repaired since they were found, and count again what they are of."""
    are_open = statistics.with_open_drifts(tx)
    for entity in sorted(every, key=lambda each: each.label):
        if entity.label in are_open:
            restate(tx, entity, statistics.settle(tx, entity, organization))


def after_list(
    tx: Transaction, entity: Entity, organization: str, *, plan: str, stage: int, run: str, since: datetime,
    horizon: datetime | None, missing: Sequence[str], is_believed: bool, calls: int,
) -> None:  # fmt: skip
    """The comparison that reading a whole list was: what it added, renewed, corrected and missed.

    `since`: the source's clock when it began. What the source changed after `horizon` is no drift, as the next incremental
    sync would have brought it; None: this was the first list, and nothing is. `calls`: those made for the comparison's sake.
    """
    settle(tx, organization, [entity])
    method = "full" if calls else "seen_ids"
    statistic = statistics.begin(tx, entity, plan, stage, method, run=run)
    corrected = statistics.of_run(tx, entity, organization, run, since=since, horizon=horizon) if horizon else []
    known = statistics.facts(tx, entity, [(identifier, at) for identifier, _, at in corrected])
    drifts = [
        Drift(identifier, kind, cause(kind, at, horizon, known[identifier]), at, is_repaired=True)
        for identifier, kind, at in corrected
    ]
    why = "unverified" if is_believed else "unbelieved"
    drifts += [Drift(identifier, MISSING_THERE, why, None, is_repaired=False) for identifier in missing]
    statistics.add_drifts(tx, statistic, entity, drifts)
    added = sum(drift.kind == "missing_here" for drift in drifts)
    local = standing.counts(tx, entity, organization).live - added
    source = Figures(statistics.seen(tx, plan, stage))
    conclude(tx, statistic, entity, Ended(method, local, source, calls=calls, verified_at=since))
