"""Rounds and the journal: what happens is shown and told alike, and a stand-in with the same file is the same organization."""

from __future__ import annotations

from datetime import datetime, timedelta

import orjson
import pytest

from deploy.local.zoho import StandIn
from deploy.local.zoho.emitter import Expected, newest
from deploy.local.zoho.kinds import KINDS
from deploy.local.zoho.rounds import read, written
from tests.local.caller import NOW

SECRET = "s" * 20


def stamps(zoho):
    """When each record that says when it changed did so, by (label, id)."""
    return {
        (label, identifier): datetime.fromisoformat(record[kind.version_key])
        for label, kind in KINDS.items()
        if kind.version_key
        for identifier, record in zoho.records(label).items()
    }


def told(round_, before):
    """What must stand after all of a round is known, lost ones too."""
    stands = dict(before)
    for key, (at, is_gone) in newest([*round_.sent, *round_.lost]).items():
        stands[key] = at
        if is_gone:
            del stands[key]
    return stands


def test_what_a_round_tells_is_what_the_source_shows():
    zoho = StandIn(now=NOW)
    before = stamps(zoho)
    round_ = zoho.round(7, 600, SECRET, loss=0.1)
    assert stamps(zoho) == told(round_, before)
    assert len(round_.sent) + len(round_.lost) == 600
    assert {"stored", "duplicate", "quarantined", "refused"} == {event.expected for each in round_.sent for event in each.events}
    assert {each.number for each in round_.sent}.isdisjoint(each.number for each in round_.lost)


def test_only_what_a_list_makes_up_for_is_lost():
    round_ = StandIn(now=NOW).round(7, 900, SECRET, loss=1.0)
    assert round_.lost
    assert all(event.operation != "delete" for each in round_.lost for event in each.events)
    seconds = [(event.id, event.at) for each in round_.lost for event in each.events if event.expected is Expected.STORED]
    others = {(event.id, event.at) for each in round_.sent for event in each.events}
    assert len(seconds) == len(set(seconds))
    assert others.isdisjoint(seconds)


def test_a_seed_tells_the_same_and_another_one_something_else():
    bodies = [[each.request.body for each in StandIn(now=NOW).round(seed, 50, SECRET).sent] for seed in (7, 7, 8)]
    assert bodies[0] == bodies[1] != bodies[2]


def test_times_go_on_and_none_lies_ahead_even_right_after_a_change_by_hand():
    zoho = StandIn(now=NOW)
    zoho.round(7, 100, SECRET)
    first = max(stamps(zoho).values())
    zoho.round(8, 100, SECRET)
    assert first < max(stamps(zoho).values()) <= NOW
    zoho.edit("product", 1)
    edited = max(stamps(zoho).values())
    zoho.turn(30)
    found = newest(zoho.round(9, 100, SECRET).sent).values()
    edits = [at for at, is_gone in found if not is_gone]  # a deletion is told under the time of the last edit
    assert edits
    assert all(edited <= at <= NOW + timedelta(seconds=30) for at in edits)


def test_deliveries_pass_between_processes_as_they_are():
    sent = StandIn(now=NOW).round(7, 200, SECRET).sent
    assert [read(orjson.loads(orjson.dumps(written(each)))) for each in sent] == sent


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal"


def everything(zoho):
    return {label: zoho.records(label) for label in KINDS}


def test_a_stand_in_goes_on_from_its_journal(journal):
    first = StandIn(now=NOW, journal=journal)
    first.round(7, 300, SECRET)
    first.edit("product", 2, rate=5)
    first.edit_quietly("product", 2)
    gone = first.delete("invoice", 2)
    second = StandIn(seed=99, sizes=0, now=NOW, journal=journal)
    assert everything(second) == everything(first)
    assert set(gone) <= set(second._store.deleted["invoice"])
    (made,) = second.create("product")
    assert all(made not in records for records in everything(first).values())
    third = StandIn(now=NOW, journal=journal)
    assert everything(third) == everything(second)


def test_a_line_that_was_cut_off_costs_that_line_alone(journal):
    first = StandIn(now=NOW, journal=journal)
    first.edit("product", 1)
    before = everything(first)
    first.edit("product", 1)
    journal.write_bytes(journal.read_bytes()[:-40])
    second = StandIn(now=NOW, journal=journal)
    assert everything(second) == before
    second.edit("product", 1)
    assert everything(StandIn(now=NOW, journal=journal)) == everything(second)


def test_a_journal_does_not_grow_for_ever(journal):
    zoho = StandIn(sizes=2, now=NOW, journal=journal)
    for _ in range(40):
        zoho.edit("product", 2)
    grown = journal.stat().st_size
    after = StandIn(now=NOW, journal=journal)
    assert journal.stat().st_size < grown / 2
    assert everything(after) == everything(zoho)
    assert everything(StandIn(now=NOW, journal=journal)) == everything(zoho)


def test_a_round_can_be_asked_for_over_http(zoho):
    import http.client
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection(urlsplit(zoho.url).netloc)
    connection.request("POST", "/_/round", orjson.dumps({"seed": 7, "count": 40, "secret": SECRET, "loss": 0.5}))
    said = orjson.loads(connection.getresponse().read())
    connection.close()
    same = StandIn(now=NOW).round(7, 40, SECRET, loss=0.5)
    assert [read(each) for each in said["sent"]] == same.sent
    assert [read(each) for each in said["lost"]] == same.lost
