"""Statistics: comparisons of entities with their source over time, and every record that was not equal, with its cause."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from common import encoding
from common.db import Transaction, queries
from common.rules.bisection import Figures, Span
from common.rules.comparison import ComparisonResult, Counts, Facts, Version, telling
from common.rules.entity import Entity

SUMMED = ("total", "balance")  # columns that a source which sums its lists sums, in its order


class Statistic(NamedTuple):
    """One comparison of one entity."""

    id: int
    entity_type: str
    method: str
    plan: str
    stage: int
    at: datetime
    finished_at: datetime | None
    verified_at: datetime | None
    source_count: int | None
    local_count: int | None
    missing_here: int
    missing_there: int
    stale: int
    changed: int
    repaired: int
    calls: int
    source_sums: list[Decimal] | None
    local_sums: list[Decimal] | None
    sums_differ: bool
    is_complete: bool
    match_percentage: float | None
    recommendation: str | None
    priority: int | None
    drift_age_p50_seconds: float | None
    drift_age_p95_seconds: float | None
    drift_age_max_seconds: float | None
    message: str | None


class Found(NamedTuple):
    """What a comparison has found so far."""

    missing_here: int
    missing_there: int
    stale: int
    changed: int
    repaired: int
    stuck: int  # that nobody but a person can repair
    p50: float | None
    p95: float | None
    longest: float | None


class Drift(NamedTuple):
    """A record that is not equal."""

    id: str
    kind: str
    cause: str
    changed_at: datetime | None  # at the source
    is_repaired: bool


class Cause(NamedTuple):
    """How many records drifted for one cause."""

    entity_type: str
    kind: str
    cause: str
    records: int
    open: int


class LastList(NamedTuple):
    """The last comparison of a whole list."""

    at: datetime | None  # by the source's clock, when it began; None: there was none
    hours_ago: float | None


class _Open(NamedTuple):
    entity_type: str


class _Known(NamedTuple):
    id: str
    is_quarantined: bool
    has_failed_run: bool
    was_received: bool
    has_webhooks: bool


# Comparisons -----------------------------------------------------------------------------------------------------


def begin(
    tx: Transaction, entity: Entity, plan: str, stage: int, method: str, *, local_count: int | None = None, run: str | None = None
) -> int:
    """The comparison of this stage; the same one when it is taken up again."""
    found = tx.value(
        "statistics.begin", entity=entity.label, plan=plan, stage=stage, method=method, local_count=local_count, run=run
    )
    return int(found)


def found(tx: Transaction, statistic: int) -> Found:
    """What it has found so far."""
    return tx.one(Found, "statistics.found", id=statistic)  # type: ignore[return-value]  # an aggregate has a row


class Conclusion(NamedTuple):
    """What a comparison came to."""

    method: str
    counts: Counts
    result: ComparisonResult
    ages: tuple[float | None, float | None, float | None]  # p50, p95 and greatest of what drifted, in seconds
    calls: int
    verified_at: datetime | None  # the source's clock when both sides were equal
    is_complete: bool
    sums_differ: bool
    source_sums: Sequence[Decimal]
    local_sums: Sequence[Decimal]
    message: str | None


def finish(tx: Transaction, statistic: int, said: Conclusion) -> None:
    """What it came to; said again when that has changed."""
    counts, result = said.counts, said.result
    tx.run(
        "statistics.finish",
        id=statistic,
        method=said.method,
        source_count=counts.source,
        local_count=counts.local,
        missing_here=counts.missing_here,
        missing_there=counts.missing_there,
        stale=counts.stale,
        changed=counts.changed,
        repaired=counts.repaired,
        calls=said.calls,
        match_percentage=result.match_percentage,
        recommendation=result.recommendation,
        priority=result.priority,
        is_complete=said.is_complete,
        verified_at=said.verified_at,
        sums_differ=said.sums_differ,
        message=said.message,
        source_sums=encoding.rows(list(said.source_sums)),
        local_sums=encoding.rows(list(said.local_sums)),
        p50=said.ages[0],
        p95=said.ages[1],
        longest=said.ages[2],
    )


def of_plan(tx: Transaction, plan: str) -> list[Statistic]:
    """The comparisons of a plan."""
    return tx.all(Statistic, "statistics.of_plan", plan=plan)


def by_ids(tx: Transaction, ids: Iterable[int]) -> list[Statistic]:
    """These comparisons, locked."""
    return tx.all(Statistic, "statistics.by_ids", ids=encoding.rows(sorted(ids)))


def latest(tx: Transaction) -> list[Statistic]:
    """The last comparison of each entity."""
    return tx.all(Statistic, "statistics.latest")


def history(tx: Transaction, *, days: int, entity: str | None, limit: int) -> list[Statistic]:
    """The comparisons of some days, the newest first."""
    return tx.all(Statistic, "statistics.history", days=days, entity=entity, limit=limit)


def causes(tx: Transaction, *, days: int) -> list[Cause]:
    """What drifted within some days, by its cause."""
    return tx.all(Cause, "statistics.causes", days=days)


def last_list(tx: Transaction, entity: Entity) -> LastList:
    """When the whole list was last compared record by record."""
    return tx.one(LastList, "statistics.last_list", entity=entity.label) or LastList(None, None)


def had_odd_sums(tx: Transaction, entity: Entity) -> bool:
    """Whether the source's sums were lately found not to be those of its rows."""
    return bool(tx.value("statistics.had_odd_sums", entity=entity.label))


