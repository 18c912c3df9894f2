"""Subscribers are told of every notice at least once and in order, by whoever is there, each at its own pace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from common import db
from common.errors import Conflict, Invalid, Unknown
from common.flows import bus, publish, subscriptions, tick
from common.outgoing import subscribers
from common.rules import deliveries as waits
from common.rules import topics
from common.rules.cursors import Cursor
from common.stores import subscriptions as store
from tests import horizon
from tests.chaos.processes import eventually
from tests.flows.test_bus import read, tell
from tests.horizon import pushed, trimmed
from tests.house.tree import ROOT
from tests.outgoing.receivers import Hooks

STATE = "select state, attempts, last_error from tidemark.subscriptions"


@pytest.fixture
def receivers(configured):
    """Receivers that may be called though they are on this machine: `receivers(2)`."""
    made: list[Hooks] = []

    def make(count: int) -> list[Hooks]:
        made.extend(Hooks() for _ in range(count))
        configured(EGRESS_ALLOW=",".join(urlsplit(each.url).netloc for each in made))
        return made

    yield make
    for each in made:
        each.close()


@pytest.fixture
def receiver(receivers):
    """One of them."""
    return receivers(1)[0]


def all_pushed() -> int:
    """How many were delivered until nothing is left; what is told meanwhile may be held back for a moment."""
    total = 0
    while count := pushed():
        total += count
    return total


def subscribe(hooks: Hooks, *patterns: str, **more) -> str:
    horizon.passed()
    status, made = subscriptions.create({"topics": list(patterns or ["*"]), "url": hooks.url, **more})
    assert status == 201
    hooks.secret = made["secret"]
    return made["id"]


def numbers(hooks: Hooks) -> list[int]:
    return [body["data"]["payload"]["number"] for _, body in hooks.got if "number" in body["data"]["payload"]]


def said(hooks: Hooks) -> list[str]:
    return [body["type"] for _, body in hooks.got]


# When all is well ---------------------------------------------------------------------------------------------------------


def test_a_subscriber_is_told_of_its_topics_in_order_signed_and_once(sql, receiver):
    tell("hxo.plan", payload={"number": 100})  # before it subscribed
    subscribe(receiver, "hxo.*")
    for number, topic in enumerate(("hxo.plan", "tds.alert", "hxo.audit", "hxo.heal.trigger")):
        tell(topic, payload={"number": number})
    assert pushed() == 3
    assert pushed() == 0
    assert numbers(receiver) == [0, 2, 3]
    assert receiver.refused == 0
    identifier, body = receiver.got[0]
    assert body == {"type": "hxo.plan", "timestamp": body["data"]["ts"], "data": body["data"]}
    assert body["data"] == {**read()["events"][1]} | {"ts": body["data"]["ts"]}
    assert identifier != body["data"]["id"]  # another subscription of the same receiver has another


def test_two_subscriptions_of_one_receiver_have_ids_of_their_own(sql, receiver):
    first = subscribe(receiver)
    second = subscribe(receiver)
    receiver.secret = subscriptions.secrets(second)[0]
    tell()
    pushed()
    assert len(receiver.got) == receiver.refused == 1
    receiver.secret = subscriptions.secrets(first)[0]
    sql("update tidemark.subscriptions set ready_at = app_now()")
    pushed()
    assert len(set(receiver.ids)) == 2


def test_a_subscription_may_begin_in_the_past(sql, receiver):
    tell(count=3)
    after = read(limit=1)["next"]
    subscribe(receiver, after=after)
    pushed()
    assert numbers(receiver) == [1, 2]


def test_the_secret_is_shown_once_and_stands_in_no_table(sql, receiver):
    status, made = subscriptions.create({"topics": ["hxo.*"], "url": receiver.url})
    secret = made["secret"]
    assert (status, secret[:6], len(secret)) == (201, "whsec_", 50)
    row = sql("select to_jsonb(s)::text from tidemark.subscriptions s")[0][0]
    assert secret.removeprefix("whsec_") not in row
    for shown in (subscriptions.listed(), subscriptions.one(made["id"]), bus.metrics()):
        assert secret not in str(shown)
        assert "in-the-address" not in str(shown)


def test_while_our_key_is_changed_both_sign(sql, receiver, configured):
    allowed = os.environ["EGRESS_ALLOW"]
    configured(SEED_SECRET="s" * 32, EGRESS_ALLOW=allowed)
    subscribe(receiver)
    configured(SEED_SECRET="t" * 32, SEED_SECRET_PREVIOUS="s" * 32, EGRESS_ALLOW=allowed)
    tell()
    assert pushed() == 1
    configured(SEED_SECRET="t" * 32, SEED_SECRET_PREVIOUS="", EGRESS_ALLOW=allowed)
    tell()
    assert pushed() == 0
    assert receiver.refused == 1


def test_tick_tells_subscribers(sql, receiver):
    subscribe(receiver)
    tell()
    assert tick.tick().told == 1
    assert tick.tick().told == 0


def test_nothing_is_sent_while_genesis_is_disabled_and_nothing_is_forgotten(sql, receiver, configured):
    subscribe(receiver)
    tell()
    configured(GENESIS_ENABLED="false")
    assert (tick.tick().told, pushed(), receiver.requests) == (0, 0, 0)
    configured(GENESIS_ENABLED="true")
    assert pushed() == 1


def test_what_is_told_holds_no_secret(sql, receiver):
    subscribe(receiver)
    tell(payload={"api_token": "abc", "note": f"the key is {os.environ['SECRET_KEY']}"})
    pushed()
    payload = receiver.got[0][1]["data"]["payload"]
    assert "abc" not in payload["api_token"]
    assert os.environ["SECRET_KEY"] not in payload["note"]


def test_a_deleted_subscription_is_told_of_nothing(sql, receiver):
    identifier = subscribe(receiver)
    tell()
    assert subscriptions.delete(identifier)["success"] is True
    assert pushed() == 0
    for ask in (subscriptions.one, subscriptions.delete):
        with pytest.raises(Unknown):
            ask(identifier)


# What may be asked for -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"topics": ["hxo.nothing"]}, "/topics/0"),
        ({"topics": []}, "/topics"),
        ({"topics": "hxo.*"}, "/topics"),
        ({"topics": [1]}, "/topics"),
        ({"topics": ["hxo.*"] * 51}, "/topics"),
        ({"url": "http://169.254.169.254/latest"}, "/url"),
        ({"url": "https://localhost/x"}, "/url"),
        ({"url": "https://10.0.0.1/x"}, "/url"),
        ({"url": "ftp://example.com"}, "/url"),
        ({"url": 7}, "/url"),
        ({"url": None}, "/url"),
        ({"after": "x"}, "/after"),
        ({"after": 7}, "/after"),
        ({"secret": "whsec_mine"}, "/secret"),
        ({"topic": "hxo.*"}, "/topic"),
    ],
)
def test_what_cannot_be_subscribed_is_refused_with_a_pointer(given, pointer, sql, receiver):
    with pytest.raises(Invalid) as error:
        subscriptions.create({"topics": ["hxo.*"], "url": receiver.url} | given)
    assert [fault["pointer"] for fault in error.value.fields["errors"]] == [pointer]
    assert error.value.fields["topics"] == sorted(topics.TOPICS)
    assert subscriptions.listed()["count"] == 0


def test_there_may_be_so_many_and_no_more(sql, receiver, monkeypatch):
    monkeypatch.setattr(subscriptions, "MOST", 2)
    subscribe(receiver)
    subscribe(receiver)
    with pytest.raises(Conflict, match="2 live"):
        subscribe(receiver)


def test_an_address_that_leads_inside_by_the_time_it_is_called_is_not_called(sql, receiver, configured):
    subscribe(receiver)
    tell()
    configured(EGRESS_ALLOW="127.0.0.1:1")
    assert pushed() == 0
    assert receiver.requests == 0
    assert "not called" in sql(STATE)[0][2]


# When the receiver is not ---------------------------------------------------------------------------------------------------


def test_a_subscriber_that_was_down_gets_everything_in_order_when_it_is_up(sql, receiver, turn_clock):
    subscribe(receiver)
    receiver.status = 503
    tell(count=3)
    for _ in range(3):
        assert pushed() == 0
        turn_clock(timedelta(hours=3))
    assert receiver.requests == 3
    receiver.status = 204
    assert pushed() == 3
    assert numbers(receiver) == [0, 1, 2]
    assert sql(STATE) == [["live", 0, None]]


def test_a_subscriber_that_is_down_is_waited_for_as_long_as_the_schedule_says(sql, receiver, turn_clock):
    subscribe(receiver)
    receiver.status = 400
    tell()
    taken = []
    for _ in range(waits.MOST_ATTEMPTS):
        pushed()
        left = sql("select extract(epoch from ready_at - app_now())::float8, state from tidemark.subscriptions")[0]
        taken.append(left)
        turn_clock(timedelta(seconds=left[0] + 1))
    for (wait, state), wanted in zip(taken, waits.WAITS, strict=False):
        assert state == "live"
        assert wanted.total_seconds() - 1 <= wait <= wanted.total_seconds() * 1.1
    assert taken[-1][1] == "closed"
    assert sql("select severity::text from tds_alerts where alert_type like 'subscription_untold:%'") == [["error"]]
    assert pushed() == 0


def test_a_subscriber_that_is_down_or_hangs_does_not_stop_the_others(sql, receivers, monkeypatch):
    monkeypatch.setattr(subscribers, "SECONDS", 8)
    down, hung, well = receivers(3)
    leave = threading.Event()
    hung.before = lambda _: leave.wait(10) and None
    down.status = 500
    for each in (down, hung, well):
        subscribe(each)
    tell(count=20)
    thread = threading.Thread(target=pushed)
    thread.start()
    eventually(lambda: len(well.got) == 20, 6, "that the one that is well was told while the other hangs")
    leave.set()
    thread.join()
    assert numbers(well) == list(range(20))


def test_a_receiver_that_is_gone_closes_its_subscription_and_no_other(sql, receivers):
    gone, well = receivers(2)
    identifier = subscribe(gone, "hxo.*")
    subscribe(well, "hxo.*")
    gone.status = 410
    tell()
    assert pushed() == 1
    assert subscriptions.one(identifier)["state"] == "closed"
    assert "410" in subscriptions.one(identifier)["reason"]
    tell()
    pushed()
    assert gone.requests == 1


def test_too_many_requests_are_waited_out_for_as_long_as_the_receiver_says(sql, receiver):
    subscribe(receiver)
    receiver.status, receiver.headers = 429, {"Retry-After": "900"}
    tell()
    pushed()
    assert sql("select ready_at - app_now() > interval '14 minutes' from tidemark.subscriptions") == [[True]]


def test_a_redirect_is_not_followed(sql, receivers):
    first, elsewhere = receivers(2)
    subscribe(first)
    first.status, first.headers = 307, {"Location": elsewhere.url}
    tell()
    assert pushed() == 0
    assert elsewhere.requests == 0


def test_that_a_subscriber_takes_nothing_is_an_alert_and_its_end_when_it_does(sql, receiver, turn_clock):
    subscribe(receiver)
    receiver.status = 400
    tell()
    for wait in (0, 6, 331, 1981):
        turn_clock(timedelta(seconds=wait))
        pushed()
    alert = "select severity::text, resolved from tds_alerts where alert_type like 'subscription_untold:%'"
    assert sql(alert) == [["warning", False]]
    receiver.status = 200
    turn_clock(timedelta(hours=3))
    pushed()
    assert sql(alert) == [["warning", True]]


# What is gone ---------------------------------------------------------------------------------------------------------------


def test_a_subscriber_that_missed_what_was_trimmed_is_told_so_before_the_rest(sql, receiver, configured):
    allowed = os.environ["EGRESS_ALLOW"]
    configured(HXO_EVENT_CACHE_LIMIT="3", EGRESS_ALLOW=allowed)
    before = read()["next"]
    identifier = subscribe(receiver, "hxo.*")
    tell(count=8)
    trimmed()
    assert subscriptions.one(identifier)["lost"] == 5
    assert pushed() == 4
    (_, gap), *rest = receiver.got
    assert (gap["type"], gap["data"]["kind"], gap["data"]["payload"]) == (
        "genesis.gap",
        "control",
        {"from": before, "to": read()["gap_to"] or gap["data"]["seq"], "lost": 5},
    )
    assert [body["data"]["payload"]["number"] for _, body in rest] == [5, 6, 7]
    assert (subscriptions.one(identifier)["lost"], pushed()) == (0, 0)


def test_a_gap_that_grows_while_it_is_told_is_told_in_two(sql, receiver, configured):
    configured(HXO_EVENT_CACHE_LIMIT="3", EGRESS_ALLOW=os.environ["EGRESS_ALLOW"])
    subscribe(receiver)
    tell(count=6)
    trimmed()

    def more(body: dict) -> None:
        if body["type"] == "genesis.gap" and receiver.requests == 1:
            tell(count=2, payload={"late": True})
            trimmed()

    receiver.before = more
    pushed()
    gaps = [body["data"]["payload"] for _, body in receiver.got if body["type"] == "genesis.gap"]
    assert [gap["lost"] for gap in gaps] == [3, 2]
    assert gaps[0]["to"] == gaps[1]["from"]
    assert numbers(receiver) == [5, 0, 1]


def test_what_is_trimmed_while_it_is_on_its_way_arrives_all_the_same_and_is_no_gap(sql, receiver, configured):
    configured(HXO_EVENT_CACHE_LIMIT="3", EGRESS_ALLOW=os.environ["EGRESS_ALLOW"])
    subscribe(receiver)
    tell(count=6)

    def trim(_: dict) -> None:
        if receiver.requests == 1:
            trimmed()

    receiver.before = trim
    pushed()
    assert numbers(receiver) == list(range(6))
    assert said(receiver) == ["hxo.audit"] * 6
    assert sql("select lost, lost_seq from tidemark.subscriptions") == [[0, None]]
    assert pushed() == 0


def test_a_subscriber_of_other_topics_misses_nothing_by_a_trimming(sql, receiver, configured):
    configured(HXO_EVENT_CACHE_LIMIT="3", EGRESS_ALLOW=os.environ["EGRESS_ALLOW"])
    subscribe(receiver, "tds.alert")
    tell(count=8)
    tell("tds.alert")
    trimmed()
    pushed()
    assert said(receiver) == ["tds.alert"]


def test_a_database_that_was_restored_from_another_cluster_goes_on_telling(sql, receiver, configured):
    configured(HXO_EVENT_CACHE_LIMIT="3", EGRESS_ALLOW=os.environ["EGRESS_ALLOW"])
    subscribe(receiver)
    tell(count=5)
    pushed()
    trimmed()
    for table in ("notices", "trimmed", "subscriptions"):  # whose transactions were numbered far higher
        sql(f"update tidemark.{table} set xid = (xid::text::bigint + 1000000000)::text::xid8")
    tell(payload={"number": 7})
    tick.tick()
    tell(payload={"number": 8})
    tick.tick()
    assert numbers(receiver) == [0, 1, 2, 3, 4, 7, 8]
    assert [event["payload"]["number"] for event in read()["events"] if event["topic"] == "hxo.audit"][-2:] == [7, 8]


# When the sender is not -------------------------------------------------------------------------------------------------------


def killed(code: str) -> None:
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


TELL = """
import os, signal
from common import db
from common.flows import publish
from common.stores import notices, subscriptions
with db.transaction("worker") as tx:
    notices.add(tx, "hxo.audit", {"action": "x", "actor": "y", "number": 1}, source="tests")
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.process
def test_who_is_killed_between_commit_and_delivery_leaves_it_to_the_next(sql, receiver):
    subscribe(receiver)
    killed(TELL + KILL)
    assert pushed() == 1
    assert numbers(receiver) == [1]


