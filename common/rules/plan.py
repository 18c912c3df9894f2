"""What a submitted plan must look like: read into steps, or every fault named with its place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

NAME_CHARACTERS = 128
MOST_STAGES = 64
DAY_MS = 86_400_000
TIMEBOX_MS = 600_000
STAGE_FIELDS = frozenset(
    {
        *("id", "kind", "config", "shards", "dependencies", "slo_ms", "timebox_ms"),
        *("partitioner", "executor", "scheduler", "concurrency", "waves", "ranges"),
    }
)
PLAN_FIELDS = frozenset({"name", "stages", "constraints", "priority"})
CONSTRAINTS = frozenset({"max_shards", "timebox_ms", "max_concurrency", "shard_timeout_ms", "retry_budget"})


@dataclass(frozen=True)
class Limits:
    """What a plan may ask for at most, and what it gets if it does not ask."""

    shards: int
    concurrency: int
    shard_timeout_ms: int
    slo_ms: int


@dataclass(frozen=True)
class Step:
    """A stage as it was asked for."""

    id: str
    kind: str
    config: dict[str, Any]
    needs: tuple[int, ...]
    slo_ms: int
    timebox_ms: int | None  # None: as long as the plan may take
    concurrency: int
    waves: tuple[int, ...] | None
    ranges: tuple[tuple[int, int], ...] | None
    partitioner: str | None = None
    executor: str | None = None
    scheduler: str | None = None


@dataclass(frozen=True)
class Asked:
    """A plan as it was asked for."""

    name: str
    priority: int
    steps: tuple[Step, ...]
    max_shards: int
    max_concurrency: int
    shard_timeout_ms: int
    timebox_ms: int
    retry_budget: int


class Reader:
    """Reads values out of JSON, and notes what is wrong with them."""

    def __init__(self) -> None:
        self.faults: list[dict[str, str]] = []

    def fault(self, pointer: str, message: str) -> None:
        """Note one."""
        self.faults.append({"pointer": pointer, "message": message})

    def whole(self, value: Any, pointer: str, lowest: int, highest: int, default: int) -> int:
        """A whole number between two others; absent, the default."""
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            self.fault(pointer, f"must be a whole number from {lowest:,} to {highest:,}")
            return default
        return value

    def text(self, value: Any, pointer: str, most: int = NAME_CHARACTERS) -> str:
        """A printable text that is not empty."""
        if not isinstance(value, str) or not 1 <= len(value) <= most or not value.isprintable():
            self.fault(pointer, f"must be text of 1 to {most} printable characters")
            return ""
        return value

    def unknown(self, given: Mapping[str, Any], known: frozenset[str], pointer: str) -> None:
        """Note every field that there is no such thing as."""
        for key in sorted(given.keys() - known):
            self.fault(f"{pointer}/{key[:64]}", "there is no such field")


def read(given: Mapping[str, Any], limits: Limits) -> Asked | list[dict[str, str]]:
    """A plan, or what is wrong with it: pointers and messages."""
    reader = Reader()
    reader.unknown(given, PLAN_FIELDS, "")
    constraints = given.get("constraints") or {}
    if not isinstance(constraints, dict):
        reader.fault("/constraints", "must be an object")
        constraints = {}
    reader.unknown(constraints, CONSTRAINTS, "/constraints")

    def bound(key: str, highest: int, default: int) -> int:
        return reader.whole(constraints.get(key), f"/constraints/{key}", 1, highest, default)

    asked = Asked(
        name=reader.text(given.get("name"), "/name"),
        priority=reader.whole(given.get("priority"), "/priority", 1, 10, 5),
        max_shards=bound("max_shards", limits.shards, limits.shards),
        max_concurrency=bound("max_concurrency", limits.concurrency, limits.concurrency),
        shard_timeout_ms=bound("shard_timeout_ms", DAY_MS, limits.shard_timeout_ms),
        timebox_ms=bound("timebox_ms", 7 * DAY_MS, TIMEBOX_MS),
        retry_budget=bound("retry_budget", 10_000_000, 100_000),
        steps=_steps(given.get("stages"), limits, reader),
    )
    return reader.faults or asked


def _steps(stages: Any, limits: Limits, reader: Reader) -> tuple[Step, ...]:
    if not isinstance(stages, list) or not 1 <= len(stages) <= MOST_STAGES:
        reader.fault("/stages", f"must be a list of 1 to {MOST_STAGES} stages")
        return ()
    ids: dict[str, int] = {}
    for no, stage in enumerate(stages):
        identifier = stage.get("id") if isinstance(stage, dict) else None
        if isinstance(identifier, str) and identifier in ids:
            reader.fault(f"/stages/{no}/id", f"stage {ids[identifier]} has this id, too")
        elif isinstance(identifier, str):
            ids[identifier] = no
    steps = tuple(
        _step(stage, f"/stages/{no}", ids, limits, reader) for no, stage in enumerate(stages) if _is_object(stage, no, reader)
    )
    if not reader.faults and (circle := cycle([step.needs for step in steps])):
        names = " -> ".join(steps[no].id for no in circle)
        reader.fault(f"/stages/{circle[0]}/dependencies", f"these stages wait for each other: {names}")
    return steps


def _is_object(stage: Any, no: int, reader: Reader) -> bool:
    if isinstance(stage, dict):
        return True
    reader.fault(f"/stages/{no}", "must be an object")
    return False


def _step(stage: dict[str, Any], pointer: str, ids: Mapping[str, int], limits: Limits, reader: Reader) -> Step:
    reader.unknown(stage, STAGE_FIELDS, pointer)
    config = stage.get("config") or {}
    if not isinstance(config, dict):
        reader.fault(f"{pointer}/config", "must be an object")
        config = {}
    needs = stage.get("dependencies") or []
    if not isinstance(needs, list):
        reader.fault(f"{pointer}/dependencies", "must be a list of ids of stages")
        needs = []
    for position, need in enumerate(needs):
        if not isinstance(need, str) or need not in ids:
            reader.fault(f"{pointer}/dependencies/{position}", "there is no stage of this id")
    ranges = _ranges(stage.get("ranges"), f"{pointer}/ranges", limits.concurrency, reader)
    return Step(
        id=reader.text(stage.get("id"), f"{pointer}/id", 64),
        kind=reader.text(stage.get("kind"), f"{pointer}/kind", 64),
        config=config,
        needs=tuple(sorted({ids[need] for need in needs if isinstance(need, str) and need in ids})),
        slo_ms=reader.whole(stage.get("slo_ms"), f"{pointer}/slo_ms", 1, 7 * DAY_MS, limits.slo_ms),
        timebox_ms=reader.whole(stage.get("timebox_ms"), f"{pointer}/timebox_ms", 1, 7 * DAY_MS, 0) or None,
        concurrency=reader.whole(stage.get("concurrency"), f"{pointer}/concurrency", 1, limits.concurrency, limits.concurrency),
        waves=_waves(stage.get("waves"), f"{pointer}/waves", reader),
        ranges=ranges,
        **{
            field: None if stage.get(field) is None else reader.text(stage[field], f"{pointer}/{field}", 64)
            for field in ("partitioner", "executor", "scheduler")
        },
    )


def _waves(waves: Any, pointer: str, reader: Reader) -> tuple[int, ...] | None:
    """Percentages, each above 0, that sum to 100."""
    if waves is None:
        return None
    if not isinstance(waves, list) or not waves or len(waves) > 100:  # noqa: PLR2004 - each has one percent at least
        reader.fault(pointer, "must be a list of percentages")
        return None
    for position, part in enumerate(waves):
        if (
            isinstance(part, bool)
            or not isinstance(part, int | Decimal | float)
            or not math.isfinite(part)
            or part != int(part)
            or part < 1
        ):
            reader.fault(f"{pointer}/{position}", "must be a whole percentage from 1 to 100")
            return None
    if sum(waves) != 100:  # noqa: PLR2004
        reader.fault(pointer, f"must sum to 100, not {sum(waves)}")
        return None
    return tuple(int(part) for part in waves)


def _ranges(ranges: Any, pointer: str, most: int, reader: Reader) -> tuple[tuple[int, int], ...] | None:
    """[[lo, hi], ...] in order, from 0, without gap or overlap; the first offender is named."""
    if ranges is None:
        return None
    if not isinstance(ranges, list) or not 1 <= len(ranges) <= most:
        reader.fault(pointer, f"must be a list of 1 to {most} ranges")
        return None
    end = 0
    for position, pair in enumerate(ranges):
        is_pair = isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, int) and not isinstance(x, bool) for x in pair)  # noqa: PLR2004
        if not is_pair:
            fault = "must be a pair of whole numbers [from, to)"
        elif pair[0] >= pair[1]:
            fault = f"is reversed or empty: {pair[0]} to {pair[1]}"
        elif pair[0] < end:
            fault = f"overlaps the one before it, which ends at {end}"
        elif pair[0] > end:
            fault = f"leaves a gap: the shards from {end} to {pair[0]} are in no range"
        else:
            end = pair[1]
            continue
        reader.fault(f"{pointer}/{position}", fault)
        return None
    return tuple((lo, hi) for lo, hi in ranges)


def cycle(needs: Sequence[Sequence[int]]) -> list[int]:
    """Stages that wait for each other in a circle, the first one again at its end; empty when there is none."""
    done: set[int] = set()
    for start in range(len(needs)):
        path: list[int] = []
        if found := _visit(start, needs, path, done):
            return found
    return []


def _visit(no: int, needs: Sequence[Sequence[int]], path: list[int], done: set[int]) -> list[int]:
    if no in path:
        return [*path[path.index(no) :], no]
    if no in done:
        return []
    path.append(no)
    for need in needs[no]:
        if found := _visit(need, needs, path, done):
            return found
    path.pop()
    done.add(no)
    return []
