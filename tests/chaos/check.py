"""The checker: what must hold of a database once nothing is at work any more. Silent when it does.

It knows nothing of how events are applied; it reads what was acknowledged, what is stored, and what the recorder saw.
Here are the invariants of events (I1, I2, I4, I8, I11, I13, I14) and of plans (I7); tests/chaos/invariants.py has the others,
and puts all of them together for campaigns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from common import db, encoding, entities

# Writes down every effect on a business record, each time: no key of any kind, so that nothing done twice can hide.
RECORDER = """
    create schema if not exists recorder;
    create table if not exists recorder.effects (event_id uuid, entity_type text, source_id text, at timestamptz default clock_timestamp());
    grant usage on schema recorder to public;
    grant insert on recorder.effects to public;
    create or replace function recorder.record() returns trigger language plpgsql as $$
    begin
        insert into recorder.effects (event_id, entity_type, source_id) values (new.event_id, tg_argv[0], new.source_id);
        return null;
    end $$;
"""
TRIGGERS = """
    create trigger recorded_insert after insert on erp.{table} for each row execute function recorder.record('{label}');
    create trigger recorded_update after update on erp.{table} for each row
        when (new.event_id is distinct from old.event_id or new.updated_at is distinct from old.updated_at)
        execute function recorder.record('{label}');
"""
# Every event by its state. One that is in none, or in two, has no row or two here.
STATES = """
    select i.id, 'quarantined' as state from tds_inbox_events i
     where i.validation_errors is not null and i.processed_at is not null and not i.is_valid and not i.moved_to_queue
    union all
    select i.id, 'waiting' from tds_inbox_events i join tidemark.ready_events r on r.id = i.id
    union all
    select q.inbox_event_id, 'completed' from tds_sync_queue q join tds_inbox_events i on i.id = q.inbox_event_id
     where q.status = 'completed' and i.moved_to_queue and i.is_valid and i.processed_at is not null
    union all
    select q.inbox_event_id, 'dead' from tds_sync_queue q join tds_dead_letter_queue d on d.sync_queue_id = q.id and not d.resolved
     where q.status = 'dead_letter'
    union all
    select q.inbox_event_id, 'waiting' from tds_sync_queue q where q.status in ('pending', 'retry', 'processing')
"""
COUNTERS = {
    "received": "select count(*) from tds_inbox_events",
    "waiting": "select count(*) from tidemark.ready_events",
    "duplicate": "select count(*) from tidemark.duplicates",
    "quarantined": "select count(*) from tds_inbox_events where validation_errors is not null",
    "completed": "select count(*) from tds_sync_queue where status = 'completed'",
    "applied": "select count(*) from tds_sync_queue where processing_result ->> 'outcome' = 'applied'",
    "unchanged": "select count(*) from tds_sync_queue where processing_result ->> 'outcome' = 'unchanged'",
    "superseded": "select count(*) from tds_sync_queue where processing_result ->> 'outcome' = 'superseded'",
    "ambiguous": "select count(*) from tds_sync_queue where processing_result ->> 'outcome' = 'ambiguous'",
    "dead_letter": "select count(*) from tds_dead_letter_queue",
    "retried": "select count(*) from tds_sync_logs where operation_status = 'retry'",
}
# The version that should stand: the newest of all that were applied or could have been.
NEWEST = """
    with versions as (
        select i.organization_id, i.source_entity_id, i.operation_type, i.content_hash,
               case when i.operation_type = 'delete' then coalesce(i.source_modified_at, i.received_at)
                    else coalesce(i.source_modified_at, '-infinity') end as version, i.received_at
          from tds_inbox_events i
         where i.entity_type = '{label}' and exists (select from tds_sync_queue q where q.id = i.id and q.status = 'completed')
    ), newest as (
        select distinct on (organization_id, source_entity_id) * from versions
         order by organization_id, source_entity_id, version desc, operation_type = 'delete' desc, received_at desc, content_hash desc
    )
    select n.source_entity_id, n.version::text, coalesce(d.source_modified_at, '-infinity')::text
      from newest n left join erp.{table} d on d.organization_id = n.organization_id and d.source_id = n.source_entity_id
     where d.source_id is null or coalesce(d.source_modified_at, '-infinity') <> n.version or d.detail_hash <> n.content_hash
        or (d.deleted_at is not null) <> (n.operation_type = 'delete')
"""
LINES = """
    select d.source_id, jsonb_array_length(coalesce(d.detail_document -> '{key}', '[]')), array_agg(l.line_no order by l.line_no)::text
      from erp.{table} d left join erp.{lines} l using (organization_id, source_id)
     where d.deleted_at is null
     group by d.organization_id, d.source_id
    having count(l.line_no) <> jsonb_array_length(coalesce(d.detail_document -> '{key}', '[]'))
        or bool_or(l.line_item_id is distinct from d.detail_document -> '{key}' -> l.line_no ->> 'line_item_id')
        {name}
