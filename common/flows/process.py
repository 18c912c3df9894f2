"""Process: apply what waits in the inbox and what is due in the queue, until both are empty or the time is up.

A first attempt is one transaction for a whole batch. Only what fails gets a queue row with a lease and a life of its own.
"""

from __future__ import annotations

import contextlib
import contextvars
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from common import db, encoding, entities, log, settings
from common.db import Transaction
from common.errors import AppError, Broken, Conflict, Invalid, Replayable, Unavailable
from common.flows import migrate, presence, ring
from common.rules import backoff
from common.rules.batch import Candidate, Choice, newest
from common.rules.entity import Entity
from common.stores import bells, configuration, drains, inbox, queue, records, schema_versions
from common.stores import replays as under_way
from common.stores.inbox import Claimed
from common.stores.queue import Failure, Lease, Outcome

if TYPE_CHECKING:
    from common.rules.shapes import Valid

LARGEST_BATCH = 1000
BATCH_LEASE = timedelta(seconds=30)
DUE = 20  # events with a life of their own, one transaction each, between two batches
SHARE = 0.8  # of the time a function may take: the rest is for the last batch to end in
MESSAGE = 2000  # characters of an error that are kept
TOMORROW = timedelta(days=1)
AHEAD = "the time of change is more than a day in the future"
# What one event can cause by what it holds; anything else is the whole database's or the whole call's trouble.
REFUSALS = (Invalid, Conflict, Broken, Replayable, ArithmeticError, LookupError, TypeError, ValueError)


