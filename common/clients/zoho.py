"""Zoho Books and Inventory as a source: pages of lists, records by id, and sums; never a call more than it allows."""

from __future__ import annotations

import functools
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from common import log, settings
from common.errors import AppError, Broken, SourceRefused, Unavailable
from common.outgoing.zoho import Heard, access_to, asked
from common.rules import zoho_answers
from common.rules.entity import Entity, Pull
from common.rules.instants import instant
from common.rules.urgency import Urgency
from common.rules.zoho_answers import Verdict

PER_PAGE = 200  # the most that the source gives
TOTAL_SECONDS = 20.0  # that a total is waited for when nobody says how long
SECOND = timedelta(seconds=1)  # stamps have no fractions


class Page(NamedTuple):
    """One page of a list."""

    number: int  # from 1
    body: str  # the answer's text as it came
    rows: list[dict[str, Any]]
    ids: list[str]
    has_more: bool  # there is a page after this one that must be read
    served_at: datetime  # by the source's clock
    took_ms: float
    records: list[Any] | None = None  # the list as orjson decoded it; None where it could not
    filter_ignored: bool = False  # rows came that are older than was asked for, though the source promises a filter


class Read(NamedTuple):
    """Records read by id. An id in neither was not asked for, because the time was up."""

    found: dict[str, dict[str, Any]]
    missing: list[str]  # the source says that there is no such record
    served_at: datetime


@dataclass(frozen=True)
class Total:
    """What the source itself counts and sums."""

    count: int
    sum_total: Decimal | None
    sum_balance: Decimal | None
    served_at: datetime


# Reading ---------------------------------------------------------------------------------------------------------


def page(
    entity: Entity, number: int, *, since: datetime | None, per_page: int = PER_PAGE, arguments: Mapping[str, str] | None = None,
    urgency: Urgency, until: float,
) -> Page:  # fmt: skip
    """Page `number` of the list; with `since`, of what changed since then, where the source can tell; `arguments` narrow it.

    No call begins after `until` (of time.monotonic). Where the source cannot tell but sorts by the stamp, the newest come
    first and `has_more` ends with the page that reaches back to `since`; where it can do neither, the list is whole.
    Raises: Unavailable (Throttled among them), with the seconds to wait, for whatever is the source's or the limiter's
    trouble; SourceRefused for what a retry cannot cure.
    """
    pull = _pull(entity)
    is_walk = bool(since and pull.walk and not pull.filter)
    wanted = {**pull.arguments, **(arguments or {}), "page": str(number), "per_page": str(per_page)}
    if is_walk:
        wanted |= {"sort_column": str(pull.walk), "sort_order": "D"}
    elif pull.sort:
        wanted |= {"sort_column": pull.sort, "sort_order": "A"}
    if since and pull.filter:
        wanted[pull.filter] = zoho_answers.since_text(since)
    heard = _listed(asked(pull.base, pull.path, wanted, urgency=urgency, until=until), pull)
    rows = _rows(heard, pull)
    context = heard.said.document.get("page_context")
    has_more = isinstance(context, dict) and context.get("has_more_page") is True
    if len(rows) >= per_page and not has_more:
        log.info("page.full_and_last", entity=entity.label, page=number, rows=len(rows))
    oldest = _oldest(entity, rows) if since else None
    is_older = bool(since and oldest and oldest < since - SECOND)
    filter_ignored = is_older and pull.filter is not None
    if filter_ignored:
        log.warning("filter.ignored", entity=entity.label, page=number, since=since, oldest=oldest)
    return Page(
        number=number,
        body=heard.body.decode(),
        rows=rows,
        ids=list(_by_id(entity, rows)),
        has_more=has_more and not (is_walk and is_older),
        served_at=heard.served_at,
        took_ms=heard.took_ms,
        records=None if heard.said.is_exact else heard.said.document[pull.key],
        filter_ignored=filter_ignored,
    )


def details(entity: Entity, ids: Sequence[str], *, urgency: Urgency, until: float) -> Read:
    """The records with these ids: as many as the source gives at once, else exactly one.

    Raises: as `page` does; Broken, for more ids than that.
    """
    pull = _pull(entity)
    at_once = pull.bulk[1] if pull.bulk else int(pull.has_detail)
    if not 1 <= len(ids) <= at_once:
        message = f"{len(ids)} records of {entity.label} cannot be read at once, only {at_once}"
        raise Broken(message)
    if pull.bulk is None or len(ids) == 1:
        return _single(entity, pull, ids[0], urgency=urgency, until=until)
    heard = asked(pull.base, pull.bulk[0], {"item_ids": ",".join(ids)}, urgency=urgency, until=until, exact=True)
    if heard.said.verdict is Verdict.MISSING:
        return _one_by_one(entity, pull, ids, urgency=urgency, until=until)
    found = _by_id(entity, _rows(heard, pull))
    return Read({each: found[each] for each in ids if each in found}, [each for each in ids if each not in found], heard.served_at)


