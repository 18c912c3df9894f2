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
KINDS = frozenset({"intent", "heal", "fact", "audit", "metric", "control"})
SCHEMA = "genesis.event.v1"
EVERY = "*"
MOST_CHARACTERS = 65_536  # of a payload: who needs more tells where it is to be read
DEEPEST = 10  # notices that may lead to one another: more is a circle


def check(topic: str, payload: Mapping[str, Any], *, characters: int = 0) -> None:
    """Raises: Broken, for a topic that there is not, or a payload without what its topic promises, or too large a one."""
    if topic not in TOPICS:
        message = f"There is no topic {topic}."
        raise Broken(message)
    missing = TOPICS[topic] - payload.keys()
    if missing:
        message = f"A notice on {topic} lacks {', '.join(sorted(missing))}."
        raise Broken(message)
    if characters > MOST_CHARACTERS:
        message = f"A notice on {topic} has {characters:,} characters, and may have {MOST_CHARACTERS:,}."
        raise Broken(message)


def matching(pattern: str) -> list[str]:
    """The topics that a pattern stands for: a name, the beginning of names with `.*` behind it, or `*` for all; may be none."""
    if pattern == EVERY:
        return sorted(TOPICS)
    beginning = pattern.removesuffix("*") if pattern.endswith(".*") else None
    return sorted(topic for topic in TOPICS if topic == pattern or (beginning is not None and topic.startswith(beginning)))
