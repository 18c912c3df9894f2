"""The Zoho stand-in: the same seed says the same, and the receiver and the worker do what each delivery expects of them."""

from __future__ import annotations

import collections
import itertools
import json
from datetime import UTC

import pytest

from common import lookup
from common.errors import Unauthentic
from common.flows import process, receive
from deploy.local.zoho.emitter import FORMS, POISONS, Emitter, Expected, Faults, kind_of, newest
from deploy.local.zoho.kinds import KINDS
from tests.conftest import ORGANIZATION, SECRET, database_url  # noqa: F401 - a migrated database, not this folder's empty one

MANY = Faults(duplicates=0.2, disorder=0.3, ties=0.1, poison=0.2, forged=0.05, batches=0.1, deletes=0.1)


def emitter(seed=1, **options):
    return Emitter(seed, ORGANIZATION, SECRET, **options)


def said(delivery):
    """What the receiver made of each event of a delivery: its state and, where it was alone, its id."""
    try:
        answer = receive.receive(delivery.request)
    except Unauthentic:
        return [Expected.REFUSED]
    if "event_id" not in answer:
        return None
    if answer["queued"]:
        return [Expected.STORED]
    return [Expected.DUPLICATE if "known" in answer["message"] else Expected.QUARANTINED]


def test_the_same_seed_sends_the_same_to_the_byte_and_another_one_other_records():
    once, again = list(emitter().deliveries(300, MANY)), list(emitter().deliveries(300, MANY))
    assert once == again
    others = {event.id for delivery in emitter(2).deliveries(300, MANY) for event in delivery.events}
    assert not others & {event.id for delivery in once for event in delivery.events}


def test_going_on_tells_more_of_the_same_history():
    one = emitter()
    first, second = list(one.deliveries(100)), list(one.deliveries(100))
    assert first[-1].number < second[0].number
    assert {event.id for each in first for event in each.events} & {event.id for each in second for event in each.events}


def test_all_that_may_happen_does_happen_in_a_long_stream():
    deliveries = list(emitter().deliveries(2000, MANY))
    assert {delivery.form for delivery in deliveries} >= {*FORMS, *POISONS, "batch", "forged", "unsigned"}
    assert {delivery.request.method for delivery in deliveries} == {"POST", "PUT", "DELETE"}
    events = [event for delivery in deliveries for event in delivery.events]
    assert {event.kind.label for event in events} == set(KINDS)
    assert {event.expected for event in events} == set(Expected)
    assert len({event.id for event in events if len(event.id) > 17}) > 500, "ids beyond 2^53, as text"
    same_second = collections.Counter((event.id, event.at) for event in events if event.expected is Expected.STORED)
    assert max(same_second.values()) > 1
    assert any(one.number > other.number for one, other in itertools.pairwise(deliveries))


def test_without_faults_everything_arrives_in_order_and_is_stored():
    deliveries = list(emitter().deliveries(200))
    assert [delivery.number for delivery in deliveries] == list(range(1, 201))
    assert {event.expected for delivery in deliveries for event in delivery.events} == {Expected.STORED}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_every_entity_is_read_as_the_record_that_it_is(form, configured):
    configured(WEBHOOK_BODY_LIMIT_BYTES="1000000")
    for label in KINDS:
        (delivery,) = emitter(labels=[label], form=form).deliveries(1)
        (row,) = receive.read(delivery.request).rows
        (event,) = delivery.events
        assert (row["entity"], row["entity_id"], row["errors"]) == (label, event.id, None)
        assert row["stamp"] == (event.at if event.kind.version_key else None)


@pytest.mark.usefixtures("database_url")
def test_a_delete_is_one_by_its_method_or_by_its_event():
    deliveries = list(emitter(method="DELETE").deliveries(20))
    assert {receive.read(delivery.request).rows[0]["operation"] for delivery in deliveries} == {"delete"}
    told = [
        each for each in emitter().deliveries(500, MANY) if each.events[0].operation == "delete" and each.request.method == "POST"
    ]
    assert told
    for delivery in told:
        if delivery.status == 202:
            assert "delete" in {row["operation"] for row in receive.read(delivery.request).rows}


@pytest.mark.parametrize("scheme", ["zoho", "shared_secret", "standard_webhooks"])
def test_every_scheme_is_let_in_and_its_forgeries_are_not(scheme, configured):
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" if scheme == "standard_webhooks" else SECRET
    configured(ZOHO_WEBHOOK_SECRETS=f"{scheme}:{secret}")
    for delivery in Emitter(1, ORGANIZATION, secret, scheme=scheme).deliveries(60, Faults(forged=0.3)):
        refused = delivery.status == 401
        assert (said(delivery) == [Expected.REFUSED]) is refused


def test_what_is_expected_of_each_event_is_what_becomes_of_it(sql):
    deliveries = list(emitter(3).deliveries(400, MANY))
    for position, delivery in enumerate(deliveries):
        answer = said(delivery)
        (first, *_) = delivery.events
        if answer is not None:
            at_once = Expected.STORED if first.is_late else first.expected
            assert answer == [at_once], (delivery.form, first, delivery.request.body[:300])
        if position % 50 == 0:
            process.process()
    process.process()

    expected = collections.Counter(event.expected for delivery in deliveries for event in delivery.events)
    assert sql("select count(*) from tds_inbox_events where processed_at is null") == [[0]]
    assert sql("select count(*) from tds_sync_queue where status = 'completed'") == [[expected[Expected.STORED]]]
    assert sql("select count(*) from tds_inbox_events where validation_errors is not null") == [[expected[Expected.QUARANTINED]]]
    assert sql("select count(*) from tidemark.duplicates") == [[expected[Expected.DUPLICATE]]]

    stands = {}
    for entity in (lookup.find("entities", name).ENTITY for name in lookup.names("entities")):
        for row in sql(f"select source_id, source_modified_at, deleted_at is not null from erp.{entity.table}"):
            stands[entity.label, row[0]] = (row[1].astimezone(UTC) if row[1] else None, row[2])
    latest = newest(deliveries)
    assert {key: stands.get(key) for key in latest} == latest, "the newest version stands, and what was deleted stays deleted"


def test_a_poison_that_was_chosen_ends_as_it_says(sql):
    for seed in itertools.count(1):
        deliveries = list(emitter(seed).deliveries(200, Faults(poison=1, duplicates=0)))
        if {delivery.form for delivery in deliveries} == set(POISONS):
            break
    for delivery in deliveries:
        said(delivery)
    process.process()
    ends = {
        str(row[0]): row[1]
        for row in sql("select source_entity_id, bool_or(validation_errors is null) from tds_inbox_events group by 1")
    }
    for delivery in deliveries:
        (event,) = delivery.events
        if event.id in ends:
            assert ends[event.id] is (event.expected is Expected.STORED), delivery.form


def test_kinds_go_by_their_label_and_by_their_path():
    assert kind_of("credit_note") == kind_of("credit-notes") == kind_of("Credit-Note") == KINDS["credit_note"]
    assert kind_of("spaceship") is None


def test_a_default_payload_has_the_noise_that_zoho_adds():
    (delivery,) = emitter(labels=["invoice"], form="default").deliveries(1)
    record = json.loads(delivery.request.body)["invoice"]
    assert record["total_formatted"].startswith("SEK")
    assert record["page_width"]
    assert record["last_modified_time"][-5:] == "+0300"
