"""The checker speaks: each invariant is broken on purpose in a small database, and must be named."""

from __future__ import annotations

import os
import uuid

import pytest

from common import db
from common.flows import plans, process, work
from common.rules.http import Request
from tests.chaos import invariants, recorder
from tests.chaos.invariants import Promised
from tests.conftest import VARIABLES, _execute, forget
from tests.make import an_invoice, an_item, send


def address(name):
    return os.environ["TIDEMARK_TEST_CLUSTER"].replace("%40", name).replace("@/@", f"@/{name}")


@pytest.fixture(scope="module")
def well():
    """A database with a few events, all applied, of which everything is true; and their ids."""
    name = f"well_{uuid.uuid4().hex[:12]}"
    _execute(address("postgres"), f"create database {name} template template_tidemark")
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in (VARIABLES | {"DATABASE_URL": address(name)}).items():
            patch.setenv(variable, value)
        forget()
        recorder.install(address(name))
        answers = [
            send("products", an_item("own-1", "2026-06-09T10:00:00Z", name="first")),
            send("products", an_item("own-1", "2026-06-10T10:00:00Z", name="second")),
            send("invoices", an_invoice("own-2", lines=3)),
        ]
        process.process()
        answers.append(send("products", an_item("own-1", "2026-06-11T10:00:00Z", name="third")))
        process.process()
        plans.submit(Request("POST", "/"), {"name": "one", "stages": [{"id": "one", "kind": "noop", "config": {"shards": 8}}]})
        while work.work().chunks:
            pass
        db.pool().discard()
    forget()
    yield name, {answer["event_id"] for answer in answers}
    _execute(address("postgres"), f"drop database {name} with (force)")


@pytest.fixture
def world(well):
    """A copy of it, and what was promised."""
    name, ids = f"planted_{uuid.uuid4().hex[:12]}", set(well[1])
    _execute(address("postgres"), f"create database {name} template {well[0]}")
    yield address(name), Promised(acknowledged=set(ids), sent=set(ids), connections=0)
    _execute(address("postgres"), f"drop database {name} with (force)")


def spoken(url, promised):
    return {name for name, found in invariants.violations(url, promised).items() if found}


def test_of_a_database_in_which_all_is_well_the_checker_has_nothing_to_say(world):
    url, promised = world
    assert {name: found for name, found in invariants.violations(url, promised).items() if found} == {}
    assert invariants.early(url) == []


