"""Newest wins: whatever order versions come in, however often and in whatever groups, the same ones stand at the end.

The model beside it is independent: it looks at all events at once, and knows nothing of batches, locks or statements.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import encoding
from common.flows import process
from tests.make import an_invoice, an_item, send

NOON = datetime(2026, 6, 9, 12, tzinfo=UTC)
LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)
COLUMNS = {"products": "name, sku", "invoices": "invoice_number, reference_number", "users": "name, email"}
LABELS = {"products": "product", "invoices": "invoice", "users": "user"}
WORDS = "ab"
_numbers = itertools.count(1)

# Versions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """One version of a record, as it is delivered."""

    path: str
    record: str
    second: int | None  # None: without a stamp
    kind: str  # full, partial or delete
    words: tuple[str, str]

    def body(self, prefix: str) -> dict[str, Any]:
        stamp = (NOON + timedelta(seconds=self.second)).isoformat() if self.second is not None else None
        key = {"products": "item", "invoices": "invoice", "users": "user"}[self.path]
        first, second = COLUMNS[self.path].split(", ")
        record: dict[str, Any] = {f"{key}_id": prefix + self.record, first: self.words[0]}
        if self.kind != "partial":
            record[second] = self.words[1]
            if self.path == "invoices":
                size = WORDS.index(self.words[0]) + 1
                record["line_items"] = [{"line_item_id": f"{self.record}-{n}", "name": "/".join(self.words)} for n in range(size)]
        if stamp:
            record["last_modified_time"] = stamp
        return {key: record} | ({"event_type": f"{key}.deleted"} if self.kind == "delete" else {})


def versions():
    words = st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS))
    records, seconds = st.sampled_from("12"), st.integers(0, 3)
    stamped = st.builds(
        Sent,
        st.sampled_from(["products", "invoices"]),
        records,
        seconds,
        st.sampled_from(["full", "full", "full", "delete"]),
        words,
    )
    hints = st.builds(Sent, st.sampled_from(["products", "invoices"]), records, st.none(), st.just("partial"), words)
    versionless = st.builds(Sent, st.just("users"), records, st.none(), st.sampled_from(["full", "full", "delete"]), words)
    return st.one_of(stamped, stamped, stamped, hints, versionless)


@st.composite
def deliveries(draw):
    """Versions, some of them more than once, cut into requests; whether to process between; the order of application."""
    once = draw(st.lists(versions(), min_size=1, max_size=10))
    again = draw(st.lists(st.sampled_from(once), max_size=4))
    order = draw(st.permutations(once + again))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=3)) | {len(order)})
    requests = [order[start:end] for start, end in zip([0, *cuts], cuts, strict=False)]
    return [(request, draw(st.booleans()), draw(st.integers(1, 5)), draw(st.integers(0, 99))) for request in requests if request]


# The model -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """An event as it was stored: when it came in is the database's to say."""

    id: str
    stamp: datetime | None
    is_delete: bool
    received: datetime
    hash: str
    record: dict[str, Any]

    @property
    def order(self):
        version = (self.stamp or self.received) if self.is_delete else (self.stamp or LONG_AGO)
        return (version, self.is_delete, self.received, self.hash)


def model(events: list[Event]) -> dict[str, Any]:
    """What must stand after these events of one record, and whether it is in doubt."""
    winner = max(events, key=lambda event: event.order)
    rivals = {event.hash for event in events if not event.is_delete and event.stamp and event.stamp == winner.stamp}
    hints = [event for event in events if not event.stamp and not event.is_delete]
    in_doubt = not winner.is_delete and len(rivals) > 1
    return {"winner": winner, "deleted": winner.is_delete, "ambiguous": in_doubt, "refetch": in_doubt or bool(hints)}


# Promises --------------------------------------------------------------------------------------------------------


def _stored(sql, prefix) -> dict[tuple[str, str], list[Event]]:
    rows = sql(
        "select id, entity_type::text, source_entity_id, source_modified_at, operation_type = 'delete', received_at, content_hash,"
        " (raw_payload #> payload_path)::text from tds_inbox_events"
        f" where source_entity_id like '{prefix}%' and validation_errors is null"
    )
    found: dict[tuple[str, str], list[Event]] = {}
    for id_, label, record, stamp, is_delete, received, hash_, text in rows:
        found.setdefault((label, record), []).append(Event(str(id_), stamp, is_delete, received, hash_, json.loads(text)))
    return found


