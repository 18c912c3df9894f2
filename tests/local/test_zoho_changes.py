"""What happens in the Zoho stand-in's books: changes, their stamps, when they can be seen, and the webhooks they send."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
import pytest

from common import lookup
from common.rules.http import Request
from deploy.local.zoho import StandIn
from deploy.local.zoho.kinds import KINDS
from deploy.local.zoho.modules import BOOKS, INVENTORY
from tests.local.caller import NOW

SECRET = "mysecretkey12"


@contextmanager
def receiver() -> Iterator[tuple[str, list[Request]]]:
    """Somebody who receives webhooks: the address, and what came."""
    received: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = tuple((name.lower(), value) for name, value in self.headers.items())
            received.append(Request(self.command, path, query, headers, body))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", received
    server.shutdown()
    server.server_close()
    thread.join()


def stamps(zoho, label):
    return {identifier: row.get("last_modified_time") for identifier, row in zoho.rows(label).items()}


def test_people_make_edit_and_delete_records_of_all_kinds(zoho):
    changes = zoho.change(400, delete=0.2)
    assert {change.operation for change in changes} == {"create", "update", "delete"}
    assert {change.kind.label for change in changes} == set(KINDS)
    last = {(change.kind.label, change.id): change for change in changes}
    for (label, identifier), change in last.items():
        assert (identifier in zoho.records(label)) is (change.operation != "delete")


def test_only_some_kinds_change_when_only_those_are_asked_for(zoho):
    assert {change.kind.label for change in zoho.change(30, labels=["bill", "payment"])} == {"bill", "payment"}


def test_a_change_has_the_time_at_which_it_is_made(caller, zoho):
    zoho.turn(90)
    (made,), (edited,) = zoho.create("product", name="Lamp"), zoho.edit("product", rate=7)
    rows = {row["item_id"]: row for row in caller.walk("items", "items")}
    assert rows[made]["created_time"] == rows[made]["last_modified_time"] == "2026-03-05T12:31:30+0300"
    assert rows[made]["name"] == "Lamp"
    assert (rows[edited]["rate"], rows[edited]["last_modified_time"]) == (7, "2026-03-05T12:31:30+0300")
    assert rows[edited]["created_time"] < "2025"


def test_chosen_records_are_edited_and_unknown_ones_refused(zoho):
    first, *others = zoho.records("customer")
    assert zoho.edit("customer", ids=[first], company_name="Tide") == [first]
    assert [identifier for identifier, record in zoho.records("customer").items() if record["company_name"] == "Tide"] == [first]
    assert zoho.delete("customer", ids=[first]) == [first]
    assert list(zoho.records("customer")) == others
    with pytest.raises(KeyError, match=first):
        zoho.edit("customer", ids=[first])


def test_an_edit_in_bulk_is_one_second_for_all(zoho):
    before = stamps(zoho, "product")
    edited = zoho.edit_in_bulk("product", 20)
    after = stamps(zoho, "product")
    assert len(edited) == 20
    assert {after[identifier] for identifier in edited} == {"2026-03-05T12:30:00+0300"}
    assert all(after[identifier] == before[identifier] for identifier in before if identifier not in edited)


@pytest.mark.parametrize(
    ("label", "key"),
    [("product", "stock_on_hand"), ("invoice", "status"), ("order", "status"), ("customer", "outstanding_receivable_amount")],
)
def test_some_edits_do_not_touch_the_time_of_the_last_change(zoho, label, key):
    before, times = zoho.records(label), stamps(zoho, label)
    edited = zoho.edit_quietly(label, 25)
    after = zoho.records(label)
    assert sum(before[identifier][key] != after[identifier][key] for identifier in edited) > 10
    assert stamps(zoho, label) == times


def test_a_payment_changes_quietly_only_when_it_is_said_how(zoho):
    with pytest.raises(ValueError, match="by itself"):
        zoho.edit_quietly("payment")
    (edited,) = zoho.edit_quietly("payment", unused_amount=9)
    assert zoho.records("payment")[edited]["unused_amount"] == 9


def test_what_changes_late_is_seen_late_under_its_own_time(caller, zoho):
    zoho.late = 30
    (made,), (edited,), (gone,) = zoho.create("bill"), zoho.edit("bill", notes="x"), zoho.delete("bill")
    before = caller.walk("bills", "bills")
    assert len(before) == 25
    assert caller.get(f"bills/{made}").code == 1002
    assert caller.get(f"bills/{gone}").code == 0
    zoho.turn(29)
    assert caller.walk("bills", "bills") == before
    zoho.turn(1)
    rows = {row["bill_id"]: row for row in caller.walk("bills", "bills")}
    assert made in rows
    assert gone not in rows
    if edited != gone:
        assert rows[edited]["last_modified_time"] == rows[made]["last_modified_time"] == "2026-03-05T12:30:00+0300"


def test_a_late_change_does_not_undo_a_later_one_that_was_not(zoho):
    (one, *_) = zoho.records("product")
    zoho.late = 30
    zoho.edit("product", ids=[one], rate=1)
    zoho.late = 0
    zoho.edit("product", ids=[one], rate=2)
    zoho.turn(30)
    assert zoho.records("product")[one]["rate"] == 2


def test_moving_the_organization_writes_every_stamp_anew_and_changes_no_instant(zoho):
    def instants():
        return {
            (label, identifier, key): datetime.fromisoformat(record[key])
            for label in KINDS
            for identifier, record in (zoho.rows(label) | zoho.records(label)).items()
            for key in ("created_time", "last_modified_time", "updated_time")
            if key in record
        }

    before = instants()
    zoho.move("-0430")
    assert instants() == before
    assert {row["created_time"][-5:] for row in zoho.rows("invoice").values()} == {"-0430"}
    (made,) = zoho.create("invoice")
    assert zoho.records("invoice")[made]["last_modified_time"] == "2026-03-05T05:00:00-0430"
    with pytest.raises(ValueError, match="0300"):
        zoho.move("+03:00")


def test_time_can_be_turned_back(caller, zoho):
    zoho.turn(-3600)
    (made,) = zoho.create("product")
    assert zoho.rows("product")[made]["last_modified_time"] == "2026-03-05T11:30:00+0300"
    assert zoho.now() == NOW - timedelta(hours=1)


def test_the_clock_is_the_real_one_unless_it_is_told_otherwise():
    zoho = StandIn(sizes=1)
    early = zoho.now()
    assert abs(early - datetime.now(early.tzinfo)) < timedelta(seconds=5)


def test_records_are_inserted_edited_and_deleted_between_the_pages_of_a_walk(caller, zoho):
    zoho.churn(every=2, create=1, edit=1, delete=2)
    walked = caller.walk("items", "items", base=INVENTORY, sort_column="created_time", sort_order="A", per_page=5)
    lists = len(zoho.calls) - 1  # one was for the token
    assert len(zoho.records("product")) == 25 + (1 - 2) * (lists // 2)
    assert {row["item_id"] for row in walked} != set(zoho.records("product"))
    zoho.churn()
    assert caller.walk("items", "items") == caller.walk("items", "items")


# Webhooks


def test_every_change_is_told_to_the_receiver_signed_and_as_the_api_shows_it(zoho):
    matches = lookup.find("signatures", "zoho").matches
    with receiver() as (url, received):
        hooks = zoho.webhooks(url, SECRET)
        changes = zoho.change(60, delete=0.1)
        assert set(hooks.wait()) == {202}
    assert len(received) == len(changes)
    assert all(matches(SECRET, request) for request in received)
    told = collections.Counter(each.events[0].id for each in hooks.sent)
    assert told == collections.Counter(change.id for change in changes)
    newest = {(change.kind.label, change.id): change for change in changes}
    bodies = [next(iter(orjson.loads(request.body).values())) for request in received]
    for (label, identifier), change in newest.items():
        if change.operation != "delete":
            shown = zoho.records(label)[identifier]
            assert any(shown.items() <= body.items() for body in bodies), label


def test_edits_that_touch_no_time_send_nothing(zoho):
    with receiver() as (url, received):
        hooks = zoho.webhooks(url, SECRET)
        zoho.edit_quietly("product", 5)
        assert hooks.wait() == []
    assert received == []


def test_some_webhooks_are_lost_and_some_come_twice(zoho):
    with receiver() as (url, received):
        hooks = zoho.webhooks(url, SECRET, loss=0.3, duplicates=0.3)
        zoho.create("product", 200)
        hooks.wait()
    came = collections.Counter(request.body for request in received)
    assert 30 < len(hooks.lost) < 90
    assert len(came) == 200 - len(hooks.lost)
    assert 20 < sum(times == 2 for times in came.values()) < 80
    assert not {delivery.request.body for delivery in hooks.lost} & set(came)


def test_a_webhook_comes_before_the_api_shows_a_late_change(caller, zoho):
    zoho.late = 10
    with receiver() as (url, received):
        hooks = zoho.webhooks(url, SECRET)
        (made,) = zoho.create("invoice")
        hooks.wait()
    assert orjson.loads(received[0].body)["invoice"]["invoice_id"] == made
    assert caller.get(f"invoices/{made}", base=BOOKS).code == 1002
    zoho.turn(10)
    assert caller.get(f"invoices/{made}").code == 0
