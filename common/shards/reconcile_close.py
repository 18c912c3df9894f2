"""End a reconciliation: what was read again by its id counts as repaired, and what was repaired is counted at the source once more.

Config: {"urgency": "repair" | "interactive", "source": "zoho"}. One shard; a call for each entity that was searched.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from common import db, encoding, entities, lookup, settings
from common.db import Transaction
from common.rules import merkle
from common.rules.bisection import Figures
from common.rules.shard import Context, Ran
from common.rules.urgency import Urgency
from common.stores import comparisons, statistics
from common.stores.statistics import Statistic

KIND = "reconcile.close"
IS_OURS = True


def plan(config: dict[str, Any]) -> int:  # noqa: ARG001 - every kind is asked
    """One."""
    return 1


def run(shards: range, context: Context) -> Ran:  # noqa: ARG001 - there is one
    """Count once more.

    Raises: Unavailable, when the source, its rate or the time is in the way; SourceRefused.
    """
    config = context.stage.config
    client = lookup.find("clients", config.get("source", "zoho"))
    plan_ = context.stage.plan
    with db.transaction("worker") as tx:
        searched = [each for each in statistics.of_plan(tx, plan_) if each.method == "bisect" and each.is_complete]
    told: dict[int, tuple[Figures, datetime]] = {}
    for each in searched:
        total = client.total(
            entities.by_label()[each.entity_type], arguments={}, urgency=Urgency(config["urgency"]), until=context.until
        )
        context.beat(None)
        if total is not None:
            sums = (total.sum_total, total.sum_balance)
            told[each.id] = Figures(total.count, None if None in sums else sums), total.served_at

    def effect(tx: Transaction) -> None:
        organization = settings.load().zoho_organization_id
        found = statistics.of_plan(tx, plan_)
        comparisons.settle(tx, organization, [entities.by_label()[label] for label in {each.entity_type for each in found}])
        for each in statistics.of_plan(tx, plan_):
            if each.id in told:
                _proven(tx, each, *told[each.id], organization)

    return Ran([merkle.leaf(context.hash, encoding.canonical([each.id for each in searched]))], effect=effect)


def _proven(tx: Transaction, statistic: Statistic, source: Figures, served_at: datetime, organization: str) -> None:
    """Whether both sides are equal now; and if not, though nothing is left to be done, that the whole list must be read."""
    entity = entities.by_label()[statistic.entity_type]
    ours = statistics.whole(tx, entity, organization)
    is_equal = source.rows == ours.rows and (statistic.sums_differ or source.equals(ours))
    by_id = statistics.read_by_id(tx, statistic.id)
    found = statistics.found(tx, statistic.id)
    left = found.missing_here + found.missing_there + found.stale + found.changed - found.repaired
    message = None if is_equal or left else "it still differs after the repair"
    comparisons.restate(
        tx,
        entity,
        [statistic.id],
        calls=statistic.calls + 1 + by_id,
        verified_at=served_at if is_equal else None,
        needs_list=not is_equal and not left,
        message=message,
    )
