"""Every invariant of a campaign, by name, each a list of what contradicts it; empty lists when all is well.

I1 lost, I2 once, I4 newest (what stands), I8 dead letters, I9 leases, I11 counters, I13 audit, I14 conservation: tests/chaos/check.py, from what
    senders were promised; here: nothing is stored that nobody sent, and poison spends its attempts, no more, and no neighbour's.
I4 newest (on the way): `_history`, every effect on a record is newer than the one before.
I5 fires: `_fires`, every minute of a schedule has one fire, begun once, and it is over.
I6 mutex: `_tokens`, whoever is given something gets a higher token than everybody before.
I7 plans: check.plan_faults, and `_plans`: every plan is over, every shard's effect there once, none after a cancel.
I10 cursor: `compared`, after one more incremental sync here is what the source has.
I12 alerts: `_alerts`, one row per condition, however often it was looked at.
I15 liveness: the campaign's own drain, given as `undrained`.
I16 leaks: `_leaks`, connections, transactions and locks that nobody needs any more, and memory that only grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common import db
from tests.chaos import check

SKIPPED = {
    "I3 once-out": "nothing is written to a source or a target yet",
    "I17 secrets": "tests/house and tests/functions look for them",
    "I18 tenants": "one organization per database",
    "clock jumps (F32)": "the production schema's app_now() cannot be turned; tests/flows turn it in their own databases",
    "I12 closing": "an alert that is watched closes after two calm minutes; tests/flows turn the clock for that",
    "I13 hash chain": "the audit trail is append-only and without hashes; its values are chained",
}
# What a worker's death, or a database that went away, is written down as; anything else is the event's own fault.
CRASHES = {"crashed", "unavailable", "busy", "replayable", "throttled"}
CRASH_STATES = ("08", "40", "53", "55", "57", "58", "25")
LEEWAY = "3.5 s"  # a transaction that had begun before a cancel may end after it
SLOPE = 0.5  # megabytes a second, over what a gateway has lived
MEMORY = 400.0  # megabytes


@dataclass
class Promised:
    """What the world was told, and what it did."""

    acknowledged: set[str] = field(default_factory=set)  # ids of events with a 202
    sent: set[str] = field(default_factory=set)  # of all that were ever sent, answered or not
    poison: set[str] = field(default_factory=set)  # of those that no worker can apply
    quarantined: set[str] = field(default_factory=set)  # of those whose shape is wrong
    synced: tuple[str, ...] = ()  # entities that are read from their source
    revived: int = 0  # dead letters that were given one more attempt
    odd: list[str] = field(default_factory=list)  # answers that nobody should get
    undrained: list[str] = field(default_factory=list)  # what was not done in time
    differs: list[str] = field(default_factory=list)  # between the source and here, after the last sync
    memory: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)  # of a process: (seconds, megabytes)
    connections: int = 10**6  # most that may be open at rest


def violations(database_url: str, promised: Promised) -> dict[str, list[str]]:
    """What contradicts each invariant."""
    found = check.by_invariant(database_url, promised.acknowledged, promised.poison, promised.synced)
    connection = db.Connection(db.Address(database_url))
    try:
        connection.raw.settimeout(60)
        ask = connection.script
        found["I1 lost"] += _strange(ask, promised)
        found["I4 newest"] += _history(ask, promised)
        found["I5 fires"] = _fires(ask)
        found["I6 mutex"] = _tokens(ask)
        found["I7 plans"] = check.plan_faults(database_url) + _plans(ask)
        found["I8 dead letters"] += _attempts(ask, promised)
        found["I10 cursor"] = promised.differs
        found["I12 alerts"] = _alerts(ask)
        found["I13 audit"] += _append_only(ask)
        found["I14 conservation"] += _quarantine(ask, promised)
        found["I15 liveness"] = promised.undrained
        found["I16 leaks"] = _leaks(ask, promised.connections) + _memory(promised.memory)
        found["I19 answers"] = promised.odd
    finally:
        connection.close()
    return dict(sorted(found.items(), key=lambda each: int(each[0].split()[0][1:])))


def early(database_url: str) -> list[str]:
    """What can be seen to be wrong already while everything runs: stored twice, tried too often, attempts set back."""
    connection = db.Connection(db.Address(database_url))
    try:
        connection.raw.settimeout(10)
        return _spent(connection.script) + _strange(connection.script, Promised())
    finally:
        connection.close()


def _texts(rows: Iterable[Sequence[Any]], text: str) -> list[str]:
    return [text.format(*row) for row in rows]


def _strange(ask: Any, promised: Promised) -> list[str]:
    rows = ask("select id::text, count(*) from tds_inbox_events group by id")
    twice = [f"event {event} is stored {count} times" for event, count in rows if count > 1]
    return twice + [f"stored, but nobody sent it: {event}" for event, _ in rows if promised.sent and event not in promised.sent]


def _history(ask: Any, promised: Promised) -> list[str]:
    rows = ask("""
        select entity_type, source_id, before::text, now::text
          from (select e.entity_type, e.source_id, v.rank as now, lag(v.rank) over (partition by e.entity_type, e.source_id order by e.at) as before
                  from recorder.effects e
                  join tds_inbox_events i on i.id = e.event_id
                 cross join lateral (
                       select row (coalesce(i.source_modified_at, case when i.operation_type = 'delete' then i.received_at else '-infinity' end),
                                   i.operation_type = 'delete', i.received_at, i.content_hash) as rank) v) h
         where before is not null and now <= before
    """)
    return [
        f"{label} {record}: {now} was written over {before}" for label, record, before, now in rows if label not in promised.synced
    ]


def _fires(ask: Any) -> list[str]:
    begun = ask("select schedule, slot::text, count(*) from recorder.starts group by 1, 2 having count(*) > 1")
    twice = ask("select schedule, slot::text, count(*) from tidemark.fires group by 1, 2 having count(*) > 1")
    left = ask("select schedule, slot::text, state from tidemark.fires where state in ('due', 'started')")
    gaps = ask("""
        select s.name, m.slot::text
          from tidemark.schedules s
          join lateral (select min(slot) as first, max(slot) as last from tidemark.fires where schedule = s.name) f on f.first is not null
         cross join lateral generate_series(f.first, f.last, interval '1 minute') m (slot)
         where s.cron = '* * * * *' and s.name like 'own-%' and s.catch_up = 'all'
           and not exists (select from tidemark.fires x where x.schedule = s.name and x.slot = m.slot)
    """)
    unbegun = ask("""
        select schedule, slot::text from tidemark.fires f
         where state = 'done' and not exists (select from recorder.starts s where s.schedule = f.schedule and s.slot = f.slot)
    """)
    return [
        *_texts(begun, "{0} at {1} was begun {2} times"),
        *_texts(twice, "{0} at {1} is recorded {2} times"),
        *_texts(left, "{0} at {1} is still {2}"),
        *_texts(gaps, "{0} has no fire for {1}"),
        *_texts(unbegun, "{0} at {1} is done, and was never begun"),
    ]


def _tokens(ask: Any) -> list[str]:
    rows = ask("""
        select resource, previous, token
          from (select resource, token, lag(token) over (partition by resource order by n) as previous from recorder.grants) g
         where token <= previous
    """)
    return _texts(rows, "{0} was given with token {2} after {1}")


def _plans(ask: Any) -> list[str]:
    chaos = "select s.plan, s.no from tidemark.stages s join tidemark.plans p on p.id = s.plan where s.kind = 'chaos'"
    open_ = ask("select id::text, status from tidemark.plans where finished_at is null")
    twice = ask("select plan::text, shard, count(*) from recorder.shards group by plan, stage, shard having count(*) > 1")
    uneven = ask(f"""
        select s.plan::text, s.shards, coalesce(d.done, 0), coalesce(f.dead, 0)
          from tidemark.stages s
          join tidemark.plans p on p.id = s.plan
          left join (select plan, stage, count(*) as done from recorder.shards group by 1, 2) d on d.plan = s.plan and d.stage = s.no
          left join (select plan, stage, count(*) as dead from tidemark.shard_failures where status = 'dead' group by 1, 2) f
            on f.plan = s.plan and f.stage = s.no
         where p.status in ('succeeded', 'failed') and (s.plan, s.no) in ({chaos}) and s.opened_at is not null
           and p.reason is distinct from 'its timebox is over'
           and s.shards <> coalesce(d.done, 0) + coalesce(f.dead, 0)
    """)
    late = ask(f"""
        select p.id::text, count(*), max(r.at)::text from tidemark.plans p join recorder.shards r on r.plan = p.id
         where p.status in ('cancelled', 'aborted') and r.at > p.finished_at + interval '{LEEWAY}' group by p.id
    """)
    return [
        *_texts(open_, "plan {0} is still {1}"),
        *_texts(twice, "plan {0}: shard {1} was done {2} times"),
        *_texts(uneven, "plan {0}: of {1} shards {2} are done and {3} dead"),
        *_texts(late, "plan {0} was cancelled, and {1} shards were done afterwards, until {2}"),
    ]


def _spent(ask: Any) -> list[str]:
    over = ask("select id::text, attempt_count, max_retry_attempts from tds_sync_queue where attempt_count > max_retry_attempts")
    back = ask("select event::text, was, became from recorder.set_back")
    return _texts(over, "event {0} was tried {1} times, {2} are allowed") + _texts(back, "attempts of {0} went from {1} to {2}")


def _attempts(ask: Any, promised: Promised) -> list[str]:
    wrong = _spent(ask)
    letters = ask("""
        select q.id::text, q.attempt_count, q.max_retry_attempts, d.total_attempts
          from tds_dead_letter_queue d join tds_sync_queue q on q.id = d.sync_queue_id where not d.resolved
    """)
    wrong += [
        f"dead letter {event} was tried {attempts} times of {most}, it says {total}"
        for event, attempts, most, total in letters
        if event in promised.poison and not attempts == most == total
    ]
    letters = ask(
        "select sync_queue_id::text, count(*) from tds_dead_letter_queue where not resolved group by 1 having count(*) > 1"
    )
    wrong += _texts(letters, "event {0} has {1} open dead letters")
    failed = ask("""
        select distinct sync_queue_id::text, error_code from tds_sync_logs
         where operation_status in ('retry', 'dead_letter') and error_code is not null and sync_run_id is null
    """)
    return wrong + [
        f"healthy event {event} failed with {code}, which is not its own"
        for event, code in failed
        if event not in promised.poison and code not in CRASHES and not code.startswith(CRASH_STATES)
    ]


def _quarantine(ask: Any, promised: Promised) -> list[str]:
    rows = ask("select id::text from tds_inbox_events where validation_errors is not null and not is_valid")
    found = {row[0] for row in rows}
    if not promised.sent:
        return []
    wrong = [f"healthy event {event} is in quarantine" for event in sorted(found - promised.quarantined)]
    missing = (promised.quarantined & promised.acknowledged) - found
    return wrong + [f"event {event} is not in quarantine, whatever its shape" for event in sorted(missing)]


def _alerts(ask: Any) -> list[str]:
    open_ = ask("""
        select alert_type, coalesce(entity_type::text, '-'), count(*) from tds_alerts where not resolved group by 1, 2 having count(*) > 1
    """)
    # A condition may come and go with the trouble, but not with every look at it.
    flapping = ask("""
        select alert_type, coalesce(entity_type::text, '-'), count(*), max(triggered_at) - min(triggered_at)
          from tds_alerts
         group by 1, 2
        having count(*) > 3 and count(*) > extract(epoch from max(triggered_at) - min(triggered_at)) / 10
    """)
    stale = ask("""
        select a.entity_type::text from tds_alerts a
         where a.alert_type = 'sync_failed' and not a.resolved
           and exists (select from tds_sync_runs r where r.entity_type = a.entity_type and r.status = 'completed' and r.completed_at > a.triggered_at + interval '1 s')
    """)
    untold = ask("select alert_type, id::text from tds_alerts where resolved <> (resolved_at is not null)")
    return [
        *_texts(open_, "{2} alerts {0} of {1} are open at once"),
        *_texts(flapping, "alert {0} of {1} was opened {2} times within {3}"),
        *_texts(stale, "the alert that the sync of {0} failed is open, and one has succeeded since"),
        *_texts(untold, "alert {0} ({1}) is not clear about being resolved"),
    ]


def _append_only(ask: Any) -> list[str]:
    rows = ask("select count(*) from pg_trigger where tgname = 'tds_audit_trail_is_append_only' and tgenabled = 'O'")
    return [] if rows[0][0] == 1 else ["the audit trail can be changed"]


def _leaks(ask: Any, connections: int) -> list[str]:
    (count,) = ask("select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")[0]
    wrong = [f"{count} connections are open at rest, {connections} may be"] if count > connections else []
    idle = ask("""
        select pid, now() - state_change from pg_stat_activity
         where datname = current_database() and state like 'idle in transaction%' and now() - state_change > interval '15 s'
    """)
    locks = ask("""
        select l.pid, l.mode from pg_locks l join pg_stat_activity a on a.pid = l.pid
         where l.locktype = 'advisory' and a.datname = current_database() and now() - coalesce(a.xact_start, '-infinity') > interval '15 s'
    """)
    prepared = ask("select gid from pg_prepared_xacts where database = current_database()")
    return [
        *wrong,
        *_texts(idle, "backend {0} has left its transaction open for {1}"),
        *_texts(locks, "backend {0} keeps an advisory lock, {1}"),
        *_texts(prepared, "transaction {0} was prepared and left"),
    ]


def _memory(samples: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    wrong = []
    for name, points in samples.items():
        late = [point for point in points if point[0] >= points[0][0] + 20]  # what is loaded is loaded by then
        if points and max(size for _, size in points) > MEMORY:
            wrong.append(f"{name} takes {max(size for _, size in points):.0f} MB")
        if len(late) > 20 and late[-1][0] - late[0][0] > 20 and (slope := _slope(late)) > SLOPE:
            wrong.append(f"{name} grows by {slope:.2f} MB a second")
    return wrong


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line that fits best."""
    middle, level = (sum(each) / len(points) for each in zip(*points, strict=True))
    spread = sum((at - middle) ** 2 for at, _ in points)
    return sum((at - middle) * (size - level) for at, size in points) / spread if spread else 0.0
