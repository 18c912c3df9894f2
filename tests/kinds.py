"""A shard kind for the engine's tests: what it does to whom is written in its config, and its effect is rows that can be counted.

Config: {"shards": n, "open_ended": pages, "fail": {"3": 2}, "refuse": [5], "trouble": {"4": 1}, "slow": seconds}
`fail`: how often a shard fails before it goes well; `refuse`: fails for good; `trouble`: how often the source is in trouble.
"""

from __future__ import annotations

import sys
import types
from collections import Counter
from collections.abc import Sequence
from typing import Any

from common.errors import Invalid, Unavailable
from common.flows import plans
from common.rules import merkle
from common.rules.http import Request
from common.rules.shard import Context, Failure, Ran

KIND = "trial"
TABLE = """
    create table public.trials (plan uuid, stage integer, shard bigint, taken_back boolean not null default false);
    grant select, insert, update on public.trials to tidemark_worker;
    create table public.endings (stage text, ok boolean);
    grant insert on public.endings to tidemark_worker;
"""
runs: Counter[tuple[str, int]] = Counter()
hooks: dict[int, Any] = {}


def plan(config: dict[str, Any]) -> int | None:
    return None if "open_ended" in config or "late" in config else config.get("shards", 1)


def open(tx, stage) -> int | None:  # noqa: A001
    return stage.config.get("late", stage.shards)


def ended(tx, stage, *, ok: bool) -> None:
    tx.statement("insert into public.endings values (:stage, :ok)", {"stage": stage.id, "ok": ok})


def run(shards: range, context: Context) -> Ran:
    config = context.stage.config
    failures = {}
    for shard in shards:
        runs[context.stage.id, shard] += 1
        if shard in hooks:
            hooks[shard](context)
        if runs[context.stage.id, shard] <= config.get("trouble", {}).get(str(shard), 0):
            raise Unavailable(retry_after_seconds=30)
        if runs[context.stage.id, shard] <= config.get("fail", {}).get(str(shard), 0):
            failures[shard] = Failure("trial", "as it was told to")
        if shard in config.get("refuse", []):
            raise Invalid
    done = [shard for shard in shards if shard not in failures]

    def effect(tx: Any) -> None:
        for shard in done:
            tx.statement(
                "insert into public.trials values (:plan, :stage, :shard)",
                {"plan": context.stage.plan, "stage": context.stage.no, "shard": shard},
            )

    more = shards.stop < config["open_ended"] if "open_ended" in config else None
    return Ran([merkle.leaf(context.hash, b"trial %d" % shard) for shard in shards], failures, effect, more)


def undo(shards: range, context: Context) -> Ran:
    def effect(tx: Any) -> None:
        tx.statement(
            "update public.trials set taken_back = true where shard >= :lo and shard < :hi", {"lo": shards.start, "hi": shards.stop}
        )

    return Ran([merkle.leaf(context.hash, b"undo %d" % shard) for shard in shards], effect=effect)


def a_stage(
    identifier: str = "one", kind: str = KIND, needs: Sequence[str] = (), concurrency: int = 4, **config: Any
) -> dict[str, Any]:
    """A stage of a plan, of this kind unless another is named."""
    return {"id": identifier, "kind": kind, "dependencies": list(needs), "concurrency": concurrency, "config": config}


def submit(*stages: dict[str, Any], **rest: Any) -> str:
    """Submit a plan; its id."""
    return plans.submit(Request("POST", "/"), {"name": "a plan", "stages": list(stages), **rest})[1]["plan_id"]


def module() -> types.ModuleType:
    return sys.modules[__name__]