def wants_list(tx: Transaction, plan: str, entity: str) -> bool:
    """Whether this plan found that the whole list of an entity must be read."""
    return bool(tx.value("statistics.wants_list", plan=plan, entity=entity))


def clean_up(tx: Transaction, *, days: int, limit: int = 1000) -> int:
    """Forget comparisons older than `days`, at most `limit`, but never an entity's newest; how many went."""
    return int(tx.value("statistics.clean_up", days=days, limit=limit))


# Records ---------------------------------------------------------------------------------------------------------


def add_drifts(tx: Transaction, statistic: int, entity: Entity, drifts: Sequence[Drift]) -> None:
    """Records that are not equal; one that is known already stays as it is."""
    if drifts:
        given = encoding.rows([drift._asdict() for drift in drifts])
        tx.run("statistics.add_drifts", statistic=statistic, entity=entity.label, drifts=given)


def facts(tx: Transaction, entity: Entity, changed: Sequence[tuple[str, datetime | None]]) -> dict[str, Facts]:
    """What is known of these records, as (id, when the source changed it)."""
    if not changed:
        return {}
    ids = encoding.rows([{"id": identifier, "stamp": stamp} for identifier, stamp in changed])
    return {
        row.id: Facts(
            is_quarantined=row.is_quarantined,
            has_failed_run=row.has_failed_run,
            was_received=row.was_received,
            has_webhooks=row.has_webhooks,
        )
        for row in tx.all(_Known, "statistics.facts", entity=entity.label, ids=ids)
    }


def seen(tx: Transaction, plan: str, stage: int) -> int:
    """How many records the pages of a list had, each once."""
    return int(tx.value("statistics.seen", plan=plan, stage=stage))


def of_run(
    tx: Transaction, entity: Entity, organization: str, run: str, *, since: datetime, horizon: datetime
) -> list[tuple[str, str, datetime | None]]:
    """What a run that began at `since` corrected here of what the source had changed before `horizon`: (id, kind, changed at)."""
    first = f"{max(0, int(since.timestamp())) & 0xFFFFFFFF:08x}-0000-0000-0000-000000000000"  # ids of the trail begin with the time
    rows, _ = tx.statement(
        rendered(entity)["of_run"],
        {
            "organization": organization, "entity": entity.label, "run": run, "from": first, "horizon": horizon,
            "version_keys": encoding.rows(list(entity.version_keys)), "telling": encoding.rows(telling(entity)),
        },
    )  # fmt: skip
    return [(identifier, kind, at) for identifier, kind, at in rows]