@pytest.mark.process
def test_who_is_killed_between_delivery_and_writing_it_down_has_the_next_tell_it_with_the_same_id(sql, receiver, turn_clock):
    subscribe(receiver)
    killed(
        TELL + f"subscriptions.advance = lambda *_, **__: {KILL}\nfrom tests import horizon\nhorizon.passed()\npublish.publish()"
    )
    assert len(receiver.got) == 1
    assert pushed() == 0  # its lease still counts
    turn_clock(store.LEASE)
    assert pushed() == 1
    assert len(receiver.ids) == 2
    assert len(set(receiver.ids)) == 1
    assert sql(STATE) == [["live", 0, None]]


@pytest.mark.process
def test_what_was_not_committed_is_told_to_nobody(sql, receiver):
    subscribe(receiver)
    killed(TELL + "    " + KILL)
    assert pushed() == 0


def test_a_notice_that_kills_every_sender_closes_the_subscription(sql, receiver, turn_clock):
    subscribe(receiver)
    tell()
    for _ in range(waits.MOST_ATTEMPTS):
        horizon.passed()
        with db.transaction("worker") as tx:
            assert store.take(tx)
        turn_clock(store.LEASE)
    assert pushed() == 0
    assert sql("select state from tidemark.subscriptions") == [["closed"]]
    assert receiver.requests == 0


