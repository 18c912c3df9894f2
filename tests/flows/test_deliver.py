"""People are told of alerts: at least once, with an id that stays, by whoever is there, and not more often than things change."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from common import db, log
from common.flows import deliver, tick
from common.outgoing import breakers, hooks, mail
from common.rules import deliveries as rules
from common.stores import alerts, deliveries
from tests.chaos.processes import eventually
from tests.house.tree import ROOT
from tests.outgoing.receivers import OTHER, SECRET, Hooks, Mail

STATES = "select channel, kind, state from tidemark.deliveries where channel = '{}' order by created_at, kind"


class Undone(Exception):
    """What makes a transaction fail."""


@pytest.fixture
def receiver(configured):
    """A webhook receiver that this process's settings point at."""
    hooks_ = Hooks()
    configured(ALERT_WEBHOOK_URL=hooks_.url, ALERT_WEBHOOK_SECRET=SECRET)
    breakers._known.clear()
    yield hooks_
    hooks_.close()


@pytest.fixture
def postbox(configured):
    """A mail server that this process's settings point at."""
    mail_ = Mail()
    configured(SMTP_URL=mail_.url(), ALERT_EMAIL_FROM="tidemark@example.com", ALERT_EMAIL_TO="ann@example.com, bob@example.com")
    breakers._known.clear()
    yield mail_
    mail_.close()


def alert(name: str = "backlog", severity: str = "warning", entity: str | None = None, **more) -> None:
    with db.transaction("worker") as tx:
        alerts.raise_alert(tx, alert_type=name, severity=severity, title=f"About {name}", message="It grew.", entity=entity, **more)


def over(name: str = "backlog") -> None:
    with db.transaction("worker") as tx:
        assert alerts.resolve(tx, alert_type=name)


def states(sql, channel: str = "webhook") -> list[tuple[str, str]]:
    return [(kind, state) for _, kind, state in sql(STATES.format(channel))]


# When all is well -----------------------------------------------------------------------------------------------------


def test_an_alert_and_its_end_are_told_once_each(sql, receiver):
    alert(entity="product", affected=3, metadata={"rows": 7})
    assert deliver.deliver() == 1
    assert deliver.deliver() == 0
    with db.transaction("worker") as tx:
        alerts.resolve(tx, alert_type="backlog", entity="product")
    assert deliver.deliver() == 1
    assert receiver.said == [("opened", "backlog"), ("resolved", "backlog")]
    first, last = (body for _, body in receiver.got)
    assert (first["type"], first["timestamp"][-1:]) == ("tds.alert", "Z")
    assert {"entity_type": "product", "severity": "warning", "title": "About backlog", "state": "open"}.items() <= first[
        "data"
    ].items()
    assert (first["data"]["affected_count"], first["data"]["metadata"]) == (3, {"rows": 7})
    assert (last["data"]["state"], last["data"]["resolved_by"]) == ("resolved", "tidemark")
    assert len(set(receiver.ids)) == 2
    assert sql("select tidemark.total('delivered')") == [[2]]
    assert states(sql) == [("opened", "sent"), ("resolved", "sent")]


def test_tick_delivers_as_its_last_part(receiver):
    alert()
    assert tick.tick().delivered == 1
    assert list(tick.PARTS)[-1] == "delivered"


def test_an_alert_that_stays_as_it_is_is_told_once_however_often_it_is_raised(sql, receiver):
    for count in range(5):
        alert(affected=count)
        deliver.deliver()
    assert receiver.said == [("opened", "backlog")]


def test_an_alert_that_gets_worse_is_told_again_and_one_that_gets_better_is_not(receiver):
    for severity in ("warning", "critical", "error", "warning"):
        alert(severity=severity)
        deliver.deliver()
    assert receiver.said == [("opened", "backlog"), ("worsened", "backlog")]
    assert [body["data"]["severity"] for _, body in receiver.got] == ["warning", "critical"]