def _check(sql, path, record, events):
    label = LABELS[path]
    expected = model(events)
    winner = expected["winner"]
    table = f"erp.{path}"
    (row,) = sql(
        f"select {COLUMNS[path]}, source_modified_at, deleted_at is not null, ambiguous, detail_hash from {table} where source_id = '{record}'"
    )
    *columns, stamp, is_deleted, is_ambiguous, hash_ = row
    version = (winner.stamp or winner.received) if winner.is_delete else winner.stamp
    assert (stamp, is_deleted, hash_) == (version, expected["deleted"], winner.hash)
    first, second = COLUMNS[path].split(", ")
    if not is_deleted:
        assert is_ambiguous == expected["ambiguous"]
        assert columns[0] == winner.record[first]
        if second in winner.record:
            assert columns[1] == winner.record[second]
    refetches = sql(f"select reason from tidemark.refetches where entity_type = '{label}' and source_entity_id = '{record}'")
    if expected["refetch"]:
        assert refetches
    if path == "invoices" and not is_deleted and "line_items" in winner.record:
        lines = sql(f"select line_item_id, name from erp.invoice_lines where source_id = '{record}' order by line_no")
        assert lines == [[line["line_item_id"], line["name"]] for line in winner.record["line_items"]]
    _check_outcomes(sql, events)
    _check_audit(sql, label, record)


def _check_outcomes(sql, events):
    ids = ", ".join(f"'{event.id}'" for event in events)
    rows = sql(
        "select q.id, q.status::text, q.processing_result ->> 'outcome', (select count(*) from tds_audit_trail a where a.id = q.id)"
        f" from tds_sync_queue q where q.id in ({ids})"
    )
    assert len(rows) == len(events)
    for _, status, outcome, audits in rows:
        assert (status, audits) == ("completed", 1 if outcome == "applied" else 0), outcome


def _check_audit(sql, label, record):
    """Every change of a field begins where the change before it ended."""
    rows = sql(
        "select old_value::text, new_value::text, changed_fields::text from tds_audit_trail a join recorder.order_of_audits o on o.id = a.id"
        f" where entity_type = '{label}' and entity_id = '{record}' order by o.number"
    )
    assert rows
    known: dict[str, Any] = {}
    for number, (old, new, changed) in enumerate(rows):
        before, after = encoding.loads(old or "{}") or {}, encoding.loads(new or "{}") or {}
        if number:
            assert set(before) == set(after) == set(encoding.loads(changed or "[]") or [])
        # The stamp also moves where nothing else changes, which is no change to write down.
        for key in before.keys() & known.keys() - {"last_modified_time"}:
            assert before[key] == known[key], key
        known |= after


@pytest.fixture
def ordered_audits(sql):
    """The order in which audit rows were written: the clock is too coarse for it."""
    sql("""
        create schema recorder;
        create table recorder.order_of_audits (id uuid, number bigint generated always as identity);
        grant usage on schema recorder to public;
        grant insert on recorder.order_of_audits to public;
        create function recorder.record() returns trigger language plpgsql as $$
        begin insert into recorder.order_of_audits (id) values (new.id); return null; end $$;
        create trigger recorded after insert on public.tds_audit_trail for each row execute function recorder.record();
    """)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests=deliveries())
@pytest.mark.usefixtures("ordered_audits")
def test_any_order_any_duplication_and_any_batches_converge_to_the_newest(sql, requests):
    prefix = f"{next(_numbers)}-"
    for request, is_processed, batch, seed in requests:
        bodies = [sent.body(prefix) for sent in request]
        send(request[0].path, {"events": bodies} if len(bodies) > 1 else bodies[0])
        # Whoever comes first: retries, priorities and other workers apply events in any order.
        said = f"replace(i.raw_payload::text, '{prefix}', '') || '{seed}'"
        sql(
            f"update tidemark.ready_events r set rank = app_now() + mod(abs(hashtext({said})), 1000) * interval '1 ms'"
            "  from tds_inbox_events i where i.id = r.id"
        )
        if is_processed:
            sql(f"""update tds_configuration set config_value = '"{batch}"' where config_key = 'batch_size'""")
            process.process()
    process.process()
    stored = _stored(sql, prefix)
    assert {(sent.path, sent.record) for request, *_ in requests for sent in request} == {
        (path, record.removeprefix(prefix)) for label, record in stored for path in LABELS if LABELS[path] == label
    }
    for (label, record), events in stored.items():
        _check(sql, next(path for path in LABELS if LABELS[path] == label), record, events)


