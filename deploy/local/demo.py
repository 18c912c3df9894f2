"""The demonstration: a stream of webhooks as rough as real ones, sent over HTTP, and an account of every single event.

It trusts nobody: what the answers said, what the database's counters say and what stands in the tables must agree.
"""

from __future__ import annotations

import collections
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from common import db, lookup, settings
from common.errors import Unavailable
from common.flows import receive
from deploy.local.sender import Reply, Sender, surprises
from deploy.local.zoho.emitter import Delivery, Emitter, Expected, Faults, newest

DELIVERIES = 2000
CONNECTIONS = 16
LOOK_SECONDS = 0.1
LINE_SECONDS = 3.0  # between two lines where there is no terminal for a bar
APPLY_SECONDS = 120.0
SHOWN = 10
STEP = Callable[[int], None]

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


def run() -> list[str]:
    """Send, wait, account; what does not add up, in words. DEMO_SEED and DEMO_DELIVERIES choose another stream.

    Raises: OSError, when nobody answers; Unavailable, when the database does not.
    """
    console = Console(highlight=False)
    seed = int(os.environ.get("DEMO_SEED") or time.time())
    deliveries = int(os.environ.get("DEMO_DELIVERIES") or DELIVERIES)
    console.print(f"\nDemonstration: {deliveries:,} deliveries as Zoho would make them, with what goes wrong (DEMO_SEED={seed}).")
    account = _accounted(console, _emitter(seed), deliveries)
    console.print(_table(account))
    faults = _faults(account)
    console.print(_verdict(account) if not faults else "[bold red]This does not add up.[/]")
    return faults


def _emitter(seed: int) -> Emitter:
    scheme, secret, _ = receive.secrets()[0]
    return Emitter(seed, settings.load().zoho_organization_id, secret, scheme=scheme)