def test_acknowledging_tells_nobody(sql, receiver):
    alert()
    deliver.deliver()
    sql("update tds_alerts set acknowledged = true, acknowledged_at = app_now(), acknowledged_by = 'Ann'")
    assert deliver.deliver() == 0


def test_an_alert_that_flaps_is_told_in_pairs_of_one_opening_and_one_end(sql, receiver):
    for _ in range(3):
        alert()
        alert()
        over()
        deliver.deliver()
    assert receiver.said == [("opened", "backlog"), ("resolved", "backlog")] * 3


def test_an_alert_whose_transaction_fails_is_told_to_nobody(sql, receiver):
    def fail() -> None:
        with db.transaction("worker") as tx:
            alerts.raise_alert(tx, alert_type="backlog", severity="error", title="t", message="m")
            raise Undone

    with pytest.raises(Undone):
        fail()
    assert deliver.deliver() == 0
    assert sql("select count(*) from tidemark.deliveries") == [[0]]


def test_two_secrets_sign_while_one_takes_the_others_place(configured, receiver):
    configured(ALERT_WEBHOOK_URL=receiver.url, ALERT_WEBHOOK_SECRET=f"{OTHER},{SECRET}")
    alert()
    assert deliver.deliver() == 1
    assert receiver.refused == 0


def test_a_wrong_secret_is_refused_by_the_receiver_and_tried_again(sql, configured, receiver, turn_clock):
    configured(ALERT_WEBHOOK_URL=receiver.url, ALERT_WEBHOOK_SECRET=OTHER)
    alert()
    assert deliver.deliver() == 0
    assert sql("select last_error from tidemark.deliveries where channel = 'webhook'") == [
        ["The receiver of alerts answered status 401."]
    ]
    configured(ALERT_WEBHOOK_URL=receiver.url, ALERT_WEBHOOK_SECRET=SECRET)
    turn_clock(timedelta(seconds=6))
    assert deliver.deliver() == 1


# When the receiver is not -----------------------------------------------------------------------------------------------


def test_a_receiver_that_was_down_gets_it_when_it_is_up_with_the_same_id(sql, receiver, turn_clock):
    seen = []
    receiver.before = lambda body: seen.append(body["data"]["id"])
    receiver.status = 503
    alert()
    for _ in range(4):
        assert deliver.deliver() == 0
        turn_clock(timedelta(minutes=34))
    found = sql("select attempts, state from tidemark.deliveries where document->>'alert_type' = 'backlog' and channel = 'webhook'")
    assert found == [[4, "due"]]
    receiver.status = 200
    turn_clock(timedelta(hours=2, minutes=12))
    deliver.deliver()
    told = [each for each in receiver.got if each[1]["data"]["alert_type"] == "backlog"]
    assert len(told) == 1
    assert told[0][0] == str(
        sql("select id from tidemark.deliveries where channel = 'webhook' and document->>'alert_type' = 'backlog'")[0][0]
    )
    assert seen.count(told[0][1]["data"]["id"]) == 5


def test_attempts_follow_the_schedule_and_the_tenth_is_the_last(sql, receiver, turn_clock):
    receiver.status = 400
    alert()
    waits = []
    for _ in range(10):
        deliver.deliver()
        left = sql(
            "select extract(epoch from ready_at - app_now())::float8 from tidemark.deliveries where document->>'alert_type' = 'backlog' and channel = 'webhook'"
        )[0][0]
        waits.append(left)
        turn_clock(timedelta(seconds=(left or 0) + 1))
    for wait, wanted in zip(waits, rules.WAITS, strict=False):
        assert wanted.total_seconds() - 1 <= wait <= wanted.total_seconds() * 1.1
    assert waits[-1] is None
    found = sql(
        "select state, attempts, last_error from tidemark.deliveries where document->>'alert_type' = 'backlog' and channel = 'webhook'"
    )
    assert found == [["failed", 10, "The receiver of alerts answered status 400."]]
    assert sql("select tidemark.total('undelivered')") == [[1]]


