"""Repairing while comparing: pages of a source's list are merged, and what of them had drifted is written down with its cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from common import encoding
from common.db import Transaction
from common.rules import comparison
from common.rules import pages as rules
from common.rules.comparison import CHANGED, FEWEST_UNBELIEVED, MISSING_THERE, UNBELIEVED_SHARE, Facts, Version
from common.rules.entity import Entity
from common.stores import pages, refetches, seen_ids, statistics
from common.stores.statistics import SUMMED, Drift


class Repair:
    """The repairs of one comparison. `horizon`: what changed after it is no drift; None: nothing is too young."""

    def __init__(self, entity: Entity, organization: str, statistic: int, *, plan: UUID, horizon: datetime | None) -> None:
        self._entity = entity
        self._organization = organization
        self._statistic = statistic
        self._plan = plan
        self._horizon = horizon

    def merge(self, page: Any, *, seen_as: tuple[int, int] | None = None) -> list[Version]:
        """Write what is news on a page of a client, in a transaction of its own; the versions that the page has.

        `seen_as`: the stage and the number under which its ids are remembered.
        Raises: Invalid, for a page that cannot be one.
        """
        key = str(self._entity.pull and self._entity.pull.key)
        read = rules.read(self._entity, page.body, key, page.served_at)
        rows = {str(row.get(self._entity.id_keys[0])): row for row in page.rows}
        there = [Version(row.id, row.stamp, row.hash, self._amounts(rows.get(row.id, {}))) for row in read.rows]

        def work(tx: Transaction, careful: bool) -> None:  # noqa: FBT001
            ours = statistics.versions(tx, self._entity, self._organization, [each.id for each in there])
            drifted = self._drifted(tx, there, ours, read)
            statistics.distrust(tx, self._entity, self._organization, _edited_here(drifted, ours))
            pages.merge(
                tx,
                self._entity,
                self._organization,
                page.body,
                key,
                served_at=page.served_at,
                provenance="reconciliation",
                run=self._plan,
                careful=careful,
            )
            self._note(tx, drifted, ours)
            if seen_as is not None:
                seen_ids.add(tx, self._plan, *seen_as, read.ids, rows=read.count)

        pages.replayed(work, "worker")
        return there

    def ask_for(self, tx: Transaction, only_here: Sequence[str], *, of: int) -> None:
        """Records that the source does not list may be gone: each is read by its id. Too many `of` all are not believed."""
        if not only_here:
            return
        so_far = statistics.found(tx, self._statistic).missing_there
        is_believed = so_far + len(only_here) <= max(FEWEST_UNBELIEVED, int(UNBELIEVED_SHARE * of))
        if is_believed:
            refetches.ask(tx, self._organization, [(self._entity.label, identifier) for identifier in only_here], "missing")
        why = "unverified" if is_believed else "unbelieved"
        drifts = [Drift(identifier, MISSING_THERE, why, None, is_repaired=False) for identifier in only_here]
        statistics.add_drifts(tx, self._statistic, self._entity, drifts)

    def _amounts(self, row: Mapping[str, Any]) -> tuple[Decimal | None, ...]:
        if not (self._entity.pull and self._entity.pull.sums):
            return ()
        return tuple(None if isinstance(row.get(key), str | None) else Decimal(str(row[key])) for key in SUMMED)

    def _drifted(
        self, tx: Transaction, there: Sequence[Version], ours: Mapping[str, Version], read: rules.Page
    ) -> dict[Version, str]:
        """The versions of the page that ours differ from, each with how."""
        found = {each: kind for each in there if (kind := comparison.drift(each, ours.get(each.id), horizon=self._horizon))}
        # Under one time of change, and with the same amounts, most of what differs is words that are rendered anew each day.
        suspects = {each.id: each for each, kind in found.items() if kind == CHANGED and each.amounts == ours[each.id].amounts}
        if suspects:
            texts = read.texts()
            positions = {row.id: row.position for row in read.rows}
            stood = statistics.documents(tx, self._entity, self._organization, sorted(suspects))
            for identifier, document in stood.items():
                if comparison.is_rendered_only(self._entity, encoding.loads(texts[positions[identifier]]), document):
                    del found[suspects[identifier]]
        return found

    def _note(self, tx: Transaction, drifted: Mapping[Version, str], before: Mapping[str, Version]) -> None:
        """Write down what had drifted, and read back whether it is equal now; what is not is read again by its id."""
        if not drifted:
            return
        now = statistics.versions(tx, self._entity, self._organization, [each.id for each in drifted])
        known = statistics.facts(tx, self._entity, [(each.id, each.stamp) for each in drifted])
        drifts = []
        for each, kind in drifted.items():
            here = before.get(each.id)
            facts = known.get(each.id, Facts())._replace(
                is_deleted_here=here is not None and here.is_deleted, is_local_edit=comparison.is_local_edit(each, here)
            )
            why = comparison.cause(kind, each.stamp, self._horizon, facts)
            is_repaired = comparison.drift(each, now.get(each.id)) is None
            drifts.append(Drift(each.id, kind, why, each.stamp, is_repaired))
        statistics.add_drifts(tx, self._statistic, self._entity, drifts)
        left = [(self._entity.label, drift.id) for drift in drifts if not drift.is_repaired]
        if left:
            refetches.ask(tx, self._organization, left, "drift")


def _edited_here(drifted: Mapping[Version, str], ours: Mapping[str, Version]) -> list[str]:
    """Records whose columns alone were changed. One whose time of change is later than the source's is left to a person."""
    found = []
    for each in drifted:
        here = ours.get(each.id)
        if here is not None and here.stamp == each.stamp and comparison.is_local_edit(each, here):
            found.append(each.id)
    return found
