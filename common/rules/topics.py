"""The topics of the bus, each with the fields that its notices have at least. There are no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.errors import Broken

TOPICS: Mapping[str, frozenset[str]] = {
    topic: frozenset(fields.split())
    for topic, fields in {
        "deploy.events": "deployment_id stage status",
        "deploy.outcome.success": "deployment_id plan_id targets",
        "deploy.outcome.failure": "deployment_id plan_id reason",
        "hxo.plan": "plan_id plan_name stages submitted_by",
        "hxo.shard.failed": "plan_id stage_id count shards",
        "hxo.aggregate.ready": "plan_id merkle_root total_shards",
        "hxo.aggregate.certify": "plan_id certificate",
        "hxo.aggregate.finalized": "plan_id merkle_root",
        "hxo.aggregate.failed": "plan_id reason",
        "hxo.autotune.signal": "plan_id stage_id signal_type metric_value suggested_action",
        "hxo.alert": "type message",
        "hxo.heal.trigger": "plan_id stage_id action",
        "hxo.heal.complete": "plan_id stage_id action",
        "hxo.audit": "action actor",
        "hxo.status.summary": "status counts",
        "tds.sync.completed": "run_id entity_type status",
        "tds.alert": "alert_type severity title",
    }.items()
}


def check(topic: str, payload: Mapping[str, Any]) -> None:
    """Raises: Broken, for a topic that there is not, or a payload without what its topic promises."""
    if topic not in TOPICS:
        message = f"There is no topic {topic}."
        raise Broken(message)
    missing = TOPICS[topic] - payload.keys()
    if missing:
        message = f"A notice on {topic} lacks {', '.join(sorted(missing))}."
        raise Broken(message)
