"""Which rows a list shows, in which order: what each module filters and sorts by, and what it silently ignores."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from deploy.local.zoho.modules import Module
from deploy.local.zoho.store import Row, Store

Query = Mapping[str, str]
Test = Callable[[Row], bool]
PER_PAGE = 200
_KEPT = 64  # answers to the same question, between two changes of the data
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}")  # no colon in the offset, no fraction, no Z
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Found:
    """All rows of a list, in order, and what was made of the question."""

    rows: list[Row]
    column: str
    order: str  # A, D
    applied_filter: str


class Lists:
    """Answers the same question from memory until the data changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[tuple[object, ...], Found] = OrderedDict()

    def find(self, module: Module, query: Query, *, is_filtered: bool = True) -> Found:
        """The rows that `query` asks for; with `is_filtered` false, its time is ignored."""
        asked = {key: value for key, value in query.items() if key not in {"page", "per_page", "organization_id"}}
        if not is_filtered:
            asked.pop("last_modified_time", None)
        revisions = tuple(self._store.revisions[label] for label in module.labels)
        key = (module.base, module.path, revisions, *sorted(asked.items()))
        if key not in self._known:
            self._known[key] = self._found(module, asked)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[key]

    def _found(self, module: Module, query: Query) -> Found:
        column, order = module.default_sort
        if query.get("sort_column") in module.sorts:
            column, order = query["sort_column"], "A"
        if query.get("sort_order") in {"A", "D"}:
            order = query["sort_order"]
        tests = _tests(module, query)
        rows = [row for row in self._rows(module, query) if all(test(row) for test in tests)]
        rows.sort(key=_sorter(column), reverse=order == "D")
        return Found(rows, column, order, _family(module, query) or _default_filter(module))

    def _rows(self, module: Module, query: Query) -> list[Row]:
        shown = self._store.deleted if _family(module, query) == "Status.Deleted" and module.path == "users" else self._store.rows
        return [row for label in module.labels for row in shown[label].values()]


def instant(text: str) -> datetime | None:
    """A time that Zoho can read. The `+` of an offset that was not sent as %2B is a blank by now, and no time."""
    try:
        return datetime.fromisoformat(text) if _TIME.fullmatch(text) else None
    except ValueError:
        return None


def totals(rows: list[Row]) -> dict[str, Any]:
    """The sums of `total` and of `balance` that response_option answers."""
    sums = {key: sum((Decimal(str(row.change.record.get(key) or 0)) for row in rows), Decimal()) for key in ("total", "balance")}
    return {f"sum_{key}": float(value) for key, value in sums.items()}


def _tests(module: Module, query: Query) -> list[Test]:
    tests = [_equals(name, query[name]) for name in module.matches if query.get(name)]
    since = instant(query.get("last_modified_time", ""))
    if since and module.since == "after":
        tests.append(lambda row: row.at > since)
    elif since and module.since == "from":
        tests.append(lambda row: row.at >= since)
    if module.by_date:
        tests += _days(query, "date", lambda row: str(row.change.record["date"]))
    if module.has_created_date:
        tests += _days(query, "created_date", lambda row: str(row.change.record["created_time"])[:10])
    family, _, wanted = _family(module, query).partition(".")
    if wanted not in {"", "All", "Deleted"}:
        field = {"Status": "status", "PaymentMode": "payment_mode", "SalesOrPurchaseType": "sales_or_purchase_type"}[family]
        tests.append(lambda row: str(row.change.record.get(field, "")).replace("_", "") == wanted.lower())
    return tests


def _equals(name: str, wanted: str) -> Test:
    return lambda row: str(row.change.record.get(name, "")) == wanted


def _days(query: Query, name: str, of: Callable[[Row], str]) -> list[Test]:
    """Days are compared as text: the organization's own, both ends included except for _before and _after."""
    asked = {ending: query.get(f"{name}{ending}", "") for ending in ("", "_start", "_end", "_before", "_after")}
    tests: dict[str, Callable[[str, str], bool]] = {
        "": lambda day, wanted: day == wanted,
        "_start": lambda day, wanted: day >= wanted,
        "_end": lambda day, wanted: day <= wanted,
        "_before": lambda day, wanted: day < wanted,
        "_after": lambda day, wanted: day > wanted,
    }

    def bound(test: Callable[[str, str], bool], wanted: str) -> Test:
        return lambda row: test(of(row), wanted)

    return [bound(tests[ending], wanted) for ending, wanted in asked.items() if _DAY.fullmatch(wanted)]


def _family(module: Module, query: Query) -> str:
    asked = query.get("filter_by", "")
    return asked if asked.partition(".")[0] in module.filters else ""


def _default_filter(module: Module) -> str:
    return f"{module.filters[0]}.All" if module.filters else ""


def _sorter(column: str) -> Callable[[Row], Any]:
    if column == "created_time":
        return lambda row: row.created
    if column == "last_modified_time":
        return lambda row: row.at
    return lambda row: _sortable(row.change.record.get(column, ""))


def _sortable(value: Any) -> tuple[int, Any]:
    """Numbers before texts; texts without regard to case."""
    if isinstance(value, (int, float)):
        return (0, Decimal(str(value)))
    try:
        return (0, Decimal(value)) if value else (1, "")
    except (InvalidOperation, TypeError):
        return (1, str(value).casefold())
