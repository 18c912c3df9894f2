"""What a sync reads, and from when on: which entities, as plan stages. Pure: what is known comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from common.rules.entity import Entity
from common.rules.urgency import Urgency

MODES = ("full", "incremental", "stock")
STOCK = ("product", "stock_adjustment")
URGENCY = {"full": Urgency.BULK, "incremental": Urgency.INCREMENTAL, "stock": Urgency.STOCK, "ids": Urgency.INTERACTIVE}
LANES = {"full": 3, "incremental": 2, "stock": 1}
SLO = {
    "full": timedelta(hours=3),
    "incremental": timedelta(minutes=30),
    "stock": timedelta(minutes=10),
    "ids": timedelta(minutes=10),
}


@dataclass(frozen=True)
class Part:
    """The list of one entity, to be read."""

    entity: Entity
    since: datetime | None  # None: all of it


def parts(
    every: Sequence[Entity], mode: str, *, labels: Sequence[str], cursors: Mapping[str, datetime], last_pages: Mapping[str, int],
    lookback: timedelta, whole_list_pages: int,
) -> list[Part]:  # fmt: skip
    """What to read in `mode`, parents first.

    An entity without a cursor is read whole. One whose list can be neither filtered nor walked is read whole as well,
    but between two full syncs only as long as that is no more than `whole_list_pages` pages.
    """
    found = []
    for entity in sorted(every, key=lambda each: each.rank):
        pull = entity.pull
        if (
            pull is None
            or (labels and entity.label not in labels)
            or (mode == "stock" and not labels and entity.label not in STOCK)
        ):
            continue
        cursor = cursors.get(entity.label)
        if mode == "full" or cursor is None:
            found.append(Part(entity, None))
        elif pull.filter or pull.walk:
            found.append(Part(entity, cursor - lookback))
        elif labels or last_pages.get(entity.label, 0) <= whole_list_pages:
            found.append(Part(entity, None))
    return found


def stages(
    found: Sequence[Part], mode: str, *, runs: Mapping[str, str], run: str, provenance: str, urgency: Urgency, calls: int,
    source: str = "zoho",
) -> list[dict[str, Any]]:  # fmt: skip
    """The stages of the plan: a list per entity, then the single records that must be read again."""
    slo_ms = int(SLO[mode].total_seconds() * 1000)
    shared = {"source": source, "provenance": provenance, "urgency": str(urgency)}
    lists = [
        {
            "id": part.entity.path,
            "kind": "sync.pages",
            "concurrency": LANES.get(mode, 1),
            "slo_ms": slo_ms,
            "config": {
                "entity": part.entity.label,
                "run": runs[part.entity.label],
                "mode": mode,
                "since": part.since.isoformat() if part.since else None,
                **shared,
            },
        }
        for part in found
    ]
    last = {
        "id": "refetch",
        "kind": "sync.refetch",
        "concurrency": 1,
        "slo_ms": slo_ms,
        "dependencies": [stage["id"] for stage in lists],
        "config": {"run": run, "calls": calls, **shared},
    }
    return [*lists, last]
