"""Bugs to be switched on in the gateways of a campaign, one at a time: each must make the checker speak.

A bug is planted by changing code or statements of the running process before it serves, or of its database before anybody
does. One that does not fit the code any more says so: a bug that was never planted proves nothing.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common import db

Note = Callable[[str], None]


class Misfit(Exception):
    """The code has changed, so that the bug cannot be planted as it is written here."""


@dataclass(frozen=True)
class Bug:
    """One seeded bug, and the trouble that is most likely to show it."""

    says: str
    plant: Callable[[Note], None] = lambda _: None
    sql: str = ""
    mix: tuple[str, ...] = ("kill",)  # what the nemesis does, again and again
    every: float = 1.2  # seconds from one to the next
    pauses: float = 0.0  # share of claims that outlive their lease
    poison: float = 0.005
    plans: bool = False  # whether plans run beside
    is_extra: bool = False  # not among the ten


def _edited(query: str, old: str, new: str) -> None:
    queries: Any = db.queries()
    text, count = re.subn(old, lambda _: new, queries[query], flags=re.DOTALL)
    if not count:
        message = f"{query} has nothing like {old}"
        raise Misfit(message)
    queries[query] = text


def _later(seconds: float, work: Callable[[db.Transaction], Any], note: Note) -> None:
    def go() -> None:
        try:
            with db.transaction("worker") as tx:
                work(tx)
        except Exception as error:  # noqa: BLE001 - part of the bug: nobody looks
            note(f"bug lost it: {type(error).__name__}")

    threading.Timer(seconds, go).start()


# The bugs -------------------------------------------------------------------------------------------------------------


def _acknowledge_before_storing(_: Note) -> None:
    from common.flows import receive
    from functions import webhook

    def store(letters: list[Any]) -> None:
        receive.store(letters)

    async def hasty(request: Any) -> tuple[int, dict[str, Any]]:
        letter = receive.read(request)
        threading.Timer(0.4, store, [[letter]]).start()
        return 202, receive.accepted(receive._answers([letter], {})[0])

    webhook._together = hasty


def _break_no_ties(_: Note) -> None:
    _edited(
        "records.apply",
        r"\(i\.version, i\.settled, i\.observed, i\.hash\)\s*> \(coalesce\([^;]*?\)\s*as is_newer_itself",
        "i.version > coalesce((o.was).source_modified_at, '-infinity') as is_newer_itself",
    )


def _ignore_tokens_of_events(_: Note) -> None:
    for query in ("take", "complete", "fail"):
        _edited(
            f"queue.{query}",
            r"q\.id = :id and q\.token = :token and q\.status = 'processing'",
            "q.id = :id and :token::bigint is not null",
        )


def _ignore_tokens_of_lanes(_: Note) -> None:
    _edited("lanes.advance", r"l\.token = :token and l\.leased_until is not null", ":token::bigint is not null")


def _let_two_take_one_batch(_: Note) -> None:
    _edited("inbox.claim", r"where r\.id not in \(select unnest\(x\.ids\) from tidemark\.receipts x\)", "")
    _edited("inbox.claim", r"for update of r skip locked", "")
    _edited("inbox.take", r"for update of r, x skip locked", "")


def _write_effects_apart(_: Note) -> None:
    from common.flows import process

    real = process._applied

    def apart(_tx: db.Transaction, events: Any) -> Any:
        with db.transaction("worker") as own:
            outcomes = real(own, events)
        time.sleep(0.2)
        return outcomes

    process._applied = apart


def _try_for_ever(_: Note) -> None:
    _edited("queue.fail", r"q\.attempt_count >= q\.max_retry_attempts", "false")


def _fail_whole_batches(_: Note) -> None:
    from common.flows import process

    real, doomed = process._applied, set[str]()

    def refuse() -> Any:
        message = "boom"
        raise ValueError(message)

    def whole(tx: db.Transaction, events: Any) -> Any:
        try:
            return refuse() if any(event.id in doomed for event in events) else real(tx, events)
        except ValueError:
            doomed.update(event.id for event in events)
            if len(events) == 1:
                doomed.discard(events[0].id)
            raise

    process._applied = whole


def _count_apart(note: Note) -> None:
    from common.stores import queue

    _edited("queue.complete_first", r", counted as \(.*?\n\)", "")
    real = queue.complete_first

    def counted(tx: db.Transaction, outcomes: Any, **more: Any) -> int:
        found = real(tx, outcomes, **more)
        counts = Counter[str]()
        for outcome in outcomes:
            counts["waiting"] -= 1
            counts["completed"] += outcome.errors is None
            counts[outcome.outcome or "quarantined"] += 1

        def write(own: db.Transaction) -> None:
            for name, amount in counts.items():
                own.statement(
                    "insert into tidemark.deltas (name, amount) values (:name, :amount)", {"name": name, "amount": amount}
                )

        _later(0.3, write, note)
        return found

    queue.complete_first = counted


def _set_attempts_back(_: Note) -> None:
    from common.stores import queue

    real = queue.fail

    def forgiving(tx: db.Transaction, lease: Any, **more: Any) -> bool:
        found = real(tx, lease, **more)
        if more["code"] == "crashed":
            tx.statement("update public.tds_sync_queue set attempt_count = 0 where id = :id", {"id": lease.id})
        return found

    queue.fail = forgiving


def _flap(_: Note) -> None:
    from common.stores import alerts

    real = alerts.open_for_future_stamps
    close = "update public.tds_alerts set resolved = true, is_active = false, resolved_at = app_now() where not resolved"

    def flapping(tx: db.Transaction, **more: Any) -> int:
        tx.statement(close, {})
        return real(tx, **more)

    alerts.open_for_future_stamps = flapping


def _bury_apart(note: Note) -> None:
    from common.stores import queue

    buried = re.search(r", buried as \(\n(.*?)\n\), counted", db.queries()["queue.fail"], re.DOTALL)
    if not buried:
        message = "queue.fail buries nothing"
        raise Misfit(message)
    _edited("queue.fail", r", buried as \(.*?\n\), counted", ", counted")
    statement = (
        "insert into public.tds_dead_letter_queue (sync_queue_id, entity_type, source_entity_id, failure_reason, error_code,"
        " total_attempts, last_error_message, last_payload, priority)"
        " select q.id, q.entity_type, q.source_entity_id, q.error_message, q.error_code, q.attempt_count, q.error_message,"
        " i.raw_payload, q.priority from public.tds_sync_queue q join public.tds_inbox_events i on i.id = q.inbox_event_id"
        " where q.id = :id and q.status = 'dead_letter'"
    )
    real = queue.fail

    def apart(tx: db.Transaction, lease: Any, **more: Any) -> bool:
        found = real(tx, lease, **more)
        _later(1.0, lambda own: own.statement(statement, {"id": lease.id}), note)
        return found

    queue.fail = apart


def _begin_twice(_: Note) -> None:
    _edited("schedules.begin", r"f\.state = 'due' and f\.ready_at < 'infinity' and", "")


def _ignore_cancelling(_: Note) -> None:
    _edited("lanes.revoke", r"where plan = :plan and leased_until is not null", "where plan = :plan and false")
    _edited("lanes.drop", r"where plan = :plan", "where false and plan = :plan")


BUGS = {
    "ack_before_commit": Bug("202 is answered before the event is stored", _acknowledge_before_storing),
    "tie_break_dropped": Bug("of two versions of one second, whichever comes first stays", _break_no_ties),
    "unique_key_dropped": Bug(
        "nothing keeps an event from being stored twice",
        sql="""
            alter table public.tds_inbox_events drop constraint tds_inbox_events_key_is_unique;
            alter table public.tds_inbox_events drop constraint tds_inbox_events_pkey cascade;
            alter table tidemark.ready_events drop constraint ready_events_pkey;
        """,
        mix=("commit", "reset"),
    ),
    "token_ignored": Bug(
        "a worker that lost its lease still completes and fails the event", _ignore_tokens_of_events, pauses=0.25, mix=("kill",),
        every=2.5, poison=0.05,
    ),
    "two_take_one_batch": Bug("a batch is claimed without looking who has it", _let_two_take_one_batch, mix=("double",)),
    "effect_outside": Bug("records are written in another transaction than their completion", _write_effects_apart, every=0.9),
    "no_cap_on_attempts": Bug("what fails is tried for ever", _try_for_ever, poison=0.05),
    "batch_fails_whole": Bug("one poison fails its whole batch", _fail_whole_batches, poison=0.05),
    "counter_outside": Bug("counters are written after the commit", _count_apart, every=0.9),
    "dead_letter_outside": Bug("the dead letter is written after the commit", _bury_apart, poison=0.15, every=0.9),
    "attempts_set_back": Bug("a sweep sets the attempts back", _set_attempts_back, pauses=0.15, poison=0.05, is_extra=True),
    "lane_token_ignored": Bug(
        "a worker that lost its lane still reports its chunk", _ignore_tokens_of_lanes, pauses=0.2, plans=True, mix=("double",),
        sql="alter table tidemark.leaves drop constraint leaves_pkey", is_extra=True,
    ),
    "alert_flaps": Bug("each sweep closes and opens the alert", _flap, mix=("double",), is_extra=True),
    "fire_begun_twice": Bug("a slot is begun by everybody who is rung", _begin_twice, mix=("double",), is_extra=True),
    "cancel_ignored": Bug(
        "a cancelled plan's lanes go on", _ignore_cancelling, pauses=0.1, plans=True, mix=("double",), is_extra=True
    ),
}  # fmt: skip