@pytest.mark.parametrize("is_together", [True, False], ids=["in one batch", "in two"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["one way", "the other"])
def test_two_edits_in_one_second_converge_are_marked_ambiguous_and_queued_for_refetch(sql, order, is_together):
    edits = [an_item(name="Lamp"), an_item(name="Torch")]
    outcomes = []
    for number in order:
        send("products", edits[number])
        if not is_together:
            outcomes.append(process.process().outcomes)
    outcomes.append(process.process().outcomes)
    assert sql("select name, ambiguous from erp.products") == [[edits[order[1]]["item"]["name"], True]]
    assert sql("select entity_type::text, source_entity_id, reason from tidemark.refetches") == [["product", "1", "ambiguous"]]
    if is_together:
        assert outcomes == [{"ambiguous": 1, "applied": 1}]
    assert (
        sql(
            "select count(*) from tds_sync_queue where (processing_result ->> 'ambiguous')::boolean or processing_result ->> 'outcome' = 'ambiguous'"
        )[0][0]
        >= 1
    )


def test_a_later_edit_settles_what_was_ambiguous(sql):
    for body in (an_item(name="Lamp"), an_item(name="Torch"), an_item(name="Lantern", at="2026-06-10T00:00:00Z")):
        send("products", body)
        process.process()
    assert sql("select name, ambiguous from erp.products") == [["Lantern", False]]


@pytest.mark.parametrize("is_together", [True, False], ids=["in one batch", "in two"])
def test_an_older_update_never_resurrects_a_tombstone(sql, is_together):
    send("invoices", an_invoice(at="2026-06-09T10:00:00Z") | {"event_type": "invoice.deleted"})
    if not is_together:
        process.process()
    for body in (an_invoice(at="2026-06-09T09:00:00Z", lines=2), an_invoice(at="2026-06-09T10:00:00Z", lines=3)):
        send("invoices", body)
    process.process()
    assert sql("select deleted_at = source_modified_at, deleted_at from erp.invoices") == [
        [True, datetime(2026, 6, 9, 10, tzinfo=UTC)]
    ]
    assert sql("select processing_result ->> 'outcome', count(*) from tds_sync_queue group by 1 order by 1") == [
        ["applied", 1],
        ["superseded", 2],
    ]


def test_a_newer_update_brings_a_deleted_record_back(sql):
    send("invoices", an_invoice(at="2026-06-09T10:00:00Z") | {"event_type": "invoice.deleted"})
    send("invoices", an_invoice(at="2026-06-09T11:00:00Z", lines=2))
    process.process()
    assert sql("select deleted_at, (select count(*) from erp.invoice_lines) from erp.invoices") == [[None, 2]]


def test_a_hint_changes_nothing_that_has_a_version_and_asks_for_a_refetch(sql):
    send("products", an_item(name="Lamp"))
    process.process()
    hint = an_item(name="Torch")
    del hint["item"]["last_modified_time"]
    send("products", hint)
    assert process.process().outcomes == {"ambiguous": 1}
    assert sql("select name, detail_stale, ambiguous from erp.products") == [["Lamp", True, False]]
    assert sql("select reason from tidemark.refetches") == [["hint"]]


def test_a_version_that_leaves_out_what_stands_keeps_it_and_asks_the_source(sql):
    send("invoices", an_invoice(at="2026-06-09T10:00:00Z", lines=2))
    process.process()
    bare = an_invoice(at="2026-06-09T11:00:00Z", status="sent")
    del bare["invoice"]["line_items"], bare["invoice"]["total"]
    send("invoices", bare)
    process.process()
    assert sql("select status, total::text, detail_stale from erp.invoices") == [["sent", "12.5", True]]
    assert sql("select count(*) from erp.invoice_lines") == [[2]]
    assert sql("select reason from tidemark.refetches") == [["partial"]]
