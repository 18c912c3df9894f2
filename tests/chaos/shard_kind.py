"""A shard kind that counts what it does in rows without a key: config {shards, fail: [shards that never go well],
slow_ms: of each, slow_from: the first of the slow ones}.
"""

from __future__ import annotations

import random
import time
from typing import Any

from common import encoding
from common.rules import merkle
from common.rules.shard import Context, Failure, Ran

KIND = "chaos"
FLAKY = 0.01


def plan(config: dict[str, Any]) -> int:
    return int(config.get("shards", 1))


def run(shards: range, context: Context) -> Ran:
    config = context.stage.config
    time.sleep(config.get("slow_ms", 0) / 1000 * sum(shard >= config.get("slow_from", 0) for shard in shards))
    failures = {
        shard: Failure("chaos", "as it was told to")
        for shard in shards
        if shard in config.get("fail", []) or random.random() < FLAKY
    }
    done = [shard for shard in shards if shard not in failures]

    def effect(tx: Any) -> None:
        tx.statement(
            "insert into recorder.shards (plan, stage, shard)"
            " select cast(:plan as uuid), :stage, cast(jsonb_array_elements_text(cast(:shards as jsonb)) as bigint)",
            {"plan": context.stage.plan, "stage": context.stage.no, "shards": encoding.rows(done)},
        )

    return Ran([merkle.leaf(context.hash, b"chaos %d" % shard) for shard in shards], failures, effect)