"""


def record_effects(database_url: str) -> None:
    """Have every effect on a business record written down from here on."""
    triggers = "".join(TRIGGERS.format(table=entity.table, label=entity.label) for entity in entities.every())
    _rows(database_url, RECORDER + triggers)


def faults(
    database_url: str, acknowledged: Iterable[Mapping[str, Any]], poison: Iterable[str] = (), synced: Collection[str] = ()
) -> list[str]:
    """Every way in which the database contradicts what was promised; `acknowledged` are the bodies of 202s,
    `poison` the ids of events that may end as dead letters, `synced` the entities that are read from their source as well.
    """  # fmt: skip
    given = [answer["event_id"] for answer in acknowledged if "event_id" in answer]
    return [fault for found in by_invariant(database_url, given, poison, synced).values() for fault in found]


def by_invariant(
    database_url: str, given: Iterable[str], poison: Iterable[str] = (), synced: Collection[str] = ()
) -> dict[str, list[str]]:
    """As `faults`, by invariant; `given` are the ids of acknowledged events."""
    connection = db.Connection(db.Address(database_url))
    try:
        connection.raw.settimeout(60)
        ask = connection.script
        ask("begin isolation level repeatable read")
        states, dead = _states(ask, set(poison))
        return {
            "I1 lost": _lost(ask, given),
            "I2 once": _effects(ask, synced),
            "I4 newest": _newest(ask, synced) + _lines(ask, synced),
            "I8 dead letters": dead,
            "I9 leases": _leftovers(ask),
            "I11 counters": _counters(ask),
            "I13 audit": _audit(ask, synced),
            "I14 conservation": states,
        }
    finally:
        connection.close()


def waiting(database_url: str) -> int:
    """How many events are not in a final state yet, receipts and leases included."""
    found = _rows(
        database_url,
        "select (select count(*) from tidemark.ready_events) + (select count(*) from tidemark.receipts)"
        " + (select count(*) from tds_sync_queue where status in ('pending', 'retry', 'processing'))",
    )
    return int(found[0][0])


def _rows(database_url: str, text: str) -> list[list[Any]]:
    connection = db.Connection(db.Address(database_url))
    try:
        connection.raw.settimeout(30)
        with db._ours():
            return connection.script(text)
    finally:
        connection.close()


def _lost(ask: Any, given: Iterable[str]) -> list[str]:
    stored = {str(row[0]) for row in ask("select id from tds_inbox_events")}
    return [f"acknowledged and lost: {event}" for event in sorted(set(given) - stored)]


def _states(ask: Any, poison: set[str]) -> tuple[list[str], list[str]]:
    """What is in no state, in two, or in none that is final; what is a dead letter and should not be, or the other way round."""
    found: dict[str, list[str]] = {str(row[0]): [] for row in ask("select id from tds_inbox_events")}
    for event, state in ask(STATES):
        found.setdefault(str(event), []).append(state)
    wrong = [f"event {event} is in {states or 'no state'}" for event, states in found.items() if len(states) != 1]
    wrong += [f"event {event} still waits" for event, states in found.items() if "waiting" in states]
    dead = [
        f"healthy event {event} is a dead letter" for event, states in found.items() if "dead" in states and event not in poison
    ]
    dead += [f"poison {event} ended as {found.get(event)}" for event in sorted(poison) if found.get(event) != ["dead"]]
    return wrong, dead


def _effects(ask: Any, synced: Collection[str]) -> list[str]:
    rows = ask(
        "select q.id, q.processing_result ->> 'outcome', count(e.event_id), count(distinct a.id)"
        "  from tds_sync_queue q left join recorder.effects e on e.event_id = q.id left join tds_audit_trail a on a.id = q.id"
        " where q.status = 'completed' group by q.id"
    )
    wrong = []
    for event, outcome, effects, audits in rows:
        # A newer stamp over the same content moves the stamp and is no change.
        allowed = {"applied": {(1, 1)}, "unchanged": {(0, 0), (1, 0)}}.get(outcome, {(0, 0)})
        if (effects, audits) not in allowed:
            wrong.append(f"event {event}, {outcome}: {effects} effects, {audits} audit rows")
    strangers = ask(
        "select event_id, exists (select from tds_inbox_events i where i.id = e.event_id) from recorder.effects e"
        " where not exists (select from tds_sync_queue q where q.id = e.event_id and q.status = 'completed')"
    )
    # What is read from the source has effects, too, and no event.
    return wrong + [f"event {row[0]} had an effect and is not completed" for row in strangers if row[1] or not synced]


def _newest(ask: Any, synced: Collection[str]) -> list[str]:
    return [
        f"{entity.label} {row[0]}: {row[2]} stands, the newest is {row[1]}"
        for entity in entities.every()
        if entity.label not in synced
        for row in ask(NEWEST.format(label=entity.label, table=entity.table))
    ]


def _lines(ask: Any, synced: Collection[str]) -> list[str]:
    wrong = []
    for entity in entities.every():
        if entity.lines and entity.label not in synced:
            named = "name" in entity.lines.columns
            name = (
                f"or bool_or(l.name is distinct from d.detail_document -> '{entity.lines.key}' -> l.line_no ->> 'name')"
                if named
                else ""
            )
            rows = ask(LINES.format(table=entity.table, lines=entity.lines.table, key=entity.lines.key, name=name))
            wrong += [f"{entity.label} {row[0]} has lines {row[2]} of another version than the {row[1]} of its own" for row in rows]
    return wrong


def _audit(ask: Any, synced: Collection[str]) -> list[str]:
    """Of each record: every change begins with the value that the change before it ended with."""
    rows = ask(
        "select a.entity_type::text, a.entity_id, a.old_value, a.new_value, a.id from tds_audit_trail a"
        "  join (select event_id, min(at) as at from recorder.effects group by event_id) e on e.event_id = a.id order by e.at"
    )
    stamps = {key for entity in entities.every() for key in entity.version_keys}
    known: dict[tuple[str, str], dict[str, Any]] = {}
    wrong = []
    for label, record, old, new, event in rows:
        if label in synced:
            continue
        values = known.setdefault((label, record), {})
        for key, value in (_read(old) or {}).items():
            # Stamps move without a change; lines stand in the first version's columns under no key.
            if key in values and key not in stamps and str(values[key]) != str(value):
                wrong.append(f"audit {event} of {label} {record}: {key} was {values[key]!r}, it says {value!r}")
        values.update(_read(new) or {})
    return wrong


def _read(value: Any) -> Any:
    return encoding.loads(value) if isinstance(value, str) else value


def _counters(ask: Any) -> list[str]:
    wrong = []
    for name, truth in COUNTERS.items():
        counted, true = ask(f"select tidemark.total('{name}'), ({truth})")[0]
        if counted != true:
            wrong.append(f"counter {name} says {counted}, there are {true}")
    return wrong


def _leftovers(ask: Any) -> list[str]:
    wrong = [f"open receipt {row[0]}" for row in ask("select token from tidemark.receipts")]
    return wrong + [f"open lease on {row[0]}" for row in ask("select id from tds_sync_queue where lock_expires_at is not null")]


def plan_faults(database_url: str) -> list[str]:
    """What does not hold of plans that are over: every shard reported once, none twice, none left out."""
    connection = db.Connection(db.Address(database_url))
    connection.raw.settimeout(30)
    try:
        found = [f"{what}: {row}" for what, text in PLANS.items() for row in connection.script(text)]
    finally:
        connection.close()
    return found


PLANS = {
    "chunks that overlap or leave a gap": """
        select l.plan, l.stage, l.lo, l.previous
          from (select *, lag(hi, 1, 0::bigint) over (partition by plan, stage order by lo) as previous from tidemark.leaves) l
          join tidemark.plans p on p.id = l.plan
         where p.status = 'succeeded' and l.lo <> l.previous
    """,
    "a stage whose chunks are not its shards": """
        select s.plan, s.no, s.shards, max(l.hi)
          from tidemark.stages s join tidemark.plans p on p.id = s.plan left join tidemark.leaves l on l.plan = s.plan and l.stage = s.no
         where p.status = 'succeeded' group by s.plan, s.no, s.shards having coalesce(max(l.hi), 0) <> s.shards
    """,
    "a leaf that is not 32 bytes a shard": "select plan, stage, lo from tidemark.leaves where octet_length(digests) <> 32 * (hi - lo)",
    "a lane of a stage that is over": """
        select l.plan, l.stage from tidemark.lanes l join tidemark.stages s on s.plan = l.plan and s.no = l.stage
         where s.status in ('failed', 'succeeded')
    """,
    "a run that is not over although its plan is": """
        select r.id from tds_sync_runs r join tidemark.plans p on p.id = r.plan_id where p.finished_at is not null and r.completed_at is null
    """,
    "a run that is over and says that it is not": """
        select id, status from tds_sync_runs where completed_at is not null and status not in ('completed', 'failed')
    """,
    "a run that says other than its pages": """
        select r.id, r.pages, r.total_events, l.pages, l.rows
          from tds_sync_runs r
          join (select sync_run_id, count(*) as pages, sum(coalesce((output_payload ->> 'rows')::int, (output_payload ->> 'read')::int + (output_payload ->> 'missing')::int)) as rows
                  from tds_sync_logs where sync_run_id is not null group by 1) l on l.sync_run_id = r.id
         where r.entity_type is not null and (r.pages <> l.pages or r.total_events <> l.rows)
    """,
    "a page that counts other than its ids": "select plan, stage, page from tidemark.seen_ids where cardinality(ids) > rows",
}
