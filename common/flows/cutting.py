"""How a stage is cut: what it asks for is checked against its kind, and its scheduler deals its shards to its lanes."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from common import settings
from common.db import Transaction
from common.rules import plan as rules
from common.rules import schedulers, shard
from common.stores import lanes, parts, plans

ORDERED = "by_dag_depth"  # a partitioner whose parts have an order of their own


def config(step: rules.Step, kind: ModuleType, pointer: str, reader: rules.Reader) -> dict[str, Any]:
    """A stage's config as its kind reads it: its partitioner and executor are a part of that. What does not suit is noted."""
    found = step.config
    for field, value in (("partitioner", step.partitioner), ("executor", step.executor)):
        if value is None:
            continue
        suited = _choices(kind, field)
        if value not in suited:
            what = (
                f"a stage of kind {step.kind} can have {', '.join(suited)}" if suited else f"a stage of kind {step.kind} has none"
            )
            reader.fault(f"{pointer}/{field}", f"there is no {value[:64]} here: {what}")
        elif found.get(field, value) != value:
            reader.fault(f"{pointer}/{field}", f"is not the one of the config, {str(found[field])[:64]}")
        else:
            found = found | {field: value}
    return found


def _choices(kind: ModuleType, field: str) -> tuple[str, ...]:
    model = getattr(kind, "INPUT", None)
    if model is None:
        return ()
    from common.rules import blueprint  # noqa: PLC0415 - 40 ms of pydantic, which only this needs

    return blueprint.choices(model, field)


def check_scheduler(step: rules.Step, shards: int | None, has_parts: bool, pointer: str, reader: rules.Reader) -> None:  # noqa: FBT001
    """Note why the scheduler that a stage names cannot be called."""
    if step.scheduler is None:
        return
    if step.scheduler not in schedulers.SCHEDULERS:
        reader.fault(f"{pointer}/scheduler", f"there is no such scheduler; there are: {', '.join(schedulers.SCHEDULERS)}")
    elif step.waves or step.ranges:
        reader.fault(f"{pointer}/scheduler", "a stage that is cut by hand, or has waves, has no scheduler")
    elif shards is None and not has_parts:
        reader.fault(f"{pointer}/scheduler", "nobody knows the shards of this stage before it runs, so nothing can be dealt")
    elif step.config.get("partitioner") == ORDERED or step.partitioner == ORDERED:
        reader.fault(f"{pointer}/scheduler", f"{ORDERED} has an order of its own")


def dealt(tx: Transaction, plan: str, stage: plans.Openable, count: int) -> list[tuple[int, int]]:
    """The lanes of a stage as its scheduler cuts them; its parts are numbered in the order that they are dealt in."""
    name = stage.scheduler or ""
    pressure = lanes.held(tx) / settings.load().hxo_max_concurrency
    units = parts.units(tx, plan, stage.no)
    if len(units) != count:  # shards that are all alike
        return shard.lanes(count, schedulers.width(name, stage.concurrency, pressure))
    found = schedulers.SCHEDULERS[name](units, stage.concurrency, pressure)
    parts.renumber(tx, plan, stage.no, [number for lane in found for number in lane])
    return schedulers.ranges(found)