def total(
    entity: Entity, *, arguments: Mapping[str, str], urgency: Urgency = Urgency.REPAIR, until: float | None = None
) -> Total | None:
    """What the source counts and sums for the list with `arguments`; None where it does not.

    Raises: as `page` does.
    """
    pull = _pull(entity)
    if not pull.sums:
        return None
    wanted = {**pull.arguments, **arguments, "response_option": "3"}
    by = time.monotonic() + TOTAL_SECONDS if until is None else until
    heard = _listed(asked(pull.base, pull.path, wanted, urgency=urgency, until=by, exact=True), pull)
    context = heard.said.document.get("page_context")
    if not isinstance(context, dict) or not isinstance(context.get("total"), int):
        return None
    return Total(context["total"], _amount(context.get("sum_total")), _amount(context.get("sum_balance")), heard.served_at)


def _amount(value: object) -> Decimal | None:
    return Decimal(value) if isinstance(value, int | Decimal) else None


def _single(entity: Entity, pull: Pull, identifier: str, *, urgency: Urgency, until: float) -> Read:
    heard = asked(pull.base, f"{pull.path}/{urllib.parse.quote(identifier, safe='')}", {}, urgency=urgency, until=until, exact=True)
    if heard.said.verdict is Verdict.MISSING:
        return Read({}, [identifier], heard.served_at)
    record = heard.said.document.get(pull.detail_key)
    if not isinstance(record, dict) or _id(entity, record) != identifier:
        message = f"Zoho answered no {pull.detail_key} with the id {identifier[:64]}."
        raise SourceRefused(message)
    return Read({identifier: record}, [], heard.served_at)


def _one_by_one(entity: Entity, pull: Pull, ids: Sequence[str], *, urgency: Urgency, until: float) -> Read:
    # One of them is missing, and it was not said which. What is known when the time is up is worth keeping.
    found: dict[str, dict[str, Any]] = {}
    missing: list[str] = []
    served_at = None
    for identifier in ids:
        try:
            read = _single(entity, pull, identifier, urgency=urgency, until=until)
        except Unavailable:
            if served_at is None:
                raise
            break
        found |= read.found
        missing += read.missing
        served_at = served_at or read.served_at
    return Read(found, missing, served_at)  # type: ignore[arg-type]  # there was one id at least


def _pull(entity: Entity) -> Pull:
    """Raises: Broken, for an entity that is never read."""
    if entity.pull is None:
        message = f"{entity.label} is not read from a source"
        raise Broken(message)
    return entity.pull


def _listed(heard: Heard, pull: Pull) -> Heard:
    """Raises: SourceRefused, when a list says that it does not exist."""
    if heard.said.verdict is Verdict.MISSING:
        message = f"Zoho has no list {pull.path}: {heard.said.message}."
        raise SourceRefused(message)
    return heard


def _rows(heard: Heard, pull: Pull) -> list[dict[str, Any]]:
    """Raises: SourceRefused, when there is no list where it should be: an empty one would mean that all were deleted."""
    rows = heard.said.document.get(pull.key)
    if not isinstance(rows, list):
        message = f"Zoho's answer to {pull.path} holds no list '{pull.key}'."
        raise SourceRefused(message)
    return [row for row in rows if isinstance(row, dict)]


def _by_id(entity: Entity, rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {identifier: row for row in rows if (identifier := _id(entity, row))}
    if len(found) < len(rows):
        log.warning("rows.without_own_id", entity=entity.label, rows=len(rows), ids=len(found))
    return found


def _id(entity: Entity, record: Mapping[str, Any]) -> str:
    return next((str(record[key]) for key in entity.id_keys if record.get(key)), "")


def _oldest(entity: Entity, rows: Sequence[Mapping[str, Any]]) -> datetime | None:
    """The oldest stamp among the rows that have one that can be read."""
    found = []
    for row in rows:
        stamp = next((row[key] for key in entity.version_keys if row.get(key)), None)
        try:
            found.append(instant(stamp))
        except ValueError:
            continue
    return min((moment for moment in found if moment), default=None)


# Diagnosis -------------------------------------------------------------------------------------------------------


class Check(NamedTuple):
    """One thing that was tried."""

    name: str
    is_good: bool
    said: str


def check(every: Sequence[Entity], *, seconds: float = 120.0) -> list[Check]:
    """Try what a sync needs: a token, the organization, each list, each filter. About twenty calls; raises nothing."""
    until = time.monotonic() + seconds
    tried = [_tried("access token", functools.partial(_token_said, until))]
    if not tried[0].is_good:
        return tried
    lists = [entity for entity in every if entity.pull]
    return tried + [_tried(f"list {entity.path}", functools.partial(_list_said, entity, until)) for entity in lists]


def _token_said(until: float) -> str:
    return "is valid" if access_to(settings.load(), until).access_token else "is empty"


def _list_said(entity: Entity, until: float) -> str:
    """Raises: SourceRefused, when the list ignores the filter that it should honour."""
    newest = page(entity, 1, since=None, per_page=1, urgency=Urgency.INTERACTIVE, until=until)
    said = "can be read" if newest.rows else "can be read, and is empty"
    if entity.pull is None or entity.pull.filter is None or not newest.rows:
        return said
    changed = page(entity, 1, since=newest.served_at, per_page=1, urgency=Urgency.INTERACTIVE, until=until)
    if changed.filter_ignored:
        message = f"The list of {entity.path} ignores the filter {entity.pull.filter}: an incremental sync reads all of it."
        raise SourceRefused(message)
    return f"{said}; its filter is honoured"


def _tried(name: str, act: Callable[[], str]) -> Check:
    try:
        return Check(name, True, act())
    except AppError as error:
        return Check(name, False, error.detail)
