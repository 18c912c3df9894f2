"""/api/tds/monitoring/health, /metrics: the one word for the whole system, and what a scraper reads."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from common.rules.http import Request
from tests.conftest import OWNER
from tests.functions.shells import wsgi
from tests.functions.test_auth import ask
from tests.make import an_item, send


def health() -> dict[str, Any]:
    reply = ask("GET", "/api/tds/monitoring/health", OWNER)
    assert reply.status == 200
    return reply.json


def dead(sql: Any, number: int) -> None:
    """Events that are dead letters."""
    sql(
        "with q as (insert into tds_sync_queue (entity_type, source_entity_id, operation_type, status)"
        f" select 'product', n::text, 'upsert', 'dead_letter' from generate_series(1, {number}) n returning id)"
        " insert into tds_dead_letter_queue (sync_queue_id, entity_type, source_entity_id, failure_reason, total_attempts, last_payload)"
        " select id, 'product', '1', 'x', 1, '{}' from q"
    )


def waiting(sql: Any, number: int) -> None:
    """Events that wait for a retry."""
    sql(
        "insert into tds_sync_queue (entity_type, source_entity_id, operation_type, status, next_retry_at)"
        f" select 'product', n::text, 'upsert', 'retry', app_now() + interval '1 hour' from generate_series(1, {number}) n"
    )


@pytest.mark.parametrize(
    ("letters", "retries", "ended", "word"),
    [
        (0, 0, (), "healthy"),
        (100, 1000, (), "healthy"),
        (101, 0, (), "critical"),
        (0, 1001, (), "warning"),
        (0, 6000, (), "warning"),
        (101, 1001, (), "critical"),
        (0, 0, ("completed", 94, "dead_letter", 6), "degraded"),
        (0, 0, ("completed", 95, "dead_letter", 5), "healthy"),
    ],
)
def test_the_status_follows_the_origins_formula(letters, retries, ended, word, sql):
    dead(sql, letters)
    waiting(sql, retries)
    for name, amount in zip(ended[::2], ended[1::2], strict=True):
        sql("insert into tidemark.deltas (name, amount) values (:name, :amount)", name=name, amount=amount)
    found = health()
    assert (found["status"], found["queue"]["dead_letter"], found["queue"]["pending"]) == (word, letters, retries)
    assert found["thresholds"] == {"queue_warning": 1000, "queue_critical": 5000, "dlq_warning": 50, "dlq_critical": 100}


def test_an_operators_thresholds_count(sql):
    dead(sql, 3)
    sql("update tidemark.settings set value = '2' where key = 'alerts.dlq_critical'")
    sql("update tds_configuration set config_value = '\"7\"' where config_key = 'queue_backlog_threshold'")
    found = health()
    assert (found["status"], found["thresholds"]["dlq_critical"], found["thresholds"]["queue_warning"]) == ("critical", 2, 7)


def test_without_a_database_every_number_is_null_and_the_status_is_error(configured):
    shape = {name: part.keys() for name, part in health().items() if isinstance(part, dict)}
    configured(DATABASE_URL="postgresql://nobody@127.0.0.1:9/nothing")
    reply = ask("GET", "/api/tds/monitoring/health", OWNER)
    assert (reply.status, reply.json["status"]) == (503, "error")
    assert int(reply.headers["retry-after"]) > 0
    assert {name: part.keys() for name, part in reply.json.items() if isinstance(part, dict)} == shape
    assert {number for part in shape for number in reply.json[part].values()} == {None}


def test_what_is_scraped_is_open_metrics_to_its_last_line(sql):
    send("products", an_item())
    reply = ask("GET", "/metrics", OWNER)
    assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert reply.body.endswith(b"# EOF\n")
    families = {family.name: family for family in text_string_to_metric_families(reply.body.decode())}
    assert all(family.documentation for family in families.values())
    assert families["tidemark_events_received"].samples[0].value == 1
    assert families["tidemark_build"].samples[0].labels.keys() == {"version", "schema"}
    head = wsgi(Request("HEAD", "/metrics", "", (("authorization", f"Bearer {OWNER}"),)), "status")
    assert (head.status, head.body) == (200, b"")


def test_an_event_that_was_counted_under_a_new_name_is_an_action(sql):
    sql("insert into tidemark.deltas (name, amount) values ('invented', 2), ('waiting', 1), ('latency_us', 5)")
    families = {family.name: family for family in text_string_to_metric_families(ask("GET", "/metrics", OWNER).body.decode())}
    assert {sample.labels["action"]: sample.value for sample in families["tidemark_actions"].samples} == {"invented": 2.0}
