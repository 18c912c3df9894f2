"""Compare an entity with its source by the fewest calls, and repair what differs; one shard is the whole of it.

Config: {"entity": label, "mode": "cheapest" | "full", "urgency": "repair" | "interactive", "source": "zoho"}.

What changed since the last full list is read again, if the source's count of it is not ours. Where the source counts and sums
its list, one call tells whether both sides are equal, and if not, a bisection over the days of creation finds where. Every
call is followed by a checkpoint, so that the next function goes on where this one had to stop. Where nothing is counted, only
the whole list can tell what was deleted: then it is left to the stage that follows, which opens if this one asks for it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from common import db, encoding, entities, lookup, settings
from common.db import Transaction
from common.errors import Invalid, SourceRefused
from common.rules import merkle, zoho_answers
from common.rules.bisection import Bisection, Done, Figures, FullList, Local, Probe, Read, Span, pages_of
from common.rules.entity import Entity, Pull
from common.rules.shard import Context, Ran
from common.rules.urgency import Urgency
from common.stores import comparisons, configuration, runs, statistics
from common.stores.comparisons import Ended
from common.stores.repairs import Repair
from common.stores.statistics import SUMMED

KIND = "reconcile.compare"
IS_OURS = True
WINDOW_SHARE = 0.2  # of a full list's pages that reading again what changed since the last one may take
FEWEST_WINDOW_PAGES = 3


def plan(config: dict[str, Any]) -> int:
    """One.

    Raises: Invalid, when the config cannot be one.
    """
    entity = entities.by_label().get(str(config.get("entity")))
    if entity is None or entity.pull is None:
        message = "A stage of kind reconcile.compare names an entity that can be read from its source."
        raise Invalid(message, errors=[{"pointer": "/entity", "message": "is no entity that can be read from its source"}])
    return 1


def run(shards: range, context: Context) -> Ran:  # noqa: ARG001 - there is one
    """Compare.

    Raises: Unavailable, when the source, its rate or the time is in the way: what was reached is kept.
    """
    config = context.stage.config
    entity = entities.by_label()[config["entity"]]
    compared = _Comparison(entity, context)
    try:
        ended = compared.go()
    except SourceRefused as error:
        ended = compared.ended("window", is_complete=True, needs_list=True, message=f"The source refused: {error.detail}"[:1000])

    def effect(tx: Transaction) -> None:
        comparisons.conclude(tx, compared.statistic, entity, ended)

    said = encoding.canonical([entity.label, ended.method, ended.calls, ended.source, ended.local])
    return Ran([merkle.leaf(context.hash, said)], effect=effect)


class _Comparison:
    """One entity being compared. `_state` is all that outlives a function: everything else is in the database."""

    def __init__(self, entity: Entity, context: Context) -> None:
        self._entity = entity
        self._pull: Pull = entity.pull  # type: ignore[assignment]  # plan() has looked
        self._context = context
        self._config = context.stage.config
        self._client = lookup.find("clients", self._config.get("source", "zoho"))
        self._organization = settings.load().zoho_organization_id
        self._state: dict[str, Any] = dict(context.checkpoint or {})
        with db.transaction("worker") as tx:
            self._values = configuration.all_values(tx)
            if not self._state:
                self._begin(tx)
            self.statistic: int = self._state["statistic"]
            self._last_list = statistics.last_list(tx, entity)
            self._list_pages = runs.last_pages(tx).get(entity.label) or pages_of(self._state["local_count"])
        plan_ = UUID(context.stage.plan)
        self._repair = Repair(entity, self._organization, self.statistic, plan=plan_, horizon=self._horizon)

    def _begin(self, tx: Transaction) -> None:
        comparisons.settle(tx, self._organization, [self._entity])
        count = statistics.whole(tx, self._entity, self._organization).rows
        stage = self._context.stage
        cursor = runs.cursors(tx).get(self._entity.label)
        horizon = cursor.cursor - self._lookback if cursor and cursor.cursor else None
        self._state = {
            "statistic": statistics.begin(tx, self._entity, stage.plan, stage.no, "window", local_count=count),
            "local_count": count,
            "calls": 0,
            "horizon": horizon.isoformat() if horizon else None,
        }

    @property
    def _lookback(self) -> timedelta:
        return timedelta(seconds=self._values["sync.lookback_seconds"])

    @property
    def _horizon(self) -> datetime | None:
        return datetime.fromisoformat(self._state["horizon"]) if self._state["horizon"] else None

    @property
    def _asking(self) -> dict[str, Any]:
        return {"urgency": Urgency(self._config["urgency"]), "until": self._context.until}

    def _keep(self) -> None:
        """What was said is written: go on from here, whoever does. Before the next call, or one call a function gets nowhere."""
        self._context.beat(self._state)

    def ended(self, method: str, **more: Any) -> Ended:
        """How it ended."""
        return Ended(method, self._state["local_count"], calls=self._state["calls"], **more)

    def go(self) -> Ended:
        """Compare, from wherever the function before this one stopped.

        Raises: Unavailable, Lost; SourceRefused.
        """
        if self._config["mode"] == "full" or self._horizon is None:
            message = "its whole list was asked for" if self._horizon else "it was never synced, so its whole list is read"
            return self.ended("window", is_complete=False, message=message)
        is_caught_up = self._catch_up()
        root = self._root() if self._pull.sums else None
        return self._without_counts(is_caught_up) if root is None else self._search(root)

    # What changed lately

    def _catch_up(self) -> bool:
        """Read again what changed since the last full list, or where the source says that nothing was lost, nothing.

        Whether all of it was read.
        """
        if "page" not in self._state:
            self._state["page"], self._state["since"] = self._window()
            self._keep()
        most = max(FEWEST_WINDOW_PAGES, int(WINDOW_SHARE * self._list_pages))
        since = datetime.fromisoformat(self._state["since"]) if self._state["since"] else None
        while self._state["page"] and self._state["page"] <= most:
            page = self._client.page(self._entity, self._state["page"], since=since, **self._asking)
            self._repair.merge(page)
            self._state["page"] = self._state["page"] + 1 if page.has_more else 0
            self._state["calls"] += 1
            self._keep()
        return not self._state["page"]

    def _window(self) -> tuple[int, str | None]:
        """The page to begin with, 0 for none, and from when on."""
        if not (self._pull.filter or self._pull.walk) or self._horizon is None:
            return 0, None
        first = min(self._horizon, self._last_list.at - self._lookback if self._last_list.at else self._horizon)
        if self._pull.sums and self._pull.filter:
            told = self._told({self._pull.filter: zoho_answers.since_text(first)})
            with db.transaction("worker") as tx:
                ours = statistics.whole(tx, self._entity, self._organization, since=first)
            if told is not None and told[0].equals(ours):
                return 0, None
            if told is not None and pages_of(told[0].rows) > max(FEWEST_WINDOW_PAGES, WINDOW_SHARE * self._list_pages):
                first = self._horizon
        return 1, first.isoformat()

    # Where the source counts

    def _told(self, arguments: dict[str, str]) -> tuple[Figures, datetime] | None:
        """What the source counts and sums; None when it does not."""
        total = self._client.total(self._entity, arguments=arguments, **self._asking)
        self._state["calls"] += 1
        if total is None:
            return None
        sums = (total.sum_total, total.sum_balance)
        return Figures(total.count, None if None in sums else sums), total.served_at

    def _root(self) -> Figures | None:
        if "root" not in self._state:
            told = self._told({})
            if told is None:
                return None
            with db.transaction("worker") as tx:
                ours = statistics.whole(tx, self._entity, self._organization)
                has_sums = not statistics.had_odd_sums(tx, self._entity)
            self._state["root"] = {"served_at": told[1].isoformat(), "here": _kept(ours), "there": _kept(told[0])}
            self._state["bisection"] = Bisection.begun(
                told[0], share=float(self._values["reconcile.budget_share"]), has_sums=has_sums
            ).kept()
            self._keep()
        return _figures(self._state["root"]["there"])

    def _search(self, root: Figures) -> Ended:
        bisection = Bisection.found(self._state["bisection"])
        ours = _figures(self._state["root"]["here"])
        figures = {"source": root, "local": ours}
        if root.rows == ours.rows and (root.equals(ours) or not bisection.has_sums) and not bisection.spent:
            served_at = datetime.fromisoformat(self._state["root"]["served_at"])
            return self.ended("aggregate", verified_at=served_at, sums_differ=not root.equals(ours), **figures)
        with db.transaction("worker") as tx:
            local = Local(statistics.days(tx, self._entity, self._organization))
        while True:
            step = bisection.next(local)
            if isinstance(step, FullList):
                message = (
                    f"after {bisection.spent} calls of {bisection.budget} there is still more that differs: its whole list is read"
                )
                return self.ended("bisect", is_complete=False, sums_differ=not bisection.has_sums, message=message, **figures)
            if isinstance(step, Done):
                return self.ended("bisect", sums_differ=not bisection.has_sums, **figures)
            if isinstance(step, Probe):
                told = self._told(_created(step.span))
                if told is None:
                    message = "the source stopped counting"
                    return self.ended("bisect", is_complete=False, message=message, **figures)
                bisection.probed(step.span, told[0])
            else:
                self._read(step, bisection)
            self._state["bisection"] = bisection.kept()
            self._keep()

    def _read(self, step: Read, bisection: Bisection) -> None:
        """Read every record of a range, repair what differs, and ask by id for what is only here."""
        stage = self._context.stage
        leaf = self._state.setdefault("leaf", {"page": 1, "rows": 0, "sums": ["0"] * len(SUMMED)})
        while leaf["page"]:
            number = leaf["page"]
            page = self._client.page(self._entity, number, since=None, arguments=_created(step.span), **self._asking)
            # Ranges do not overlap, so whatever is seen in any of them counts for all.
            versions = self._repair.merge(page, seen_as=(stage.no, bisection.spent + number))
            amounts = zip(leaf["sums"], zip(*(each.amounts for each in versions), strict=True), strict=True) if versions else ()
            leaf["sums"] = [str(Decimal(total) + sum(each or 0 for each in column)) for total, column in amounts] or leaf["sums"]
            leaf["rows"] += len(versions)
            leaf["page"] = number + 1 if page.has_more else 0
            leaf["calls"] = number
            self._state["calls"] += 1
            self._keep()
        with db.transaction("worker") as tx:
            only_here = statistics.live_within(tx, self._entity, self._organization, step.span, plan=stage.plan, stage=stage.no)
            self._repair.ask_for(tx, only_here, of=self._state["local_count"])
        _, figures = bisection.pending[-1]
        bisection.read(leaf["calls"])
        if figures.sums is not None and leaf["rows"] == figures.rows and tuple(map(Decimal, leaf["sums"])) != figures.sums:
            bisection.has_sums = False  # its own rows come to something else, in another currency perhaps
        del self._state["leaf"]

    # Where it does not

    def _without_counts(self, is_caught_up: bool) -> Ended:  # noqa: FBT001
        hours = self._last_list.hours_ago
        is_fresh = hours is not None and hours <= self._values["reconcile.fresh_hours"]
        if is_fresh and is_caught_up:
            message = (
                f"what changed since its full list of {self._last_list.at:%F %R} was read; deletions show in the next full list"
            )
            return self.ended("window", message=message)
        if self._list_pages <= self._values["reconcile.list_pages"]:
            return self.ended("window", is_complete=False, message="the source does not count it, so its whole list is read")
        message = (
            f"the source does not count it, and its list of {self._list_pages} pages is too long for a comparison: run a full sync"
        )
        return self.ended("window", needs_list=True, message=message)


def _created(span: Span) -> dict[str, str]:
    """The arguments of a list that ask for what was made within these days, both ends included."""
    asked = {"created_date_start": span.first, "created_date_end": span.last}
    return {name: day.isoformat() for name, day in asked.items() if day is not None}


def _kept(figures: Figures) -> dict[str, Any]:
    return {"rows": figures.rows, "sums": None if figures.sums is None else [str(each) for each in figures.sums]}


def _figures(kept: dict[str, Any]) -> Figures:
    return Figures(kept["rows"], None if kept["sums"] is None else tuple(map(Decimal, kept["sums"])))
