"""TERC: a bounded, deduplicated log that can be replayed: the 10,001st evicts the oldest; replayed twice, a consumer stands the same."""

from __future__ import annotations

from common import db
from tests.flows.test_bus import numbers, read, tell, told
from tests.horizon import trimmed


def replayed() -> dict[str, int]:
    """What a consumer knows that takes every notice once by its id: how often each topic was told."""
    known: dict[str, str] = {}
    cursor = "0.0"
    while (page := read(after=cursor, limit=3))["count"]:
        known |= {event["id"]: event["topic"] for event in page["events"]}
        cursor = page["next"]
    return {topic: list(known.values()).count(topic) for topic in sorted(set(known.values()))}


def test_the_10_001st_evicts_the_oldest_and_nothing_else(sql):
    sql(
        "insert into tidemark.notices (topic, source, kind, payload)"
        " select 'hxo.audit', 'tests', 'fact', jsonb_build_object('number', n) from generate_series(1, 10000) n"
    )
    trimmed()
    assert numbers(read(limit=1)) == [1]
    tell(payload={"number": 10_001})
    trimmed()
    assert numbers(read(limit=1)) == [2]
    assert sql("select count(*), max((payload->>'number')::int) from tidemark.notices") == [[10_000, 10_001]]


def test_replaying_twice_leaves_a_consumer_in_the_same_state(sql):
    for topic in ("hxo.plan", "tds.alert", "hxo.plan", "hxo.audit", "hxo.plan", "tds.alert", "hxo.audit"):
        tell(topic)
    assert replayed() == replayed() == {"hxo.audit": 2, "hxo.plan": 3, "tds.alert": 2}


def test_a_key_is_told_once_however_often_it_is_tried(sql):
    for _ in range(5):
        with db.transaction("worker") as tx:
            told(tx, dedupe_key="the same")
    assert read()["count"] == 1
