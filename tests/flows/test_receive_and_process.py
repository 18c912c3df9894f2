"""The main job, end to end inside one process: received, stored, applied once, newest wins."""

from __future__ import annotations

import json

import pytest

from common.edge import hook
from common.errors import Broken, Unavailable
from common.flows import process, receive
from tests.make import a_request, an_invoice, an_item, send, signed


def test_an_event_is_stored_and_applied_once(sql):
    answer = send("products", an_item(name="Lamp", rate="12.50"))
    assert answer["queued"] is True
    report = process.process()
    assert report.outcomes == {"applied": 1}
    assert sql("select source_id, name, rate::text from erp.products") == [["1", "Lamp", "12.50"]]
    assert sql("select status, attempt_count, processing_result->>'outcome' from tds_sync_queue") == [["completed", 1, "applied"]]
    assert sql("select is_valid, moved_to_queue, processed_at is not null from tds_inbox_events") == [[True, True, True]]


def test_a_duplicate_is_answered_with_the_originals_id_and_applied_once(sql):
    first, second = send("products", an_item()), send("products", an_item())
    assert (second["event_id"], second["queued"], second["success"]) == (first["event_id"], False, True)
    process.process()
    assert sql("select count(*) from tds_audit_trail") == [[1]]
    assert sql("select count(*) from tidemark.duplicates") == [[1]]


def test_an_older_version_that_comes_late_is_superseded(sql):
    send("invoices", an_invoice(at="2026-06-09T10:00:00Z", lines=2))
    process.process()
    send("invoices", an_invoice(at="2026-06-09T09:00:00Z", lines=3))
    assert process.process().outcomes == {"superseded": 1}
    assert sql("select line_no, name from erp.invoice_lines order by line_no") == [
        [0, "2026-06-09T10:00:00Z"],
        [1, "2026-06-09T10:00:00Z"],
    ]


def test_a_delete_without_a_body_names_its_record_in_the_query(sql):
    send("products", an_item())
    process.process()
    send("products", b"", method="DELETE", query="item_id=1")
    assert process.process().outcomes == {"applied": 1}
    assert sql("select deleted_at is not null, name from erp.products") == [[True, "Lamp"]]


def test_a_schema_older_than_the_code_spends_no_event(sql):
    send("products", an_item())
    sql("delete from tds_schema_versions where version = (select max(version) from tds_schema_versions)")
    with pytest.raises(Unavailable, match="run the migrations"):
        process.process()
    assert sql("select count(*) from tidemark.ready_events") == [[1]]


def test_refusals_that_could_not_be_told_are_told_with_the_next_event(sql, configured):
    receive.refusals.take()
    receive.refusals.give_back(3)
    sql("alter function tidemark.receive(jsonb, integer) rename to gone")
    with pytest.raises(Broken):
        send("products", an_item())
    sql("alter function tidemark.gone(jsonb, integer) rename to receive")
    send("products", an_item())
    assert sql("select amount from tidemark.deltas where name = 'refused'") == [[3]]


def test_the_log_and_the_row_of_a_request_tell_one_trace(sql, capsys):
    request = signed(a_request("products", an_item()))
    hook(lambda asked: (202, receive.receive(asked)))(request)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["trace_id"] for line in lines} == {sql("select substr(traceparent, 4, 32) from tds_inbox_events")[0][0]}
