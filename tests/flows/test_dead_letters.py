"""Dead letters by cause, tried again in steps, edited and given up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest

from common import db, log
from common.errors import Conflict, Invalid, PreconditionFailed, Unknown
from common.flows import dead_letters, edits, heal, process, replays, status
from common.rules.http import Request
from common.stores import queue
from common.stores.queue import Failure
from tests.chaos import check
from tests.make import an_item, send

pytestmark = pytest.mark.usefixtures("operator")
TRIGGER = """
    create or replace function public.refuse() returns trigger language plpgsql as $$
    begin
        if new.name like 'Bad%' then raise exception 'the lamp "%" is broken', new.name using errcode = '23514'; end if;
        return new;
    end $$;
    create or replace trigger refuse before insert or update on erp.products for each row execute function public.refuse();
"""
CURE = "drop trigger refuse on erp.products"


@pytest.fixture
def operator(database_url):
    with log.bound(operator="anna"):
        yield


@pytest.fixture
def broken(sql):
    """`broken(count)`: so many products that the database refuses, as dead letters; the answers to their senders."""
    sql(TRIGGER)

    def bury(count, first=0):
        answers = [send("products", an_item(f"bad{n}", name=f"Bad {n}")) for n in range(first, first + count)]
        process.process()
        return answers

    return bury


def ask(filter_, **rest):
    return dead_letters.replay({"filter": filter_, **rest})[1]


def replayed(filter_):
    """The replay of what a filter means, as it was begun."""
    dry = ask(filter_, dry_run=True)
    return ask(filter_, confirm=dry["confirm"])


def listed(query=""):
    return dead_letters.listed(Request("GET", "/api/dead-letters", query))


def letters(sql):
    return [row[0] for row in sql("select id from tds_dead_letter_queue where not resolved order by created_at, id")]


# By cause ----------------------------------------------------------------------------------------------------------


def test_what_differs_by_ids_numbers_and_quoted_values_is_one_cause(sql):
    def place(message):
        return sql("select tidemark.place(:m)", m=message)[0][0]

    assert place("the item 'K-17' of invoice INV-000123 has 3 lines") == place("the item 'other' of invoice INV-7 has 10 lines")
    assert place("/line_items/3/rate should be an amount") == "/line_items/#/rate should be an amount"
    assert place("it isn't there and doesn't come") == "it isn't there and doesn't come"
    assert place("2026-06-09T09:45:44-04:00 is late") == place("2027-01-01T00:00:00Z is late")
    assert place("no such table") != place("no such column")


def test_dead_letters_and_quarantined_events_are_grouped_by_cause(broken, sql):
    broken(5)
    for n in range(3):
        send("products", an_item(f"q{n}", rate="much"))
    send("invoices", {"invoice": {"invoice_number": "no id"}})
    process.process()
    found = listed()
    assert [(each["kind"], each["entity_type"], each["count"]) for each in found["groups"]] == [
        ("dead_letter", "product", 5),
        ("quarantine", "product", 3),
        ("quarantine", "invoice", 1),
    ]
    assert (found["total"], found["count"], len(found["groups"][0]["samples"])) == (9, 9, 5)
    one = found["groups"][1]
    assert "/item/rate" in one["cause"]
    only = listed(f"fingerprint={one['fingerprint']}")
    assert {each["kind"] for each in only["items"]} == {"quarantine"}
    assert only["total"] == 3
    assert listed("entity_type=invoices&kind=quarantine")["total"] == 1


def test_letters_are_read_on_page_by_page(broken):
    broken(7)
    seen, after = [], ""
    while True:
        page = listed(f"limit=3{after}")
        seen += [each["id"] for each in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next'].replace('+', '%2B')}"
    assert len(seen) == len(set(seen)) == 7


@pytest.mark.parametrize("query", ["kind=unicorn", "entity_type=unicorn", "after=here", "limit=0"])
def test_what_cannot_be_listed_is_refused(query):
    with pytest.raises(Invalid):
        listed(query)


# Replays -----------------------------------------------------------------------------------------------------------


def test_the_58_letters_of_one_cause_are_replayed_by_one_call(broken, sql, database_url):
    answers = broken(58)
    check.record_effects(database_url)
    sql(CURE)
    dry = ask({"kind": "dead_letter"}, dry_run=True)
    assert (dry["count"], len(dry["sample"])) == (58, 10)
    begun = ask({"kind": "dead_letter"}, confirm=dry["confirm"])
    assert (begun["state"], begun["total"], begun["steps"][0]["letters"]) == ("running", 58, 1)
    process.process()
    found = replays.one(str(begun["id"]))
    assert [(step["letters"], step["done"]) for step in found["steps"]] == [(1, 1), (10, 10), (47, 47)]
    assert (found["state"], found["requested_by"], found["failed_again"]) == ("done", "anna", [])
    assert sql("select count(*) from erp.products") == [[58]]
    assert sql("select distinct attempt_count, status::text from tds_sync_queue") == [[2, "completed"]]
    assert sql("select tidemark.total('replayed'), count(*) filter (where resolved_by = 'anna') from tds_dead_letter_queue") == [
        [58, 58]
    ]
    assert check.faults(database_url, answers) == []


def test_a_replay_stops_by_itself_when_its_canary_fails_again(broken, sql):
    broken(20)
    begun = replayed({"kind": "dead_letter"})
    process.process()
    found = replays.one(str(begun["id"]))
    assert (found["state"], found["step"], found["left"]) == ("stopped", 1, 19)
    assert "for the same cause" in found["message"]
    assert [each["is_same"] for each in found["failed_again"]] == [True]
    assert sql("select attempt_count, count(*) from tds_sync_queue group by 1 order by 1") == [[1, 19], [2, 1]]
    assert listed()["total"] == 20


def test_a_replay_whose_second_step_fails_leaves_the_rest_alone(broken, sql):
    broken(20)
    (third,) = sql("select source_entity_id from tds_dead_letter_queue order by created_at, id offset 2 limit 1")[0]
    sql(TRIGGER.replace("like 'Bad%'", f"= 'Bad {third.removeprefix('bad')}'"))
    begun = replayed({"kind": "dead_letter"})
    process.process()
    found = replays.one(str(begun["id"]))
    assert [(step["done"], step["again"]) for step in found["steps"]] == [(1, 0), (9, 1)]
    assert (found["state"], found["left"]) == ("stopped", 9)
    assert listed()["total"] == 10


@pytest.mark.parametrize("confirm", [None, "0" * 32])
def test_a_replay_that_nobody_confirmed_is_refused(broken, confirm, sql):
    broken(2)
    with pytest.raises(PreconditionFailed) as refusal:
        ask({"kind": "dead_letter"}, confirm=confirm)
    assert (refusal.value.status, refusal.value.fields["count"]) == (412, 2)
    assert sql("select count(*) from tidemark.replays") == [[0]]


def test_a_confirmation_counts_for_exactly_the_letters_and_the_verb_it_was_given_for(broken, sql):
    broken(2)
    dry = ask({"kind": "dead_letter"}, dry_run=True)
    with pytest.raises(PreconditionFailed):
        dead_letters.discard({"filter": {"kind": "dead_letter"}, "reason": "no", "confirm": dry["confirm"]})
    broken(1, first=2)
    with pytest.raises(PreconditionFailed):
        ask({"kind": "dead_letter"}, confirm=dry["confirm"])
    assert sql("select count(*) from tds_dead_letter_queue where resolved") == [[0]]


def test_two_replays_of_the_same_letters_at_once_are_one(broken, sql):
    broken(30)
    dry = ask({"kind": "dead_letter"}, dry_run=True)

    def go(_):
        with log.bound(operator="anna"):
            try:
                return ask({"kind": "dead_letter"}, confirm=dry["confirm"])["state"]
            except PreconditionFailed:
                return "refused"

    with ThreadPoolExecutor(4) as threads:
        said = sorted(threads.map(go, range(4)))
    assert said == ["refused", "refused", "refused", "running"]
    assert sql("select count(*), count(distinct letter) from tidemark.replay_items") == [[30, 30]]


def test_a_replay_that_many_take_further_at_once_takes_each_step_once(broken, sql):
    broken(30)
    sql(CURE)
    begun = replayed({"kind": "dead_letter"})
    for _ in range(3):
        process._due(process.rules_for("test"), process.Report())
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: replays.advance(), range(4)))
    process.process()
    found = replays.one(str(begun["id"]))
    assert [(step["letters"], step["done"]) for step in found["steps"]] == [(1, 1), (10, 10), (19, 19)]
    assert sql("select distinct attempt_count, max_retry_attempts from tds_sync_queue") == [[2, 2]]


def test_a_letter_that_somebody_else_tries_meanwhile_does_not_hold_up_a_replay(broken, sql):
    broken(3)
    first = letters(sql)
    sql(CURE)
    dry = ask({"kind": "dead_letter"}, dry_run=True)
    begun = ask({"kind": "dead_letter"}, confirm=dry["confirm"])
    with db.transaction("operator") as tx:
        for letter in first:
            queue.revive(tx, letter, actor="somebody")
    process.process()
    found = replays.one(str(begun["id"]))
    assert (found["state"], sum(step["gone"] for step in found["steps"])) == ("done", 2)
    assert sql("select count(*) from tds_sync_queue where status = 'completed'") == [[3]]


def test_a_replay_whose_process_died_goes_on_with_the_next_healing_pass(broken, sql):
    broken(12)
    sql(CURE)
    begun = replayed({"kind": "dead_letter"})
    rules = process.rules_for("test")
    process._due(rules, process.Report())
    assert heal.heal()["healers"]["replays"] == 10
    process._due(rules, process.Report())
    heal.heal()
    process._due(rules, process.Report())
    heal.heal()
    assert replays.one(str(begun["id"]))["state"] == "done"


def test_quarantined_events_are_replayed_by_reading_them_again(sql):
    send("products", an_item("1", rate="much"))
    send("products", an_item("2", rate="much"))
    process.process()
    sql("""update tds_inbox_events set raw_body = convert_to(replace(convert_from(raw_body, 'UTF8'), '"much"', '5'), 'UTF8')
            where source_entity_id = '1'""")
    before = sql("select tidemark.total('quarantined')")
    begun = replayed({"kind": "quarantine"})
    process.process()
    found = replays.one(str(begun["id"]))
    assert (before, found["state"]) == ([[2]], "stopped")
    assert {step["done"] + step["again"] for step in found["steps"]} <= {1}
    assert sql("select count(*) from erp.products") == sql("select count(*) from tds_sync_queue where status = 'completed'")
    assert sql("select tidemark.total('quarantined'), tidemark.total('waiting')") == [
        [sql("select count(*) from tds_inbox_events where validation_errors is not null")[0][0], 0]
    ]


def test_an_event_of_another_organization_never_comes_in_by_a_replay(sql):
    send("products", {"organization_id": "999", "events": [an_item("1")]})
    begun = replayed({"kind": "quarantine"})
    process.process()
    assert replays.one(str(begun["id"]))["state"] == "stopped"
    heal.heal()
    process.process()
    assert sql("select count(*) from erp.products") == [[0]]


@pytest.mark.parametrize(
    ("given", "pointers"),
    [
        ({}, ["/filter"]),
        ({"filter": {}}, ["/filter"]),
        ({"filter": {"color": "red"}}, ["/filter/color"]),
        ({"filter": {"kind": "unicorn"}, "dry_run": "yes"}, ["/filter/kind", "/dry_run"]),
        ({"filter": {"ids": []}}, ["/filter/ids"]),
        ({"filter": {"ids": ["x"]}}, ["/filter/ids/0"]),
        ({"filter": {"before": "yesterday"}}, ["/filter/before"]),
        ({"filter": {"entity_type": 5}}, ["/filter/entity_type"]),
        ({"filter": {"fingerprint": 5}, "confirm": 5}, ["/filter/fingerprint", "/confirm"]),
        ({"filter": {"kind": "quarantine"}, "other": 1}, ["/other"]),
    ],
)
def test_a_replay_that_cannot_be_is_refused_with_pointers(given, pointers):
    with pytest.raises(Invalid) as refusal:
        dead_letters.replay(given)
    assert [error["pointer"] for error in refusal.value.fields["errors"]] == pointers


def test_a_filter_takes_codes_ids_and_moments(broken, sql, turn_clock):
    broken(2)
    turn_clock(timedelta(hours=1))
    broken(1, first=2)
    (last,) = sql("select id, created_at::text from tds_dead_letter_queue order by created_at desc limit 1")
    assert ask({"error_code": "23514"}, dry_run=True)["count"] == 3
    assert ask({"error_code": "other"}, dry_run=True) == {"dry_run": True, "count": 0, "sample": [], "confirm": None}
    assert ask({"ids": [str(last[0])]}, dry_run=True)["sample"] == [last[0]]
    assert ask({"before": last[1].replace(" ", "T")}, dry_run=True)["count"] == 2
    with pytest.raises(Unknown):
        replays.one("0" * 32)


# Edits -------------------------------------------------------------------------------------------------------------


def test_an_edited_dead_letter_is_really_applied_and_its_original_stays(broken, sql, database_url):
    check.record_effects(database_url)
    (answer,) = broken(1)
    (letter,) = letters(sql)
    given = {"patch": {"item": {"name": "Good", "rate": None}}, "reason": "the name was a typo"}
    dry = edits.edit(str(letter), given | {"dry_run": True})[1]
    assert dry["changed"] == [
        {"pointer": "/item/name", "before": "Bad 0", "after": "Good"},
        {"pointer": "/item/rate", "before": 10},
    ]
    assert sql("select count(*) from tds_inbox_events") == [[1]]
    said, became = edits.edit(str(letter), given)
    assert (said, became["event_id"]) == (202, dry["event_id"])
    process.process()
    assert sql("select source_id, name, event_id::text from erp.products") == [["bad0", "Good", became["event_id"]]]
    assert sql("select raw_payload -> 'item' ->> 'name' from tds_inbox_events where id = :id::uuid", id=answer["event_id"]) == [
        ["Bad 0"]
    ]
    assert sql("select status::text from tds_sync_queue where id = :id::uuid", id=answer["event_id"]) == [["failed"]]
    assert sql(
        "select actor, verb, reason, before -> 'item' ->> 'name', after -> 'item' ->> 'name', became::text from tidemark.interventions"
    ) == [["anna", "edit", "the name was a typo", "Bad 0", "Good", became["event_id"]]]
    shown = dead_letters.one(str(letter))
    assert (shown["is_open"], shown["interventions"][0]["actor"]) == (False, "anna")
    with pytest.raises(Conflict):
        edits.edit(str(letter), given)


def test_an_edited_event_from_quarantine_is_applied(sql):
    answer = send("products", an_item("1", rate="much"))
    process.process()
    edits.edit(answer["event_id"], {"payload": an_item("1", rate=7), "reason": "much is seven"})
    process.process()
    assert sql("select source_id, rate::text from erp.products") == [["1", "7"]]
    assert listed()["total"] == 0
    assert sql("select resolved_by from tds_inbox_events where resolved_at is not null") == [["anna"]]


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"reason": "x"}, "/payload"),
        ({"reason": "x", "payload": {}, "patch": {}}, "/payload"),
        ({"payload": {}}, "/reason"),
        ({"reason": "x", "patch": {"item": {"rate": "more"}}}, "/patch/item/rate"),
        ({"reason": "x", "patch": {"item": {"item_id": "2"}}}, "/patch"),
        ({"reason": "x", "patch": 5}, "/patch"),
        ({"reason": "x", "payload": {"bill": {"bill_id": "1"}}}, "/payload"),
    ],
)
def test_an_edit_that_cannot_be_applied_is_refused_and_changes_nothing(given, pointer, sql):
    answer = send("products", an_item("1", rate="much"))
    process.process()
    with pytest.raises(Invalid) as refusal:
        edits.edit(answer["event_id"], given)
    assert [error["pointer"] for error in refusal.value.fields["errors"]] == [pointer]
    assert sql("select count(*) from tds_inbox_events") == [[1]]
    assert listed()["total"] == 1


def test_what_people_did_cannot_be_changed(broken, sql):
    broken(1)
    dead_letters.discard_one(str(letters(sql)[0]), {"reason": "x"})
    for statement in ("update tidemark.interventions set actor = 'x'", "delete from tidemark.interventions"):
        with pytest.raises(Exception, match="append-only"):
            sql(statement)


# Discards ----------------------------------------------------------------------------------------------------------


def test_one_letter_is_given_up_for_a_reason(broken, sql):
    broken(2)
    letter, other = letters(sql)
    assert dead_letters.discard_one(str(letter), {"reason": "a test"})["discarded"] == 1
    assert sql("select status::text, count(*) from tds_sync_queue group by 1 order by 1") == [["dead_letter", 1], ["failed", 1]]
    assert sql("select resolved_by, resolution_notes from tds_dead_letter_queue where resolved") == [["anna", "discarded: a test"]]
    assert letters(sql) == [other]
    with pytest.raises(Unknown):
        dead_letters.discard_one(str(letter), {"reason": "again"})
    with pytest.raises(Invalid):
        dead_letters.discard_one(str(other), {})


def test_many_are_given_up_with_a_confirmation_and_counted(broken, sql):
    broken(4)
    send("products", an_item("q", rate="much"))
    process.process()
    given = {"filter": {"entity_type": "product"}, "reason": "test data"}
    dry = dead_letters.discard(given | {"dry_run": True})
    assert dry["count"] == 5
    with pytest.raises(PreconditionFailed):
        dead_letters.discard(given)
    assert dead_letters.discard(given | {"confirm": dry["confirm"]})["discarded"] == 5
    assert listed()["total"] == 0
    assert status.dead_letters(Request("GET", "/"))["count"] == 0
    assert sql("select tidemark.total('discarded'), sum(cardinality(events)) from tidemark.interventions") == [[5, 5]]
    assert sql("select validation_errors is not null, resolved_by from tds_inbox_events where source_entity_id = 'q'") == [
        [True, "anna"]
    ]


def test_a_discarded_event_is_revived_by_nobody(broken, sql, turn_clock):
    broken(1)
    dead_letters.discard_one(str(letters(sql)[0]), {"reason": "x"})
    turn_clock(timedelta(days=3))
    assert heal.heal()["dlq_items_retried"] == 0
    assert sql("select status::text from tds_sync_queue") == [["failed"]]


# What the migration promises ---------------------------------------------------------------------------------------


def test_an_event_that_dies_again_is_the_same_cause_and_keeps_its_count(broken, sql):
    broken(1)
    sql("update tds_dead_letter_queue set auto_retries = 2")
    with db.transaction("operator") as tx:
        queue.revive(tx, letters(sql)[0], actor="x")
    process.process()
    assert sql("select count(distinct fingerprint), array_agg(auto_retries) from tds_dead_letter_queue") == [[1, [2, 2]]]


def test_a_failure_that_is_final_at_once_has_a_cause_as_well(sql):
    event = UUID(send("products", an_item())["event_id"])
    with db.transaction("worker") as tx:
        queue.fail_first(tx, [Failure(event, None, "test", "no 5")], priorities={}, attempts=3, worker="test")
    (group,) = listed()["groups"]
    assert (group["error_code"], group["cause"]) == ("test", "no 5")
    assert len(group["fingerprint"]) == 16