def test_two_senders_at_once_tell_each_notice_once_and_in_order(sql, receivers):
    made = receivers(3)
    for each in made:
        subscribe(each)
    tell(count=15)
    threads = [threading.Thread(target=pushed) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [numbers(each) for each in made] == [list(range(15))] * 3


def test_a_sender_that_comes_back_after_its_lease_writes_nothing(sql, receiver, turn_clock):
    subscribe(receiver)
    tell(count=2)
    horizon.passed()
    with db.transaction("worker") as tx:
        late = store.take(tx)
    turn_clock(store.LEASE)
    assert pushed() == 2
    upto = sql("select xid::text, seq from tidemark.subscriptions")
    with db.transaction("worker") as tx:
        assert not store.advance(tx, late, Cursor(10**15, 0))
        assert not store.give_back(tx, late, Cursor(10**15, 0))
        assert not store.put_off(tx, late, wait=timedelta(1), error="late")
        assert not store.close(tx, late, reason="late")
    assert sql("select xid::text, seq from tidemark.subscriptions") == upto


def test_what_cannot_even_be_written_keeps_no_other_back(sql, receivers, monkeypatch):
    odd, even = receivers(2)
    first = subscribe(odd, "hxo.audit")
    subscribe(even, "hxo.plan")
    real = publish.secrets

    def fussy(identifier: str) -> list[str]:
        if identifier == first:
            raise ValueError
        return real(identifier)

    monkeypatch.setattr(publish, "secrets", fussy)
    tell("hxo.audit")
    tell("hxo.plan")
    assert pushed() == 1
    assert sql("select last_error from tidemark.subscriptions where last_error is not null") == [
        ["It could not be sent (ValueError)."]
    ]


# A subscriber that publishes ---------------------------------------------------------------------------------------------------


def test_a_subscriber_that_publishes_while_it_is_told_does_not_deadlock_and_is_told_of_that_in_its_turn(sql, receiver):
    subscribe(receiver)
    told = []

    def publishes(body: dict) -> None:
        number = body["data"]["payload"]["number"]
        told.append(number)
        if number < 5:
            tell(payload={"number": number + 1}, causation_id=body["data"]["id"])

    receiver.before = publishes
    tell()
    began = time.monotonic()
    assert all_pushed() == 6
    assert time.monotonic() - began < 5
    assert told == [0, 1, 2, 3, 4, 5]
    assert sql("select max(depth) from tidemark.notices") == [[5]]


def test_two_subscribers_that_answer_each_other_go_round_ten_times_and_no_more(sql, receivers):
    made = receivers(2)
    for each in made:
        subscribe(each, "hxo.audit")

    def answers(body: dict) -> None:
        tell(causation_id=body["data"]["id"], dedupe_key=body["data"]["id"])

    made[0].before = lambda body: _quietly(answers, body)
    made[1].before = lambda body: _quietly(answers, body)
    tell()
    all_pushed()
    assert sql("select max(depth), count(*) from tidemark.notices") == [[topics.DEEPEST, topics.DEEPEST + 1]]
    assert pushed() == 0


def _quietly(answers, body: dict) -> None:
    try:
        answers(body)
    except Conflict:
        return