def _accounted(console: Console, emitter: Emitter, count: int) -> Account:
    deliveries = list(emitter.deliveries(count, Faults()))
    run_id = token_hex(16)
    ours = {"trace": f"00-{run_id}-%", "since": _read("select app_now()")[0][0]}
    before = _both_sides()
    began = time.perf_counter()
    with _progress(console, "sent", count) as step:
        replies = _send(deliveries, run_id, step)
    sent = time.perf_counter() - began
    expected = sum(event.expected in {Expected.STORED, Expected.QUARANTINED} for each in deliveries for event in each.events)
    with _progress(console, "applied", expected) as step:
        _wait_until_applied(ours, expected, step)
    took = time.perf_counter() - began
    after = _both_sides()
    latest = newest(deliveries)
    return Account(
        deliveries=deliveries,
        replies=replies,
        rows=Rows(*_read(OURS, **ours)[0]),
        outcomes={str(name): number for name, number in _read(OUTCOMES, **ours)},
        differences={name: (after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in SIDES},
        not_newest=_not_newest(latest),
        records=len(latest),
        sending_seconds=sent,
        seconds=took,
    )


def _send(deliveries: list[Delivery], run_id: str, step: STEP) -> list[Reply]:
    sender = Sender(settings.load().functions_url, CONNECTIONS, trace=run_id)
    sender.start(deliveries)
    try:
        while not sender.is_done:
            step(len(sender.replies))
            time.sleep(LOOK_SECONDS)
    finally:
        sender.stop()
    step(len(sender.replies))
    return sender.replies


def _wait_until_applied(ours: dict[str, Any], expected: int, step: STEP) -> None:
    until = time.monotonic() + APPLY_SECONDS
    while time.monotonic() < until:
        try:
            left = int(_read(UNAPPLIED, **ours)[0][0])
        except Unavailable:  # somebody may be restarting it: that is what they are invited to do
            time.sleep(1)
            continue
        step(expected - left)
        if not left:
            return
        time.sleep(LOOK_SECONDS)


def _read(statement: str, **params: Any) -> list[list[Any]]:
    with db.transaction("status", read_only=True) as tx:
        return tx.statement(statement, params)[0]


def _both_sides() -> dict[str, tuple[int, int]]:
    numbers = _read(BOTH_SIDES)[0]
    return dict(zip(SIDES, zip(numbers[::2], numbers[1::2], strict=True), strict=True))


def _not_newest(latest: dict[tuple[str, str], tuple[datetime, bool]]) -> list[str]:
    """Records that do not stand at the newest version that was sent of them."""
    stands: dict[tuple[str, str], tuple[datetime, bool]] = {}
    for entity in (lookup.find("entities", name).ENTITY for name in lookup.names("entities")):
        ids = json.dumps([identifier for label, identifier in latest if label == entity.label])
        for identifier, at, is_gone in _read(STANDING.format(table=entity.table), ids=ids):
            stands[entity.label, identifier] = (at, is_gone)
    return [f"{label} {identifier}" for (label, identifier), state in latest.items() if stands.get((label, identifier)) != state]


# What is shown ------------------------------------------------------------------------------------------------------


@contextmanager
def _progress(console: Console, word: str, total: int) -> Iterator[STEP]:
    """A bar on a terminal; elsewhere a line every few seconds."""
    if console.is_terminal:
        columns = (TextColumn(f"  {word:<8}"), BarColumn(40), MofNCompleteColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(word, total=total)
            yield lambda done: progress.update(task, completed=done)
        return
    next_line = time.monotonic() + LINE_SECONDS
    last = 0

    def step(done: int) -> None:
        nonlocal next_line, last
        last = done
        if time.monotonic() >= next_line:
            console.print(f"  {word} {done} of {total}")
            next_line = time.monotonic() + LINE_SECONDS

    yield step
    console.print(f"  {word} {last} of {total}")


def _table(account: Account) -> Table:
    rows, expected = account.rows, account.expected
    answers = sorted(reply.seconds * 1000 for reply in account.replies)
    refused = sum(reply.status in {401, 403} for reply in account.replies)
    table = Table("", "events", "", title=None)
    table.columns[1].justify = "right"
    events = sum(expected.values())
    for name, number, note in (
        ("sent", events, f"in {len(account.replies):,} requests"),
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
        table.add_row(name, f"{number:,}", note)
    table.add_section()
    table.add_row("answered", f"{events / account.sending_seconds:,.0f}/s", "events, while they were sent")
    table.add_row("applied", f"{events / account.seconds:,.0f}/s", "events, from the first one sent to the last one applied")
    p99 = answers[int(len(answers) * 0.99)]
    table.add_row("p50 / p99", f"{statistics.median(answers):.1f} / {p99:.1f}", "milliseconds to the answer")
    return table


def _faults(account: Account) -> list[str]:
    """Everything that does not add up."""
    rows, expected = account.rows, account.expected
    faults = surprises(account.replies)[:SHOWN]
    if len(account.replies) != len(account.deliveries):
        faults.append(f"{len(account.deliveries)} deliveries were sent, {len(account.replies)} answered")
    parts = rows.finished + rows.quarantined + rows.waiting + rows.retrying + rows.dead
    if rows.inbox != parts:
        faults.append(f"{rows.inbox} events stand in the inbox, but their states add up to {parts}: {rows}")
    for name, wanted, found in (
        ("stored", expected[Expected.STORED] + expected[Expected.QUARANTINED], rows.inbox),
        ("finished", expected[Expected.STORED], rows.finished),
        ("in quarantine", expected[Expected.QUARANTINED], rows.quarantined),
        ("with an outcome", rows.finished, sum(account.outcomes.values())),
    ):
        if wanted != found:
            faults.append(f"{wanted} events should be {name}, {found} are")
    most = expected[Expected.DUPLICATE] + account.sent_again
    if not expected[Expected.DUPLICATE] <= rows.duplicates <= most:
        faults.append(f"{expected[Expected.DUPLICATE]} duplicates were sent (at most {most}), {rows.duplicates} are recorded")
    for name, (counted, stood) in account.differences.items():
        if counted != stood:
            faults.append(f"the counter '{name}' grew by {counted}, its rows by {stood}")
    if account.not_newest:
        some = ", ".join(account.not_newest[:SHOWN])
        faults.append(f"{len(account.not_newest)} records do not stand at their newest version: {some}")
    return faults


def _verdict(account: Account) -> str:
    rows = account.rows
    again = f" {account.sent_again} were sent again after a lost answer." if account.sent_again else ""
    return (
        f"[bold green]Every event is accounted for.[/] {rows.inbox:,} received = {rows.finished:,} finished"
        f" + {rows.quarantined:,} in quarantine + {rows.waiting + rows.retrying} waiting + {rows.dead} dead letters;"
        f" counters and rows agree; {rows.duplicates:,} duplicates changed nothing;"
        f" all {account.records:,} records that have versions stand at their newest.{again}\n"
    )