PLANTED = {
    "an event that is stored twice": (
        "I1 lost",
        """
        alter table tds_inbox_events drop constraint tds_inbox_events_pkey, drop constraint tds_inbox_events_key_is_unique;
        insert into tds_inbox_events select * from tds_inbox_events limit 1
        """,
    ),
    "an effect that happened twice": ("I2 once", "insert into recorder.effects select * from recorder.effects limit 1"),
    "an effect of an event that is not completed": (
        "I2 once",
        "update tds_sync_queue set status = 'pending', completed_at = null where source_entity_id = 'own-2'",
    ),
    "an older version that stands": (
        "I4 newest",
        "update erp.products set source_modified_at = source_modified_at - interval '1 d'",
    ),
    "another content of the same moment": ("I4 newest", "update erp.products set detail_hash = 'another'"),
    "an older version that was written over a newer one": (
        "I4 newest",
        """
        insert into recorder.effects (event_id, entity_type, source_id)
        select id, 'product', 'own-1' from tds_inbox_events where source_entity_id = 'own-1' order by source_modified_at limit 1
        """,
    ),
    "a line of another version": ("I4 newest", "delete from erp.invoice_lines where line_no = 1"),
    "a fire that was begun twice": (
        "I5 fires",
        "insert into recorder.starts (schedule, slot) select 'own-1', '2026-06-09T10:00Z' from generate_series(1, 2)",
    ),
    "a fire that is never over": (
        "I5 fires",
        "insert into tidemark.fires (schedule, slot, state, ready_at) values ('own-1', '2026-06-09T10:00Z', 'due', now())",
    ),
    "a minute without a fire": (
        "I5 fires",
        """
        insert into tidemark.schedules (name, cron, function, catch_up, created_by, updated_by)
        values ('own-1', '* * * * *', 'process', 'all', 'test', 'test');
        insert into tidemark.fires (schedule, slot, state, finished_at)
        select 'own-1', slot, 'skipped', now() from unnest('{2026-06-09T10:00Z,2026-06-09T10:02Z}'::timestamptz[]) slot
        """,
    ),
    "a token that goes back": ("I6 mutex", "insert into recorder.grants (resource, token) values ('lane 1', 7), ('lane 1', 6)"),
    "a token given twice": ("I6 mutex", "insert into recorder.grants (resource, token) values ('lane 1', 7), ('lane 1', 7)"),
    "a chunk that nobody reported": ("I7 plans", "delete from tidemark.leaves where hi = 8"),
    "a run that is over and says that it is not": (
        "I7 plans",
        "insert into tds_sync_runs (run_type, status, completed_at) values ('manual', 'processing', now())",
    ),
    "a plan that is not over": ("I7 plans", "update tidemark.plans set status = 'running', finished_at = null"),
    "a shard that was done twice": (
        "I7 plans",
        "insert into recorder.shards (plan, stage, shard) select id, 0, 1 from tidemark.plans, generate_series(1, 2)",
    ),
    "a shard that was never done": ("I7 plans", "update tidemark.stages set kind = 'chaos'"),
    "a shard that was done after its plan was cancelled": (
        "I7 plans",
        """
        update tidemark.plans set status = 'cancelled', finished_at = now() - interval '10 s';
        insert into recorder.shards (plan, stage, shard) select id, 0, 1 from tidemark.plans
        """,
    ),
    "a healthy event that is a dead letter": (
        "I8 dead letters",
        """
        update tds_sync_queue set status = 'dead_letter', completed_at = null where source_entity_id = 'own-2';
        insert into tds_dead_letter_queue (sync_queue_id, entity_type, source_entity_id, failure_reason, error_code, total_attempts,
               last_error_message, last_payload)
        select id, entity_type, source_entity_id, 'x', 'x', 1, 'x', '{}' from tds_sync_queue where source_entity_id = 'own-2'
        """,
    ),
    "attempts beyond their end": ("I8 dead letters", "update tds_sync_queue set attempt_count = max_retry_attempts + 1"),
    "attempts that went back": (
        "I8 dead letters",
        "update tds_sync_queue set attempt_count = 2; update tds_sync_queue set attempt_count = 1",
    ),
    "an event that failed for its neighbour": (
        "I8 dead letters",
        """
        insert into tds_sync_logs (sync_queue_id, entity_type, source_entity_id, operation_type, operation_status, attempt_number, error_code)
        select id, entity_type, source_entity_id, operation_type, 'retry', 1, 'ValueError' from tds_sync_queue limit 1
        """,
    ),
    "a receipt that is left": (
        "I9 leases",
        "insert into tidemark.receipts (token, ids, leased_until, locked_by) values (1, '{}', now(), 'x')",
    ),
    "a lease that is left": (
        "I9 leases",
        "update tds_sync_queue set status = 'processing', completed_at = null, token = 1, locked_by = 'x', lock_expires_at = now()",
    ),
    "a counter that drifts": ("I11 counters", "insert into tidemark.deltas (name, amount) values ('applied', 1)"),
    "an alert that flaps": (
        "I12 alerts",
        """
        insert into tds_alerts (alert_type, severity, title, message, resolved, is_active, resolved_at)
        select 'x', 'warning', 'x', 'x', true, false, now() from generate_series(1, 6)
        """,
    ),
    "two open alerts of one condition": (
        "I12 alerts",
        """
        drop index tds_alerts_is_open_once;
        insert into tds_alerts (alert_type, severity, title, message) select 'x', 'warning', 'x', 'x' from generate_series(1, 2)
        """,
    ),
    "an audit trail that can be changed": (
        "I13 audit",
        "alter table tds_audit_trail disable trigger tds_audit_trail_is_append_only",
    ),
    "an audit row that lies": (
        "I13 audit",
        """
        alter table tds_audit_trail disable trigger tds_audit_trail_is_append_only;
        update tds_audit_trail set old_value = jsonb_set(old_value, '{name}', '"never"') where operation = 'update';
        alter table tds_audit_trail enable trigger tds_audit_trail_is_append_only
        """,
    ),
    "an event in no state": ("I14 conservation", "delete from tds_sync_queue where source_entity_id = 'own-2'"),
    "an event in two states": (
        "I14 conservation",
        "insert into tidemark.ready_events (id, rank) select id, now() from tds_inbox_events limit 1",
    ),
    "a healthy event in quarantine": (
        "I14 conservation",
        """
        update tds_inbox_events set is_valid = false, moved_to_queue = false, validation_errors = '[]' where source_entity_id = 'own-2';
        delete from tds_sync_queue where source_entity_id = 'own-2'
        """,
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_it_names_what_was_planted(world, what):
    invariant, statement = PLANTED[what]
    url, promised = world
    _execute(url, statement)
    assert invariant in spoken(url, promised)


@pytest.mark.parametrize(
    ("invariant", "spoil"),
    [
        ("I1 lost", lambda promised: promised.acknowledged.add("00000000-0000-8000-b000-000000000000")),
        ("I1 lost", lambda promised: promised.sent.pop()),
        ("I8 dead letters", lambda promised: promised.poison.add(min(promised.sent))),
        ("I10 cursor", lambda promised: promised.differs.append("a record is missing")),
        ("I14 conservation", lambda promised: promised.quarantined.add(min(promised.sent))),
        ("I15 liveness", lambda promised: promised.undrained.append("an event waits")),
        ("I16 leaks", lambda promised: setattr(promised, "connections", -1)),
        ("I16 leaks", lambda promised: setattr(promised, "memory", {"one": [(n, 100 + n) for n in range(60)]})),
        ("I16 leaks", lambda promised: setattr(promised, "memory", {"one": [(0, 500)]})),
        ("I19 answers", lambda promised: promised.odd.append("500")),
    ],
)
def test_it_names_what_was_promised_and_not_kept(world, invariant, spoil):
    url, promised = world
    spoil(promised)
    assert spoken(url, promised) == {invariant}


def test_memory_that_has_settled_is_no_leak(world):
    url, promised = world
    promised.memory = {"one": [(n, min(100 + n, 120)) for n in range(90)]}
    assert spoken(url, promised) == set()


@pytest.mark.parametrize(
    "statement", ["update tds_sync_queue set attempt_count = 99", "insert into recorder.set_back values (null, 2, 1)"]
)
def test_some_of_it_is_seen_while_everything_runs(world, statement):
    url, _ = world
    _execute(url, statement)
    assert invariants.early(url)
