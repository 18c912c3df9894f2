"""The account of a stream of webhooks: every single event of it is accounted for.

It trusts nobody: what the answers said, what the database's counters say and what stands in the tables must agree.
"""

from __future__ import annotations

import collections
import json
import statistics
import time
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from common import db, entities, settings
from common.errors import Unavailable
from deploy.bars import Bar, Bars
from deploy.local.sender import Reply, Sender, surprises
from deploy.local.zoho.emitter import Delivery, Expected, newest
from deploy.local.zoho.rounds import Round

CONNECTIONS = 16
LOOK_SECONDS = 0.1
APPLY_SECONDS = 120.0
SHOWN = 10

# One statement, one snapshot: whoever else sends meanwhile changes both sides alike.
BOTH_SIDES = """
select tidemark.total('received'), (select count(*) from public.tds_inbox_events),
       tidemark.total('duplicate'), (select count(*) from tidemark.duplicates),
       tidemark.total('quarantined'), (select count(*) from public.tds_inbox_events where validation_errors is not null),
       tidemark.total('completed'), (select count(*) from public.tds_sync_queue where status = 'completed'),
       tidemark.total('waiting'), (select count(*) from tidemark.ready_events)
"""
SIDES = ("received", "duplicate", "quarantined", "completed", "waiting")
# Each number from a table of its own: an event that stood in two of them, or in none, would not add up.
OURS = """
with ours as materialized (
    select id, validation_errors from public.tds_inbox_events where traceparent like :trace and received_at >= :since
)
select (select count(*) from ours),
       (select count(*) from public.tds_sync_queue q join ours using (id) where q.status = 'completed'),
       (select count(*) from ours where validation_errors is not null),
       (select count(*) from tidemark.ready_events r join ours using (id)),
       (select count(*) from public.tds_sync_queue q join ours using (id) where q.status not in ('completed', 'dead_letter')),
       (select count(*) from public.tds_sync_queue q join ours using (id) where q.status = 'dead_letter'),
       (select count(*) from tidemark.duplicates d join ours on ours.id = d.event_id)
"""
OUTCOMES = """
select q.processing_result ->> 'outcome', count(*)
  from public.tds_sync_queue q join public.tds_inbox_events i using (id)
 where i.traceparent like :trace and i.received_at >= :since and q.status = 'completed'
 group by 1
"""
UNAPPLIED = """
select count(*) from public.tds_inbox_events i left join public.tds_sync_queue q using (id)
 where i.traceparent like :trace and i.received_at >= :since and i.processed_at is null
   and coalesce(q.status <> 'dead_letter', true)
"""
STANDING = """
select source_id, source_modified_at, deleted_at is not null
  from erp.{table} where source_id in (select jsonb_array_elements_text(:ids::jsonb))
"""


States = dict[tuple[str, str], tuple[datetime, bool]]  # by (label, id): time of change, and whether it was the end


class Rows(NamedTuple):
    """How many events of the demonstration stand where."""

    inbox: int
    finished: int
    quarantined: int
    waiting: int
    retrying: int
    dead: int
    duplicates: int


@dataclass(frozen=True)
class Account:
    """Everything that is known after the stream, from all sides."""

    deliveries: list[Delivery]
    lost: int  # deliveries that were sent to nobody
    replies: list[Reply]
    rows: Rows
    outcomes: dict[str, int]
    differences: dict[str, tuple[int, int]]  # by counter: what it grew by, and what its rows grew by
    not_newest: list[str]
    records: int
    sending_seconds: float
    seconds: float

    @property
    def expected(self) -> collections.Counter[Expected]:
        """How many events were to end in which way."""
        return collections.Counter(event.expected for delivery in self.deliveries for event in delivery.events)

    @property
    def sent_again(self) -> int:
        """Events that were sent again because their answer was lost: each may have become a duplicate."""
        return sum((reply.tries - 1) * len(reply.delivery.events) for reply in self.replies)


