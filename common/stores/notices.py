"""Notices: what the bus tells, each written in the transaction that it tells of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common import encoding
from common.db import Transaction
from common.rules import topics


def add(
    tx: Transaction,
    topic: str,
    payload: Mapping[str, Any],
    *,
    source: str,
    kind: str = "fact",
    dedupe_key: str | None = None,
    correlation_id: str | None = None,
    causation_id: str | None = None,
) -> bool:
    """Tell of what this transaction does; False when a notice of this `dedupe_key` was told before.

    `kind` is intent, heal, fact, audit, metric or control; `correlation_id` the plan, run or deployment that it belongs to.
    Raises: Broken, for a topic that there is not, or a payload without the fields that its topic promises.
    """
    topics.check(topic, payload)
    return bool(
        tx.run(
            "notices.add",
            topic=topic,
            payload=encoding.dumps(payload),
            source=source,
            kind=kind,
            dedupe_key=dedupe_key,
            correlation_id=correlation_id,
            causation_id=causation_id,
        )
    )
