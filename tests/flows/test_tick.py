"""Tick: what nobody else was there to do."""

from datetime import UTC, datetime, timedelta

from common.flows import process, tick
from tests.make import an_item, send


def test_counters_are_folded_and_stay_what_they_were(sql):
    send("products", an_item())
    process.process()
    before = sql("select tidemark.total('completed'), tidemark.total('waiting')")
    assert tick.tick().folded > 0
    assert sql("select count(*) from tidemark.deltas") == [[0]]
    assert sql("select tidemark.total('completed'), tidemark.total('waiting')") == before == [[1, 0]]


def test_a_time_of_change_in_the_future_opens_one_alert(sql):
    soon = (datetime.now(UTC) + timedelta(days=3)).isoformat(timespec="seconds")
    for item, at in {"1": soon, "2": "2999-01-01T00:00:00Z"}.items():
        send("products", an_item(item, at=at))
    process.process()
    tick.tick()
    tick.tick()
    assert sql("select alert_type, entity_type::text, affected_count from tds_alerts") == [["source_time_in_future", "product", 2]]
