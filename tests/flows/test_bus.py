"""The bus: what is told with a transaction is read once it is committed, in order, by everybody, and nothing is skipped."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest

from common import db, settings
from common.errors import Broken, Conflict, Unknown
from common.flows import bus
from common.rules import cursors, topics
from common.rules.cursors import Cursor
from common.rules.http import Request
from common.stores import notices
from tests import horizon
from tests.chaos.processes import eventually
from tests.horizon import trimmed


class Undone(Exception):
    """What makes a transaction fail."""


def tell(topic: str = "hxo.audit", *, count: int = 1, **more) -> None:
    """Tell, each in a transaction of its own, so that their order is the order of the calls."""
    for number in range(count):
        with db.transaction("worker") as tx:
            told(tx, topic, number=number, **more)


def told(tx, topic: str = "hxo.audit", number: int = 0, payload: dict | None = None, **more) -> bool:
    return notices.add(tx, topic, a_payload(topic, number) | (payload or {}), source="tests", **more)


def a_payload(topic: str, number: int = 0) -> dict:
    return dict.fromkeys(topics.TOPICS[topic], "x") | {"number": number}


def read(**arguments) -> dict:
    horizon.passed()
    return bus.events(Request("GET", "/api/genesis/events", "&".join(f"{name}={value}" for name, value in arguments.items())))


def poll(topic: str, **arguments) -> dict:
    query = "&".join(f"{name}={value}" for name, value in arguments.items())
    return bus.subscribe(Request("GET", f"/api/genesis/subscribe/{topic}", query), topic)


def numbers(found: dict) -> list[int]:
    return [event["payload"]["number"] for event in found["events"]]


# Order ----------------------------------------------------------------------------------------------------------------


def test_a_notice_has_the_whole_envelope(sql):
    tell("hxo.plan", correlation_id="a plan", dedupe_key="once")
    (event,) = read()["events"]
    assert list(event) == [
        "id", "ts", "topic", "source", "kind", "correlation_id", "causation_id", "schema", "payload", "dedupe_key", "seq",
    ]  # fmt: skip
    assert {"topic": "hxo.plan", "source": "tests", "kind": "fact", "correlation_id": "a plan", "dedupe_key": "once"}.items() <= (
        event.items()
    )
    assert event["schema"] == "genesis.event.v1"
    assert event["payload"] == a_payload("hxo.plan")


def test_a_notice_whose_transaction_fails_is_told_to_nobody(sql):
    def fail() -> None:
        with db.transaction("worker") as tx:
            told(tx)
            raise Undone

    with pytest.raises(Undone):
        fail()
    assert read()["count"] == 0


def test_one_that_commits_late_is_not_skipped_by_a_reader_who_was_there_before(sql):
    with db.transaction("worker") as slow:
        told(slow, number=1)
        tell(payload={"number": 2})
        before = read()
        assert numbers(before) == []  # the second is held back, or the first would be skipped
        assert bus.metrics()["held_back"] == 2 - 1  # as far as anybody but the first can see
    after = read(after=before["next"])
    assert numbers(after) == [1, 2]
    assert read(after=after["next"])["count"] == 0


def test_one_that_began_first_and_told_last_is_not_skipped_either(sql):
    with db.transaction("worker") as slow:
        slow.statement("select pg_current_xact_id()", {})
        tell(payload={"number": 2})
        cursor = read()["next"]
        told(slow, number=1)
    assert numbers(read(after=cursor)) == [1, 2]


def test_many_writers_at_once_are_read_by_pages_each_notice_once_and_in_one_order(sql):
    def write(first: int) -> None:
        for number in range(first, first + 20):
            with db.transaction("worker") as tx:
                told(tx, number=number)
                told(tx, number=number + 1000)

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 100, 20)]
    for thread in threads:
        thread.start()
    found: list[int] = []
    cursor = "0.0"
    while any(thread.is_alive() for thread in threads) or read(after=cursor)["count"]:
        page = read(after=cursor, limit=7)
        found += numbers(page)
        cursor = page["next"]
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted([*range(100), *range(1000, 1100)])
    assert found == [number for page in [read(limit=200)] for number in numbers(page)]


def test_reading_twice_from_the_same_place_gives_the_same(sql):
    tell(count=5)
    assert read(limit=3) == read(limit=3)
    assert numbers(read(after=read(limit=3)["next"])) == [3, 4]


def test_a_reader_of_a_quiet_topic_moves_on_with_the_others(sql):
    tell("tds.alert")
    cursor = read(topic="hxo.plan")["next"]
    assert read(after=cursor)["count"] == 0


@pytest.mark.parametrize(
    ("topic", "found"),
    [("hxo.plan", 1), ("hxo.*", 2), ("tds.*", 1), ("*", 3), ("hxo.aggregate.*", 0), ("tds.alert", 1)],
)
def test_a_topic_may_be_a_name_or_the_beginning_of_names(topic, found, sql):
    for each in ("hxo.plan", "hxo.audit", "tds.alert"):
        tell(each)
    assert read(topic=topic)["count"] == found
    assert bus.logs(Request("GET", "/", f"topic={topic}"))["count"] == found


@pytest.mark.parametrize("topic", ["hxo.plans", "hxo", "hx*", "", "hxo.nothing.*", "HXO.PLAN"])
def test_a_topic_that_there_is_not_is_an_error_that_lists_those_that_there_are(topic, sql):
    with pytest.raises(Unknown) as error:
        read(topic=topic)
    assert error.value.fields["topics"] == sorted(topics.TOPICS)


@pytest.mark.parametrize("after", ["x", "1", "1.", "-1.0", "1.0.0", "01.1", "9" * 30 + ".0"])
def test_a_cursor_that_is_none_is_refused(after, sql):
    with pytest.raises(Exception, match="'after'") as error:
        read(after=after)
    assert error.value.status == 422


def test_a_cursor_of_another_database_is_refused_instead_of_waiting_for_ever(sql):
    with pytest.raises(Exception, match="another database") as error:
        read(after="999999999.1")
    assert error.value.status == 422


# Admission --------------------------------------------------------------------------------------------------------------


def test_what_was_told_under_a_key_is_not_told_again(sql):
    with db.transaction("worker") as tx:
        assert told(tx, dedupe_key="one") is True
    with db.transaction("worker") as tx:
        assert told(tx, dedupe_key="one") is False
    assert read()["count"] == 1


def test_two_who_tell_the_same_at_once_tell_it_once(sql):
    with db.transaction("worker") as first:
        assert told(first, dedupe_key="one")
        said: list[bool] = []

        def second() -> None:
            with db.transaction("worker") as tx:
                said.append(told(tx, dedupe_key="one"))

        thread = threading.Thread(target=second)
        thread.start()
    thread.join()
    assert said == [False]
    assert read()["count"] == 1


@pytest.mark.parametrize(
    ("topic", "payload"),
    [("hxo.unheard.of", {}), ("hxo.plan", {"plan_id": 1}), ("hxo.audit", {"action": "x", "actor": "y" * topics.MOST_CHARACTERS})],
)
def test_a_wrong_notice_is_an_error_and_counted(topic, payload, sql):
    with pytest.raises(Broken), db.transaction("worker") as tx:
        notices.add(tx, topic, payload, source="tests")
    assert read()["count"] == 0
    assert bus.metrics()["refused"] == 1


def test_notices_that_lead_to_notices_end_after_ten(sql):
    cause = None
    for number in range(topics.DEEPEST + 1):
        with db.transaction("worker") as tx:
            assert told(tx, number=number, causation_id=cause)
        cause = read(limit=200)["events"][-1]["id"]
    with pytest.raises(Conflict), db.transaction("worker") as tx:
        told(tx, causation_id=cause)
    assert sql("select max(depth), count(*) from tidemark.notices") == [[topics.DEEPEST, topics.DEEPEST + 1]]
    assert bus.metrics()["refused"] == 1


# Bounds -----------------------------------------------------------------------------------------------------------------


def test_the_ten_thousand_and_first_evicts_the_oldest(sql):
    assert settings.load().hxo_event_cache_limit == 10_000
    sql(
        "insert into tidemark.notices (topic, source, kind, payload)"
        " select 'hxo.audit', 'tests', 'fact', jsonb_build_object('number', n) from generate_series(1, 10000) n"
    )
    assert trimmed() == 0
    tell()
    assert trimmed() == 1
    assert sql(
        "select min((payload->>'number')::int) filter (where source = 'tests' and seq < 10001), count(*) from tidemark.notices"
    ) == [[2, 10_000]]
    assert bus.metrics()["trimmed"] == 1


def test_the_limit_is_a_variable(sql, configured):
    configured(HXO_EVENT_CACHE_LIMIT="3")
    tell(count=5)
    trimmed()
    assert numbers(read()) == [2, 3, 4]


def test_a_reader_behind_what_is_gone_is_told_so_and_one_who_has_read_it_is_not(sql, configured):
    configured(HXO_EVENT_CACHE_LIMIT="3")
    tell()
    early = read()["next"]
    tell(count=5)
    trimmed()
    found = read(after=early)
    assert (found["gap"], found["gap_from"]) == (True, early)
    assert numbers(found) == [2, 3, 4]
    assert cursors.read(found["gap_to"]) < cursors.read(found["events"][0]["seq"])
    assert read(after=found["gap_to"])["gap"] is False
    assert read()["gap"] is False


def test_old_notices_go_though_there_are_few(sql, turn_clock):
    tell(count=2)
    turn_clock(timedelta(days=31))
    tell(payload={"number": 7})
    assert trimmed() == 2
    assert numbers(read()) == [7]


def test_trimming_never_touches_what_is_held_back(sql, configured):
    configured(HXO_EVENT_CACHE_LIMIT="1")
    with db.transaction("worker") as slow:
        told(slow, number=1)
        tell(count=4)
        assert trimmed() == 0
    assert trimmed() == 4
    assert read()["count"] == 1


def test_two_who_trim_at_once_do_it_once(sql, configured):
    configured(HXO_EVENT_CACHE_LIMIT="2")
    tell(count=9)
    done: list[int] = []
    threads = [threading.Thread(target=lambda: done.append(trimmed())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 7
    assert bus.metrics()["trimmed"] == 7


# Waiting ----------------------------------------------------------------------------------------------------------------


def test_a_poll_waits_for_what_comes_and_holds_no_transaction_meanwhile(sql):
    tell()
    cursor = read()["next"]
    found: list[dict] = []
    thread = threading.Thread(target=lambda: found.append(poll("hxo.*", after=cursor, wait=20)))
    began = time.monotonic()
    thread.start()
    eventually(lambda: bus._waiting._value < bus.MOST_WAITING, 5, "that the poll waits")
    assert sql(
        "select count(*) from pg_stat_activity where state like 'idle in transaction%' and datname = current_database()"
    ) == [[0]]
    tell("tds.alert")
    tell("hxo.plan")
    thread.join()
    assert [event["topic"] for event in found[0]["events"]] == ["hxo.plan"]
    assert time.monotonic() - began < 10


def test_a_poll_that_waits_in_vain_answers_in_time_and_with_a_cursor(sql, monkeypatch):
    tell("tds.alert")
    began = time.monotonic()
    found = poll("hxo.plan", wait=1)
    assert 1 <= time.monotonic() - began < 3
    assert (found["count"], found["gap"]) == (0, False)
    assert read(after=found["next"])["count"] == 0


def test_a_poll_waits_no_longer_than_its_function_may(sql, configured):
    configured(FUNCTION_TIMEOUT_SECONDS="1")
    began = time.monotonic()
    poll("hxo.plan", wait=25)
    assert time.monotonic() - began < 2


def test_more_polls_than_may_wait_are_answered_at_once(sql, monkeypatch):
    monkeypatch.setattr(bus, "_waiting", threading.BoundedSemaphore(1))
    assert bus._waiting.acquire(blocking=False)
    began = time.monotonic()
    assert poll("hxo.plan", wait=25)["count"] == 0
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("wait", ["26", "-1", "x", "1.5"])
def test_a_wait_beyond_the_longest_is_refused(wait, sql):
    with pytest.raises(Exception, match="'wait'"):
        poll("hxo.plan", wait=wait)


def test_cursors_are_compared_by_number_not_as_text():
    assert Cursor(9, 1) < Cursor(10, 0) < Cursor(10, 2) < Cursor(10, 10)