@dataclass
class Report:
    """What one call did."""

    outcomes: dict[str, int] = field(default_factory=dict)
    batches: int = 0
    failed: int = 0
    swept: int = 0
    rung_again: bool = False

    def count(self, outcome: str, number: int = 1) -> None:
        """One more of an outcome."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + number

    def add(self, other: Report) -> None:
        """What another lane of the same call did."""
        for outcome, number in other.outcomes.items():
            self.count(outcome, number)
        self.batches += other.batches
        self.failed += other.failed


@dataclass(frozen=True)
class Rules:
    """What operators have set, read once per call."""

    batch: int
    attempts: int
    base: timedelta
    longest: timedelta
    lease: timedelta
    worker: str
    is_drained: bool  # this release takes nothing any more

    def wait(self, attempt: int) -> timedelta:
        """How long after failed attempt number `attempt` the next one is due."""
        return backoff.delay(attempt, base=self.base, longest=self.longest, chance=random.random())  # noqa: S311


def process(worker: str = "process") -> Report:
    """Apply everything that waits and is due.

    Raises: Unavailable, when the database is: what was begun is rolled back, and waits for the next call.
    """
    report = Report()
    until = time.monotonic() + settings.load().function_timeout_seconds.total_seconds() * SHARE
    presence.check()
    rules = rules_for(worker)
    if rules.is_drained:
        return report
    report.swept = sweep(rules)
    silenced = False
    while time.monotonic() < until:
        if _drained(rules, report, until) + _due(rules, report):
            silenced = False
        elif silenced:
            if _replayed():
                silenced = False
                continue
            wake_when_due()
            return report
        else:
            with db.transaction("worker") as tx:
                bells.silence(tx, "process")
            silenced = True
    report.rung_again = ring.ring("process")
    return report


def _replayed() -> int:
    """How many events the replays that are under way put back, now that those they had put back before have ended."""
    with db.transaction("worker") as tx:
        if not under_way.running(tx):
            return 0
    from common.flows import replays  # noqa: PLC0415 - it looks at what is read here, and hardly any call needs it

    return replays.advance()


def sweep(rules: Rules, limit: int = 100) -> int:
    """Take over from workers that died: a bounded number of lapsed receipts and leases; how many events it was."""
    with db.transaction("worker") as tx:
        ids = inbox.lapsed(tx)
        if ids:
            # One of these may have killed its worker: from here on each is alone, and each claim of it counts.
            wait = rules.wait(1).total_seconds()
            _fail_first(tx, [Failure(str(event), wait, "crashed", "the worker died in this batch") for event in ids], rules)
    with db.transaction("worker") as tx:
        expired = queue.expired(tx, limit=limit)
        for lease in expired:
            queue.fail(
                tx,
                lease,
                code="crashed",
                message="the lease ran out: the worker died or was too slow",
                wait=rules.wait(lease.attempt),
                final=False,
                worker=rules.worker,
            )
    if ids or expired:
        log.warning("work.recovered", batch_events=len(ids), leases=len(expired))
    return len(ids) + len(expired)


def rules_for(worker: str) -> Rules:
    """What operators have set.

    Raises: Unavailable, when the schema is older than this code: events must not fail, and be spent, for that.
    """
    current = settings.load()
    with db.transaction("worker") as tx:
        values = configuration.all_values(tx)
        version = schema_versions.newest(tx)
        is_ready = version is not None and version >= migrate.wanted_version()
        is_drained = is_ready and drains.is_draining(tx, current.deployment, current.running_release)
    if not is_ready:
        message = f"The schema is at {version}, this code needs {migrate.wanted_version()}: run the migrations."
        raise Unavailable(message)
    return Rules(
        batch=values["batch_size"],
        attempts=values["max_retry_attempts"],
        base=timedelta(milliseconds=values["retry_backoff_base_ms"]),
        longest=timedelta(milliseconds=values["retry_backoff_max_ms"]),
        lease=timedelta(seconds=values["lock_timeout_seconds"]),
        worker=worker,
        is_drained=is_drained,
    )


# First attempts: a batch, a transaction --------------------------------------------------------------------------


def _drained(rules: Rules, report: Report, until: float) -> int:
    """Apply batches until nothing waits; how many events they had.

    A first batch that came back full means that more waits: then a second lane works beside, so that one validates
    while the database applies for the other.
    """
    first = Batches(rules, report)
    count = first.drain(until, once=True)
    if count < rules.batch:
        return count
    beside = Report()
    with ThreadPoolExecutor(1, thread_name_prefix="lane") as threads:
        second = threads.submit(contextvars.copy_context().run, Batches(rules, beside).drain, until)
        count += first.drain(until)
        count += second.result()
    report.add(beside)
    return count


class Batches:
    """One batch after another: the transaction that ends one writes the receipt of the next."""

    def __init__(self, rules: Rules, report: Report) -> None:
        self._rules = rules
        self._report = report
        self._size = rules.batch
        self._token: int | None = None

    def drain(self, until: float, *, once: bool = False) -> int:
        """Apply batch after batch until nothing waits or the time is up, or just `once`; how many events they had."""
        count = 0
        try:
            while time.monotonic() < until and (applied := self.apply_next()):
                count += applied
                if once:
                    break
        finally:
            self.give_back()
        return count

    def apply_next(self) -> int:
        """Apply the next batch; how many events it had, 0 when nothing waits."""
        if self._token is None:
            with db.transaction("worker") as tx:
                self._token = self._claim(tx)
            if self._token is None:
                return 0
        # If the call ends inside this batch, one of its events may be why: its receipt is left to lapse, not given back.
        token, self._token = self._token, None
        count = self._apply(token, None)
        if count == self._size:
            self._size = min(self._size * 2, LARGEST_BATCH)
        self._report.batches += 1
        return count

    def give_back(self) -> None:
        """Give back a receipt that is not worked on: this call is over, but did not die of its events."""
        if self._token is not None:
            with contextlib.suppress(AppError), db.transaction("worker") as tx:
                inbox.settle(tx, self._token)
            self._token = None

    def _claim(self, tx: Transaction) -> int | None:
        return inbox.claim(tx, limit=self._size, lease=BATCH_LEASE, locked_by=self._rules.worker)

    def _apply(self, token: int, only: frozenset[str] | None) -> int:
        """Apply the events of a receipt, all or `only` some, halving at a refusal until the refused one is alone."""
        rules = self._rules
        taken: list[Claimed] = []

        def work(tx: Transaction) -> tuple[list[Outcome], int | None]:
            taken[:] = [event for event in inbox.take(tx, token) if only is None or event.id in only]
            outcomes = _applied(tx, taken)
            if outcomes:
                queue.complete_first(tx, outcomes, priorities=_priorities(), attempts=rules.attempts, worker=rules.worker)
            if only is not None:
                return outcomes, None
            inbox.settle(tx, token)
            return outcomes, self._claim(tx)

        try:
            outcomes, self._token = db.replayed(work, "worker")
        except REFUSALS as error:
            if len(taken) > 1:
                ids = [event.id for event in taken]
                half = len(ids) // 2
                count = sum(self._apply(token, frozenset(part)) for part in (ids[:half], ids[half:]))
            else:
                count = len(taken)
                for event in taken:
                    _first_failure(event, error, rules)
                    self._report.failed += 1
            if only is None:
                self._token = token
                self.give_back()
            return count
        for outcome in outcomes:
            self._report.count(outcome.outcome or "quarantined")
        return len(taken)


def _first_failure(event: Claimed, error: Exception, rules: Rules) -> None:
    code, message, final = _explained(error)
    wait = None if final or rules.attempts == 1 else rules.wait(1).total_seconds()
    log.error("event.failed", event_id=event.id, entity=event.entity_type, code=code, error=message, final=final)
    with db.transaction("worker") as tx:
        _fail_first(tx, [Failure(event.id, wait, code, message)], rules)


def _fail_first(tx: Transaction, failures: Sequence[Failure], rules: Rules) -> None:
    queue.fail_first(tx, failures, priorities=_priorities(), attempts=rules.attempts, worker=rules.worker)


def _priorities() -> dict[str, int]:
    return {entity.label: entity.priority for entity in entities.every()}


def _explained(error: Exception) -> tuple[str, str, bool]:
    """An error's code, its message, and whether another attempt would fail in the same way."""
    if isinstance(error, AppError):
        code = str(error.fields.get("sqlstate") or error.slug)
        return code, error.detail[:MESSAGE], isinstance(error, Invalid | Conflict)
    return type(error).__name__, str(error)[:MESSAGE], False


# Later attempts: an event, a lease, a transaction ----------------------------------------------------------------