def test_a_receiver_that_is_down_is_called_five_times_and_then_probed(sql, receiver, turn_clock):
    receiver.status = 500
    for number in range(12):
        alert(f"alert {number}")
    deliver.deliver()
    assert receiver.requests == 5
    for _ in range(5):
        turn_clock(timedelta(seconds=10))
        deliver.deliver()
    assert receiver.requests == 5
    assert sql("select count(*) from tidemark.deliveries where channel = 'webhook' and attempts = 0") == [
        [8]
    ]  # the breaker's own alert too
    receiver.status = 204
    turn_clock(timedelta(seconds=11))
    deliver.deliver()
    turn_clock(timedelta(minutes=6))
    deliver.deliver()
    assert {name for _, name in receiver.said} == {f"alert {number}" for number in range(12)} | {"breaker_open:alert_webhook"}
    assert len(receiver.ids) == len(set(receiver.ids))


def test_a_receiver_that_hangs_costs_a_bounded_time(sql, receiver, monkeypatch):
    monkeypatch.setattr(hooks, "SECONDS", 0.1)
    monkeypatch.setattr(deliver, "SECONDS", 0.3)
    leave = threading.Event()
    receiver.before = lambda _: leave.wait(10) and None
    for number in range(30):
        alert(f"alert {number}")
    began = time.monotonic()
    assert deliver.deliver() == 0
    leave.set()
    assert time.monotonic() - began < 2
    assert receiver.requests <= 5


def test_one_pass_sends_twenty_at_most(receiver):
    for number in range(25):
        alert(f"alert {number}")
    assert [deliver.deliver(), deliver.deliver()] == [20, 5]
    assert [name for _, name in receiver.said] == [f"alert {number}" for number in range(25)]


def test_too_many_requests_are_waited_out_and_open_no_breaker(sql, receiver, turn_clock):
    receiver.status, receiver.headers = 429, {"Retry-After": "900"}
    for number in range(8):
        alert(f"alert {number}")
    deliver.deliver()
    assert receiver.requests == 8
    assert sql("select min(ready_at - app_now()) > interval '14 minutes' from tidemark.deliveries where channel = 'webhook'") == [
        [True]
    ]
    assert sql("select state from tidemark.breakers where name = 'alert_webhook'") == [["closed"]]


def test_a_redirect_is_not_followed(receiver):
    elsewhere = Hooks()
    receiver.status, receiver.headers = 307, {"Location": elsewhere.url}
    alert()
    assert deliver.deliver() == 0
    assert elsewhere.requests == 0
    elsewhere.close()


def test_who_is_gone_is_told_nothing_more_until_the_address_is_another(sql, receiver, configured):
    receiver.status = 410
    alert()
    deliver.deliver()
    alert("another")
    assert deliver.deliver() == 0
    assert receiver.requests == 1
    assert {state for _, state in states(sql)} == {"skipped"}
    assert ["alerts_unwanted:webhook", "error"] in sql("select alert_type, severity::text from tds_alerts where not resolved")
    moved = Hooks()
    configured(ALERT_WEBHOOK_URL=moved.url, ALERT_WEBHOOK_SECRET=SECRET)
    alert("a third")
    deliver.deliver()
    assert set(moved.said) == {("opened", "a third"), ("resolved", "alerts_unwanted:webhook")}
    moved.close()


def test_what_was_told_later_makes_what_is_still_due_from_before_needless(sql, receiver, turn_clock):
    receiver.status = 503
    alert()
    deliver.deliver()
    deliver_again = timedelta(seconds=6)
    turn_clock(deliver_again)
    deliver.deliver()
    receiver.status = 200
    over()
    assert deliver.deliver() == 1
    turn_clock(timedelta(hours=1))
    assert deliver.deliver() == 0
    assert receiver.said == [("resolved", "backlog")]
    assert states(sql) == [("opened", "superseded"), ("resolved", "sent")]


