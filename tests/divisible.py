"""A shard kind whose shards can be split: each is so many units, and its effect is a row for each.

Config: {"shards": n, "units": of each, "poison": [[shard, unit]] fails whatever is tried, "slow": [[shard, unit]] with
"slow_ms" takes so long}. A piece is [first unit, one past the last].
"""

from __future__ import annotations

import sys
import time
import types
from collections import Counter
from typing import Any

import pytest

from common import lookup, shards
from common.errors import Invalid
from common.rules import merkle
from common.rules.shard import Context, Ran
from tests.kinds import a_stage

KIND = "divisible"
TABLE = """
    create table public.units (plan uuid, shard bigint, unit bigint);
    grant select, insert on public.units to tidemark_worker;
"""
runs: Counter[tuple[int, int, int]] = Counter()  # by shard and units


def plan(config: dict[str, Any]) -> int:
    return int(config["shards"])


def _units(context: Context) -> range:
    return range(*(context.piece or [0, context.stage.config["units"]]))


def split(_: int, context: Context) -> list[list[int]] | None:
    units = _units(context)
    if len(units) < 2:
        return None
    size = -(-len(units) // context.factor)
    return [[lo, min(lo + size, units.stop)] for lo in range(units.start, units.stop, size)]


def run(spans: range, context: Context) -> Ran:
    config, units = context.stage.config, _units(context)
    for shard in spans:
        runs[shard, units.start, units.stop] += 1
        if any(place == shard and unit in units for place, unit in config.get("poison", [])):
            raise Invalid
        if any(place == shard and unit in units for place, unit in config.get("slow", [])):
            time.sleep(config["slow_ms"] / 1000)

    def effect(tx: Any) -> None:
        for shard in spans:
            for unit in units:
                tx.statement(
                    "insert into public.units values (:plan, :shard, :unit)",
                    {"plan": context.stage.plan, "shard": shard, "unit": unit},
                )

    return Ran([merkle.leaf(context.hash, b"%d: %d to %d" % (shard, units.start, units.stop)) for shard in spans], effect=effect)


def a_divisible(**config: Any) -> dict[str, Any]:
    """A stage of this kind."""
    return a_stage(kind=KIND, concurrency=2, **config)


def known(sql: Any, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Let the engine know the kind for the length of a test."""
    sql(TABLE)
    runs.clear()
    here, former = sys.modules[__name__], lookup.find
    monkeypatch.setattr(shards.lookup, "find", lambda package, name: here if name == KIND else former(package, name))
    return here