def days(tx: Transaction, entity: Entity, organization: str) -> list[tuple[date, Figures]]:
    """Our live records by the day the source made them. Those of which no day is known are left out."""
    rows, _ = tx.statement(rendered(entity)["days"], {"organization": organization})
    found: list[tuple[date, Figures]] = []
    for day, count, sums in rows:
        try:
            found.append((date.fromisoformat(day), _figures(entity, count, sums)))
        except (TypeError, ValueError):
            continue
    return found


def whole(tx: Transaction, entity: Entity, organization: str, *, since: datetime | None = None) -> Figures:
    """Our live records, all of them or those that the source changed after `since`."""
    ((count, sums),), _ = tx.statement(rendered(entity)["whole"], {"organization": organization, "since": since})
    return _figures(entity, count, sums)


def versions(tx: Transaction, entity: Entity, organization: str, ids: Sequence[str]) -> dict[str, Version]:
    """What stands here of these records, deleted ones among them."""
    rows, _ = tx.statement(rendered(entity)["versions"], {"organization": organization, "ids": encoding.rows(list(ids))})
    return {row[0]: Version(row[0], row[1], row[2], tuple(row[3]), row[4]) for row in rows}


def documents(tx: Transaction, entity: Entity, organization: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The rows of the list that these records were last read from."""
    rows, _ = tx.statement(rendered(entity)["documents"], {"organization": organization, "ids": encoding.rows(list(ids))})
    return dict(rows)


def live_within(tx: Transaction, entity: Entity, organization: str, span: Span, *, plan: str, stage: int) -> list[str]:
    """Ids of live records that the source made within these days, and that no page of the stage had."""
    given = {"organization": organization, "first": span.first, "last": span.last, "plan": plan, "stage": stage}
    return [row[0] for row in tx.statement(rendered(entity)["live_within"], given)[0]]


def distrust(tx: Transaction, entity: Entity, organization: str, ids: Sequence[str]) -> None:
    """These were changed on our side only: what is read next is to be written, whatever it says."""
    if ids:
        tx.statement(rendered(entity)["distrust"], {"organization": organization, "ids": encoding.rows(list(ids))})


def settle(tx: Transaction, entity: Entity, organization: str) -> list[int]:
    """Close the drifts of an entity that have been repaired since they were found; the comparisons that they are of."""
    rows, _ = tx.statement(rendered(entity)["settle"], {"organization": organization, "entity": entity.label})
    return [row[0] for row in rows]


def read_by_id(tx: Transaction, statistic: int) -> int:
    """How many records of a comparison were read again by their ids since."""
    return int(tx.value("statistics.read_by_id", id=statistic))


def with_open_drifts(tx: Transaction) -> set[str]:
    """Entities with drifts that are not repaired."""
    return {row.entity_type for row in tx.all(_Open, "statistics.with_open_drifts")}


def _figures(entity: Entity, count: int, sums: Sequence[Decimal]) -> Figures:
    return Figures(count, tuple(sums) if entity.pull and entity.pull.sums else None)


@functools.cache
def rendered(entity: Entity) -> dict[str, str]:
    """The statements of an entity by name; only names from its file go into them."""
    columns = SUMMED if entity.pull and entity.pull.sums else ()
    sums = ", ".join(f"coalesce(sum(d.{column}), 0)" for column in columns)
    parts = {
        "@table@": entity.table,
        "@sums@": f"array[{sums}]::numeric[]",
        "@amounts@": f"array[{', '.join(f'd.{column}' for column in columns)}]::numeric[]",
    }
    found = {
        "of_run": queries()["statistics.of_run"],
        "days": queries()["statistics.days"],
        "whole": queries()["statistics.whole"],
        "versions": queries()["statistics.versions"],
        "documents": queries()["statistics.documents"],
        "live_within": queries()["statistics.live_within"],
        "distrust": queries()["statistics.distrust"],
        "settle": queries()["statistics.settle"],
    }
    for part, said in parts.items():
        found = {name: text.replace(part, said) for name, text in found.items()}
    return found