def test_that_alerts_do_not_arrive_is_an_alert_of_its_own(sql, receiver, turn_clock):
    receiver.status = 400
    alert()
    for wait in (0, 6, 331, 1981):
        turn_clock(timedelta(seconds=wait))
        deliver.deliver()
    assert sql("select severity::text, resolved from tds_alerts where alert_type = 'alerts_undelivered:webhook'") == [
        ["warning", False]
    ]
    receiver.status = 200
    turn_clock(timedelta(hours=3))
    deliver.deliver()
    assert sql("select resolved from tds_alerts where alert_type = 'alerts_undelivered:webhook'") == [[True]]


# When the sender is not --------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_sender_killed_between_sending_and_writing_it_down_has_the_next_send_the_same_id(sql, receiver, turn_clock):
    alert()
    code = """
import os, signal
from common.flows import deliver
from common.stores import deliveries
deliveries.send = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
deliver.deliver()
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert deliver.deliver() == 0  # its lease still counts
    turn_clock(deliveries.LEASE)
    assert deliver.deliver() == 1
    assert len(receiver.ids) == 2
    assert len(set(receiver.ids)) == 1
    assert sql("select attempts, state from tidemark.deliveries where channel = 'webhook'") == [[2, "sent"]]


def test_a_delivery_that_kills_every_sender_is_given_up(sql, receiver, turn_clock):
    alert()
    for _ in range(rules.MOST_ATTEMPTS):
        with db.transaction("worker") as tx:
            assert deliveries.take(tx, "webhook", limit=1)
        turn_clock(deliveries.LEASE)
    assert deliver.deliver() == 0
    assert sql("select state from tidemark.deliveries where document->>'alert_type' = 'backlog' and channel = 'webhook'") == [
        ["failed"]
    ]


def test_two_senders_at_once_send_each_alert_once(database_url, receiver):
    for number in range(12):
        alert(f"alert {number}")
    together = threading.Barrier(3)

    def go() -> int:
        together.wait()
        return deliver.deliver()

    with ThreadPoolExecutor(3) as pool:
        assert sum(future.result() for future in [pool.submit(go) for _ in range(3)]) == 12
    assert len(receiver.ids) == len(set(receiver.ids)) == 12


def test_a_sender_that_comes_back_after_its_lease_writes_nothing(sql, receiver, turn_clock):
    alert()
    with db.transaction("worker") as tx:
        late = deliveries.take(tx, "webhook", limit=1)
    turn_clock(deliveries.LEASE)
    assert deliver.deliver() == 1
    with db.transaction("worker") as tx:
        assert deliveries.send(tx, late) == 0
        assert deliveries.put_off(tx, [(late[0], 5.0)], error="late") == 0
    assert sql("select state, last_error from tidemark.deliveries where channel = 'webhook'") == [["sent", None]]
    assert sql("select tidemark.total('delivered')") == [[1]]


def test_what_cannot_even_be_written_keeps_nothing_else_back(sql, receiver, monkeypatch):
    real = rules.payload

    def fussy(taken):
        if taken.document["alert_type"] == "odd":
            raise ValueError
        return real(taken)

    monkeypatch.setattr(rules, "payload", fussy)
    alert("odd")
    alert("even")
    assert deliver.deliver() == 1
    assert receiver.said == [("opened", "even")]
    assert sql("select last_error from tidemark.deliveries where channel = 'webhook' and document->>'alert_type' = 'odd'") == [
        ["It could not be sent (ValueError)."]
    ]


# By mail ------------------------------------------------------------------------------------------------------------------


def test_a_few_alerts_are_a_mail_each(sql, postbox):
    alert("backlog", "error", entity="invoice", affected=3)
    alert("lag")
    assert deliver.deliver() == 2
    assert postbox.subjects == ["[Tidemark] error: About backlog", "[Tidemark] warning: About lag"]
    assert postbox.recipients == [["ann@example.com", "bob@example.com"]] * 2
    first = postbox.got[0]
    assert (first["From"], first["To"]) == ("tidemark@example.com", "ann@example.com, bob@example.com")
    assert first["Message-ID"] == f"<{sql(STATES.format('email').replace('channel, kind, state', 'id'))[0][0]}@example.com>"
    assert all(part in first.get_content() for part in ("It grew.", "Of: invoice", "Affected: 3"))


def test_many_alerts_at_once_are_one_mail_the_worst_first(sql, postbox):
    for number in range(6):
        alert(f"alert {number}", "critical" if number == 4 else "warning")
    assert deliver.deliver() == 6
    assert postbox.subjects == ["[Tidemark] 6 alerts, the worst: critical"]
    text = postbox.got[0].get_content()
    assert text.index("About alert 4") < text.index("About alert 0") < text.index("About alert 5")
    assert {state for _, state in states(sql, "email")} == {"sent"}


def test_a_setting_says_how_many_are_many(sql, postbox):
    sql("update tidemark.settings set value = '1' where key = 'alerts.digest_above'")
    alert("one")
    alert("two")
    assert deliver.deliver() == 2
    assert len(postbox.got) == 1


def test_a_mail_that_was_not_taken_is_the_same_mail_later(sql, postbox, turn_clock):
    alert()
    postbox.answers["DATA"] = b"451 later"
    assert deliver.deliver() == 0
    postbox.answers.clear()
    turn_clock(timedelta(seconds=6))
    assert deliver.deliver() == 1
    assert len(postbox.got) == 1


@pytest.mark.parametrize(
    ("command", "answer", "failed"),
    [
        ("connect", b"421 closing", 1),
        ("MAIL", b"421 closing", 1),
        ("RCPT", b"550 nobody of that name", 0),
        ("RCPT", b"450 later", 0),
    ],
)
def test_a_server_that_is_down_counts_for_its_breaker_and_one_that_says_no_does_not(sql, postbox, command, answer, failed):
    postbox.answers[command] = answer
    alert()
    assert deliver.deliver() == 0
    assert sql("select failed from tidemark.breakers where name = 'smtp'") == [[failed]]
    assert answer[4:].decode() in sql("select last_error from tidemark.deliveries where channel = 'email'")[0][0]


def test_a_line_break_in_an_alert_ends_no_header(postbox):
    with db.transaction("worker") as tx:
        alerts.raise_alert(tx, alert_type="x", severity="error", title="One\r\nBcc: eve@example.com", message="m\r\n.\r\nm")
    assert deliver.deliver() == 1
    assert postbox.subjects == ["[Tidemark] error: One Bcc: eve@example.com"]
    assert postbox.got[0]["Bcc"] is None
    assert postbox.recipients == [["ann@example.com", "bob@example.com"]]


def test_both_channels_are_told_and_one_that_is_down_keeps_the_other_from_nothing(sql, postbox, receiver, configured):
    receiver.status = 500
    alert()
    assert deliver.deliver() == 1
    assert len(postbox.got) == 1
    assert (states(sql), states(sql, "email")) == ([("opened", "due")], [("opened", "sent")])


# Whether at all -------------------------------------------------------------------------------------------------------------


def test_where_nothing_is_set_up_nothing_piles_up(sql, database_url):
    alert()
    assert deliver.deliver() == 0
    assert sql("select distinct state, ready_at is null, ended_at is null from tidemark.deliveries") == [["skipped", True, False]]


def test_switched_off_nothing_goes_out(sql, receiver, configured):
    configured(GENESIS_ENABLED="false")
    alert()
    assert deliver.deliver() == 0
    configured(GENESIS_ENABLED="true")
    assert deliver.deliver() == 0  # what was passed over stays so
    alert("later")
    assert deliver.deliver() == 1
    assert receiver.said == [("opened", "later")]


def test_what_was_told_long_ago_is_forgotten(sql, receiver, turn_clock):
    alert()
    deliver.deliver()
    turn_clock(timedelta(days=31))
    deliver.deliver()
    assert sql("select kind from tidemark.deliveries where kind = 'opened'") == []


# Reminders ------------------------------------------------------------------------------------------------------------------


def test_what_is_bad_and_acknowledged_by_nobody_is_told_again_after_1_4_and_24_hours(receiver, turn_clock):
    alert("bad", "error")
    alert("harmless", "warning")
    told = []
    for hour in range(60):
        if deliver.deliver() and hour:
            told.append(hour)
        turn_clock(timedelta(hours=1))
    assert told == [1, 4, 24]
    assert receiver.said[2:] == [("reminder", "bad")] * 3
    assert [body["data"]["open_hours"] for _, body in receiver.got[2:]] == [1, 4, 24]


@pytest.mark.parametrize("change", ["acknowledged = true", "resolved = true, is_active = false"])
def test_nobody_is_reminded_of_what_somebody_knows_or_what_is_over(sql, receiver, turn_clock, change):
    alert("bad", "critical")
    deliver.deliver()
    sql(f"update tds_alerts set {change}")
    deliver.deliver()
    before = len(receiver.got)
    turn_clock(timedelta(hours=5))
    assert deliver.deliver() == 0
    assert len(receiver.got) == before


def test_after_an_outage_only_the_latest_reminder_is_sent(receiver, turn_clock):
    alert("bad", "error")
    deliver.deliver()
    turn_clock(timedelta(hours=30))
    assert [deliver.deliver(), deliver.deliver()] == [1, 0]
    assert receiver.got[-1][1]["data"]["open_hours"] == 24


def test_two_that_remind_at_once_remind_once(sql, receiver, turn_clock, database_url):
    alert("bad", "error")
    deliver.deliver()
    turn_clock(timedelta(hours=2))
    other = db.Connection(db.Address(database_url))
    other.script("begin; set local role tidemark_worker; " + db.queries()["deliveries.remind"])
    with ThreadPoolExecutor(1) as pool:
        mine = pool.submit(deliver.deliver)
        waiting = (
            "select count(*) from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0"
        )
        eventually(lambda: sql(waiting) != [[0]], 10, "the wait for the other")
        other.script("commit")
        mine.result()
    other.close()
    deliver.deliver()
    assert receiver.said == [("opened", "bad"), ("reminder", "bad")]


# Secrets --------------------------------------------------------------------------------------------------------------------


def test_no_secret_goes_out_or_into_the_log(sql, receiver, postbox, configured, capsys):
    configured(SMTP_URL=postbox.url("ann:a%20pass-word@"))
    log.protect("1000.a-token-of-somebody")
    receiver.status = 500
    alert(metadata={"refresh_token": "abcdefghij", "said": "1000.a-token-of-somebody is no good"})
    deliver.deliver()
    receiver.status = 200
    alert("another", metadata={"refresh_token": "abcdefghij", "said": "1000.a-token-of-somebody is no good"})
    deliver.deliver()
    everything = capsys.readouterr().out + str(receiver.got) + "".join(each.get_content() for each in postbox.got)
    kept = str(sql("select d::text from tidemark.deliveries d")) + str(sql("select b::text from tidemark.breakers b"))
    for secret in (SECRET[6:], "a pass-word", "a%20pass-word", "/alerts/of-some-team", "key=in-the-address"):
        assert secret not in everything + kept
    assert "1000.a-token-of-somebody" not in everything
    assert "abcdefghij" not in everything
    assert receiver.got
    assert postbox.login == ["ann", "a pass-word"]


def test_mail_is_bounded_in_time():
    assert deliveries.LEASE.total_seconds() > mail.SECONDS + deliver.SECONDS


def test_a_tick_forgets_what_was_told_long_ago_though_nothing_is_due(sql):
    sql(
        "insert into tidemark.deliveries (alert_id, channel, kind, document, state, ready_at, ended_at)"
        " select gen_random_uuid(), 'webhook', 'opened', '{}', 'sent', null, app_now() - age from unnest('{29 days,31 days}'::interval[]) age"
    )
    tick.PARTS["delivered"]()
    assert sql("select count(*), min(ended_at) > app_now() - interval '30 days' from tidemark.deliveries") == [[1, True]]