def taken(console: Console, round_: Round) -> Account:
    """Send a round, wait until all of it is applied, and see what became of it.

    Raises: OSError, when nobody answers; Unavailable, when the database does not.
    """
    deliveries = round_.sent
    run_id = token_hex(16)
    ours = {"trace": f"00-{run_id}-%", "since": _read("select app_now()")[0][0]}
    before = _both_sides()
    began = time.perf_counter()
    with Bars(console) as bars:
        replies = _send(deliveries, run_id, bars)
    sent = time.perf_counter() - began
    expected = sum(event.expected in {Expected.STORED, Expected.QUARANTINED} for each in deliveries for event in each.events)
    with Bars(console) as bars:
        _wait_until_applied(ours, expected, bars)
    took = time.perf_counter() - began
    after = _both_sides()
    latest = newest(deliveries)
    return Account(
        deliveries=deliveries,
        lost=len(round_.lost),
        replies=replies,
        rows=Rows(*_read(OURS, **ours)[0]),
        outcomes={str(name): number for name, number in _read(OUTCOMES, **ours)},
        differences={name: (after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in SIDES},
        not_newest=_not_newest(latest, newest([*deliveries, *round_.lost])),
        records=len(latest),
        sending_seconds=sent,
        seconds=took,
    )


def _send(deliveries: list[Delivery], run_id: str, bars: Bars) -> list[Reply]:
    sender = Sender(settings.load().functions_url, CONNECTIONS, trace=run_id)
    sender.start(deliveries)
    try:
        while not sender.is_done:
            bars.show([_bar("sent", len(sender.replies), len(deliveries))])
            time.sleep(LOOK_SECONDS)
    finally:
        sender.stop()
    bars.show([_bar("sent", len(sender.replies), len(deliveries))])
    return sender.replies


def _bar(word: str, done: int, total: int) -> Bar:
    return Bar(word, done, total, f"{done:,} of {total:,}", is_over=done == total)


def _wait_until_applied(ours: dict[str, Any], expected: int, bars: Bars) -> None:
    until = time.monotonic() + APPLY_SECONDS
    while time.monotonic() < until:
        try:
            left = int(_read(UNAPPLIED, **ours)[0][0])
        except Unavailable:  # somebody may be restarting it: that is what they are invited to do
            time.sleep(1)
            continue
        bars.show([_bar("applied", expected - left, expected)])
        if not left:
            return
        time.sleep(LOOK_SECONDS)


def _read(statement: str, **params: Any) -> list[list[Any]]:
    with db.transaction("status", read_only=True) as tx:
        return tx.statement(statement, params)[0]


def _both_sides() -> dict[str, tuple[int, int]]:
    numbers = _read(BOTH_SIDES)[0]
    return dict(zip(SIDES, zip(numbers[::2], numbers[1::2], strict=True), strict=True))


def _not_newest(sent: States, made: States) -> list[str]:
    """Records that stand neither at the newest version that was sent of them nor at a later one that the source has.

    A sync may have been faster than a webhook, and where it finds a record gone, it is gone at that very time.
    """
    stands: States = {}
    for entity in entities.every():
        ids = json.dumps([identifier for label, identifier in sent if label == entity.label])
        for identifier, at, is_gone in _read(STANDING.format(table=entity.table), ids=ids):
            stands[entity.label, identifier] = (at, is_gone)
    return [
        f"{label} {identifier}"
        for (label, identifier), state in sent.items()
        if not _is_new_enough(stands.get((label, identifier)), state, made[label, identifier])
    ]


def _is_new_enough(stood: tuple[datetime, bool] | None, sent: tuple[datetime, bool], made: tuple[datetime, bool]) -> bool:
    return stood in (sent, made) or bool(stood and stood[1] and made[1] and stood[0] > made[0])


# What is shown ------------------------------------------------------------------------------------------------------


def table(account: Account) -> Table:
    """What became of the events, for people."""
    rows, expected = account.rows, account.expected
    answers = sorted(reply.seconds * 1000 for reply in account.replies)
    refused = sum(reply.status in {401, 403} for reply in account.replies)
    shown = Table("", "events", "", title=None)
    shown.columns[1].justify = "right"
    events = sum(expected.values())
    for name, number, note in (
        ("sent", events, f"in {len(account.replies):,} requests"),
        ("lost", account.lost, "told to nobody, on purpose: a sync must bring them"),
        ("refused", refused, "not signed, or with another secret"),
        ("received", rows.inbox, "new to us, and stored"),
        ("duplicate", rows.duplicates, "known already"),
        ("applied", account.outcomes.get("applied", 0), "written to their tables"),
        ("unchanged", account.outcomes.get("unchanged", 0), "what stood said the same"),
        ("superseded", account.outcomes.get("superseded", 0), "older than what stood"),
        ("ambiguous", account.outcomes.get("ambiguous", 0), "only the source can tell; asked to be read again"),
        ("quarantined", rows.quarantined, "kept, but no record of any shape we know"),
        ("dead-lettered", rows.dead, "all attempts spent"),
    ):
        shown.add_row(name, f"{number:,}", note)
    shown.add_section()
    shown.add_row("answered", f"{events / account.sending_seconds:,.0f}/s", "events, while they were sent")
    shown.add_row("applied", f"{events / account.seconds:,.0f}/s", "events, from the first one sent to the last one applied")
    p99 = answers[int(len(answers) * 0.99)]
    shown.add_row("p50 / p99", f"{statistics.median(answers):.1f} / {p99:.1f}", "milliseconds to the answer")
    return shown


def faults(account: Account) -> list[str]:
    """Everything that does not add up."""
    rows, expected = account.rows, account.expected
    found = surprises(account.replies)[:SHOWN]
    if len(account.replies) != len(account.deliveries):
        found.append(f"{len(account.deliveries)} deliveries were sent, {len(account.replies)} answered")
    parts = rows.finished + rows.quarantined + rows.waiting + rows.retrying + rows.dead
    if rows.inbox != parts:
        found.append(f"{rows.inbox} events stand in the inbox, but their states add up to {parts}: {rows}")
    for name, wanted, stood in (
        ("stored", expected[Expected.STORED] + expected[Expected.QUARANTINED], rows.inbox),
        ("finished", expected[Expected.STORED], rows.finished),
        ("in quarantine", expected[Expected.QUARANTINED], rows.quarantined),
        ("with an outcome", rows.finished, sum(account.outcomes.values())),
    ):
        if wanted != stood:
            found.append(f"{wanted} events should be {name}, {stood} are")
    most = expected[Expected.DUPLICATE] + account.sent_again
    if not expected[Expected.DUPLICATE] <= rows.duplicates <= most:
        found.append(f"{expected[Expected.DUPLICATE]} duplicates were sent (at most {most}), {rows.duplicates} are recorded")
    for name, (counted, stood) in account.differences.items():
        if counted != stood:
            found.append(f"the counter '{name}' grew by {counted}, its rows by {stood}")
    if account.not_newest:
        some = ", ".join(account.not_newest[:SHOWN])
        found.append(f"{len(account.not_newest)} records do not stand at their newest version: {some}")
    return found


def verdict(account: Account) -> str:
    """The sum, in a sentence."""
    rows = account.rows
    again = f" {account.sent_again} were sent again after a lost answer." if account.sent_again else ""
    return (
        f"[bold green]Every event is accounted for.[/] {rows.inbox:,} received = {rows.finished:,} finished"
        f" + {rows.quarantined:,} in quarantine + {rows.waiting + rows.retrying} waiting + {rows.dead} dead letters;"
        f" counters and rows agree; {rows.duplicates:,} duplicates changed nothing;"
        f" all {account.records:,} records that have versions stand at their newest.{again}"
    )
