"""Every number of every answer about the whole equals what the rows say, folded or not, and none comes in unchecked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.conftest import OWNER
from tests.functions.rich import everything
from tests.functions.test_auth import ask
from tests.functions.truths import TRUTHS, leaves, lies

COUNTERS = (
    "received",
    "waiting",
    "completed",
    "applied",
    "quarantined",
    "duplicate",
    "retried",
    "dead_letter",
    "latency_us",
    "latency_le_1",
)


def numbers(path: str) -> list[tuple[str, float]]:
    """Every number that a path answers."""
    reply = ask("GET", path, OWNER)
    assert reply.status == 200, reply.body
    return list(samples(reply.body.decode()) if path == "/metrics" else leaves(reply.json))


def samples(text: str) -> Iterator[tuple[str, float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            yield f"{sample.name}{{{labels}}}" if labels else sample.name, sample.value


def all_lies(sql: Any) -> dict[str, list[str]]:
    found = {path: lies(sql, iter(numbers(path)), truths) for path, truths in TRUTHS.items()}
    return {path: wrong for path, wrong in found.items() if wrong}


@pytest.mark.parametrize("folds", ["never", "halfway", "always"])
def test_every_number_equals_what_the_rows_say(folds, sql, turn_clock, configured, trial):
    everything(sql, turn_clock, configured, folds=folds)
    assert all_lies(sql) == {}


def test_the_state_is_rich_enough_to_tell_truth_from_chance(sql, turn_clock, configured, trial):
    everything(sql, turn_clock, configured, folds="always")
    shown = dict(numbers("/dashboard/metrics"))
    dull = {path for path, number in shown.items() if number == 0}
    assert dull <= {"queue.failed"}
    assert all(shown[f"total.{name}"] > shown[f"last_hour.{name}"] for name in ("received", "applied", "completed", "quarantined"))
    assert {"entities.items[product].lag_seconds", "schedules.items[daily_full_sync].missed"} <= dict(numbers("/api/status")).keys()


def test_a_counter_that_is_wrong_by_one_is_caught(sql, turn_clock, configured, trial):
    everything(sql, turn_clock, configured, folds="always")
    caught = set()
    for name in COUNTERS:
        sql(
            "insert into tidemark.deltas (name, amount) values (:name, :amount)",
            name=name,
            amount=1000 if name == "latency_us" else 1,
        )
        caught |= {name} if all_lies(sql) else set()
        sql("delete from tidemark.deltas")
    assert caught == set(COUNTERS)
    assert all_lies(sql) == {}


@pytest.mark.parametrize(
    "change",
    [
        "delete from tds_sync_queue where status = 'completed' and source_entity_id = 'old-1'",
        "update tds_sync_queue set status = 'retry', lock_expires_at = null where status = 'processing'",
        "delete from tidemark.duplicates where received_at = (select max(received_at) from tidemark.duplicates)",
        "delete from tds_sync_logs where operation_status = 'retry' and attempt_number = 1",
    ],
)
def test_a_row_that_changes_behind_the_counters_back_is_caught_unless_it_is_counted_itself(
    change, sql, turn_clock, configured, trial
):
    everything(sql, turn_clock, configured, folds="always")
    sql(change)
    assert bool(all_lies(sql)) is ("processing" not in change)  # what is leased now is looked up, not counted along


def test_a_number_that_nobody_has_a_truth_for_is_caught(sql):
    assert lies(sql, leaves({"queue": {"new": 3}}), TRUTHS["/health"]) == ["queue.new: nobody has said what it must be"]


def test_the_functions_of_the_contract_tell_the_same_as_the_answers(sql, turn_clock, configured, trial):
    everything(sql, turn_clock, configured, folds="halfway")
    stats = dict(sql("select status, events from tds_get_queue_stats()"))
    queue, received, duplicates, quarantined, alerts, dead = sql("select * from tds_get_health_summary()")[0]
    health, metrics = (dict(numbers(path)) for path in ("/api/tds/monitoring/health", "/dashboard/metrics"))
    assert queue == stats == {state: health[f"queue.{state}"] for state in stats}
    assert (received, duplicates, quarantined) == tuple(
        metrics[f"total.{name}"] for name in ("received", "duplicate", "quarantined")
    )
    assert (alerts, dead) == (health["metrics.active_alerts"], metrics["dead_letters"])