def _due(rules: Rules, report: Report) -> int:
    """Try events again whose time has come, each on its own; how many."""
    count = 0
    while count < DUE:
        # One claim, one event: if it kills its worker, no neighbour has been claimed with it and pays with an attempt.
        with db.transaction("worker") as tx:
            leases = queue.claim(tx, limit=1, lease=rules.lease, worker=rules.worker)
        if not leases:
            break
        _again(leases[0], rules, report)
        count += 1
    return count


def _again(lease: Lease, rules: Rules, report: Report) -> None:
    def work(tx: Transaction) -> str | None:
        event = queue.take(tx, lease)
        if event is None:
            return None
        outcome = _applied(tx, [event])[0]
        if outcome.errors is not None:
            queue.refuse(tx, lease, outcome.errors)
            return "quarantined"
        said = outcome.outcome or "applied"
        queue.complete(tx, lease, outcome=said, ambiguous=outcome.ambiguous, worker=rules.worker)
        return said

    try:
        outcome = db.replayed(work, "worker")
        if outcome:
            report.count(outcome)
    except (AppError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        code, message, final = _explained(error)
        log.error("event.failed", event_id=str(lease.id), attempt=lease.attempt, code=code, error=message, final=final)
        with db.transaction("worker") as tx:
            wait = rules.wait(lease.attempt)
            queue.fail(tx, lease, code=code, message=message, wait=wait, final=final, worker=rules.worker)
        report.failed += 1


# Both ------------------------------------------------------------------------------------------------------------


class _Read(NamedTuple):
    event: Claimed
    valid: Valid


def _applied(tx: Transaction, events: Sequence[Claimed]) -> list[Outcome]:
    """Validate, choose the newest of each record, write: entity by entity, in one order for everybody."""
    outcomes: list[Outcome] = []
    candidates: dict[str, list[Candidate[_Read]]] = {}
    by_label = entities.by_label()
    for event in events:
        entity = by_label[event.entity_type]
        read = validated(entity, event)
        if isinstance(read, list):
            outcomes.append(Outcome(event.id, None, errors=read))
            continue
        candidates.setdefault(entity.label, []).append(
            Candidate(
                id=event.source_entity_id,
                stamp=event.source_modified_at,
                is_delete=event.operation_type == "delete",
                observed=event.received_at,
                hash=event.content_hash,
                carried=read,
            )
        )
    for entity in sorted((by_label[label] for label in candidates), key=lambda entity: entity.rank):
        outcomes += _written(tx, entity, candidates[entity.label])
    return outcomes


def _written(tx: Transaction, entity: Entity, candidates: Sequence[Candidate[_Read]]) -> list[Outcome]:
    choices = newest(candidates)
    outcomes = [Outcome(loser.carried.event.id, said) for choice in choices for loser, said in choice.losers]
    versions = [_version(entity, choice) for choice in choices]
    organization = choices[0].winner.carried.event.organization_id
    applied = records.apply(tx, entity, organization, versions)
    for choice in choices:
        said = applied[choice.winner.id]
        outcomes.append(Outcome(choice.winner.carried.event.id, said.outcome, said.is_ambiguous))
    return outcomes


def _version(entity: Entity, choice: Choice[_Read]) -> records.Version:
    winner = choice.winner
    event, valid = winner.carried.event, winner.carried.valid
    marks = {mark: winner.observed for mark, column in entity.marks.items() if column in valid.columns}
    return records.Version(
        id=winner.id,
        event=event.id,
        path=tuple(event.payload_path),
        operation=event.operation_type,
        stamp=winner.stamp,
        settled=winner.is_delete,
        observed=winner.observed,
        hash=winner.hash,
        tied=choice.tied,
        hinted=choice.hinted,
        partial=winner.stamp is None,
        columns=valid.columns | marks,
        lines=valid.lines,
    )


def validated(entity: Entity, event: Claimed) -> _Read | list[dict[str, Any]]:
    """The event's record by its shape, or why it goes into quarantine."""
    if event.source_modified_at and event.source_modified_at > event.received_at + TOMORROW:
        # It would beat every true version until then.
        pointer = _pointer(event, (*entity.version_keys, "event_time")[0])
        return [{"pointer": pointer, "message": AHEAD}]
    from common.rules.shapes import validate  # noqa: PLC0415 - 40 ms of pydantic, which nothing needs before there is an event

    record: Any = encoding.loads(event.payload)
    for key in event.payload_path:
        record = record[key]
    valid = validate(entity, record)
    if not isinstance(valid, list):
        return _Read(event, valid)
    return [{"pointer": _pointer(event, fault.pointer.lstrip("/")), "message": fault.message} for fault in valid]


def _pointer(event: Claimed, rest: str) -> str:
    return "".join(f"/{key}" for key in event.payload_path) + f"/{rest}"


def wake_when_due() -> None:
    """Arm the next ring for the earliest retry, so that nobody needs to stay awake for it."""
    with db.transaction("worker") as tx:
        due = queue.next_due(tx)
    if due:
        second = int(due.timestamp()) + 1
        ring.ring("process", at=datetime.fromtimestamp(second, UTC), name=f"process-{second}-due")
