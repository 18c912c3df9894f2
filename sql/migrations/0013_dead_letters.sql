-- What ended badly, by its cause: one place that says what a cause is, replays in steps, what operators did to events;
-- what each healer did and when; and what retention may take away.

-- Causes ---------------------------------------------------------------------------------------------------------

-- A message without what differs from one event to the next: quoted values, and every word that holds a digit.
create or replace function tidemark.place(p_message text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select left(regexp_replace(
               regexp_replace(left(p_message, 2000), '"[^"]*"|`[^`]*`|(?<!\w)''[^'']*''(?!\w)', '*', 'g'),
               '[[:alnum:]_.:+-]*[0-9][[:alnum:]_.:+-]*', '#', 'g'), 300)
$$;

-- The faults of a quarantined event as one message, the same whatever their order and however many lines have them.
create or replace function tidemark.faults_said(p_errors jsonb) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select coalesce(string_agg(f.said, '; ' order by f.said collate "C"), '')
      from (select distinct tidemark.place(concat_ws(' ', e.fault ->> 'pointer', e.fault ->> 'message')) collate "C" as said
              from jsonb_array_elements(case jsonb_typeof(p_errors) when 'array' then p_errors else '[]' end) e (fault)
             order by 1 limit 5) f
$$;

-- What two events share that failed for one cause: the class of the error, the entity, and the place.
create or replace function tidemark.fingerprint(p_code text, p_entity public.tds_entity_type, p_message text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select left(encode(sha256(convert_to(concat_ws(E'\x1f', coalesce(p_code, ''), p_entity::text, tidemark.place(coalesce(p_message, ''))), 'UTF8')), 'hex'), 16)
$$;

revoke all on function tidemark.place(text), tidemark.faults_said(jsonb),
      tidemark.fingerprint(text, public.tds_entity_type, text) from public;
grant execute on function tidemark.place(text), tidemark.faults_said(jsonb),
      tidemark.fingerprint(text, public.tds_entity_type, text) to tidemark_worker, tidemark_operator;

alter table public.tds_dead_letter_queue add column if not exists fingerprint text
    generated always as (tidemark.fingerprint(error_code, entity_type, failure_reason)) stored;
-- How often healing has tried the event again, over all its letters: an event that dies again has not earned new tries.
alter table public.tds_dead_letter_queue add column if not exists auto_retries integer not null default 0;
create index if not exists tds_dead_letter_queue_event on public.tds_dead_letter_queue (sync_queue_id);
create index if not exists tds_dead_letter_queue_cause on public.tds_dead_letter_queue (fingerprint, created_at) where not resolved;

create or replace function tidemark.remember_retries() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    new.auto_retries := greatest(new.auto_retries, (
        select max(d.auto_retries) from public.tds_dead_letter_queue d where d.sync_queue_id = new.sync_queue_id));
    return new;
end $$;
create or replace trigger tds_dead_letter_queue_remembers before insert on public.tds_dead_letter_queue
    for each row execute function tidemark.remember_retries();

-- A quarantined event that nobody need look at any more has a resolved_at; what was wrong with it stays to be read.
alter table public.tds_inbox_events add column if not exists fingerprint text;
alter table public.tds_inbox_events add column if not exists retried_with text;  -- the shape it was last read with, and still found wrong
alter table public.tds_inbox_events add column if not exists resolved_at timestamptz;
alter table public.tds_inbox_events add column if not exists resolved_by text;
alter table public.tds_inbox_events add column if not exists resolution_notes text;

create or replace function tidemark.note_cause() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    new.fingerprint := tidemark.fingerprint('quarantine', new.entity_type, tidemark.faults_said(new.validation_errors));
    return new;
end $$;
create or replace trigger tds_inbox_events_cause before insert or update of validation_errors on public.tds_inbox_events
    for each row when (new.validation_errors is not null) execute function tidemark.note_cause();
update public.tds_inbox_events set validation_errors = validation_errors where validation_errors is not null and fingerprint is null;
revoke all on function tidemark.remember_retries(), tidemark.note_cause() from public;

-- What ended badly and waits for somebody: dead letters, and events in quarantine.
create or replace view tidemark.open_letters as
select d.id, 'dead_letter' as kind, d.sync_queue_id as event_id, d.entity_type, d.source_entity_id, d.fingerprint,
       d.failure_reason as reason, d.error_code::text as error_code, d.total_attempts as attempts, d.auto_retries, d.created_at as at
  from public.tds_dead_letter_queue d
 where not d.resolved
union all
select i.id, 'quarantine', i.id, i.entity_type, i.source_entity_id, i.fingerprint,
       concat_ws(' ', nullif(i.validation_errors #>> '{0,pointer}', ''), i.validation_errors #>> '{0,message}'), null, 0, 0, i.received_at
  from public.tds_inbox_events i
 where i.validation_errors is not null and i.resolved_at is null;

-- What people do about them --------------------------------------------------------------------------------------

-- Who did what to which events and why, with what an edit changed. Append-only for everybody.
create table if not exists tidemark.interventions (
    id uuid primary key default gen_random_uuid(),
    at timestamptz not null default app_now(),
    actor text not null,
    verb text not null,
    reason text,
    events uuid[] not null,
    letters uuid[] not null,
    before jsonb,                              -- an edit: the payload as it was
    after jsonb,                               -- and as it is now
    became uuid,                               -- the event that has the new payload
    constraint verb_is_known check (verb in ('edit', 'discard')),
    constraint an_edit_says_what_changed check (verb <> 'edit' or (after is not null and became is not null))
);
create index if not exists interventions_events on tidemark.interventions using gin (events);
create or replace trigger interventions_are_append_only before update or delete or truncate on tidemark.interventions
    for each statement execute function tidemark.refuse_change();

-- Many letters tried again in steps of 1, 10 and the rest: the next step begins when the one before ended well.
create table if not exists tidemark.replays (
    id uuid primary key default gen_random_uuid(),
    state text not null default 'running',
    filter jsonb not null,
    total integer not null,
    step integer not null default 0,           -- that was begun last
    requested_by text not null,
    requested_at timestamptz not null default app_now(),
    finished_at timestamptz,
    message text,
    constraint replay_state_is_known check (state in ('running', 'done', 'stopped')),
    constraint finished_replays_have_a_time check ((finished_at is null) = (state = 'running'))
);
create index if not exists replays_running on tidemark.replays (requested_at) where state = 'running';
create index if not exists replays_requested on tidemark.replays (requested_at desc);

create table if not exists tidemark.replay_items (
    replay uuid not null references tidemark.replays on delete cascade,
    position integer not null,
    letter uuid not null,                      -- a dead letter's id, or a quarantined event's
    kind text not null,
    event_id uuid not null,
    fingerprint text,
    state text not null default 'waiting',
    step integer,
    revived_at timestamptz,
    ended_at timestamptz,
    said text,                                 -- why it failed again
    met text,                                  -- and the fingerprint of that
    primary key (replay, position),
    constraint item_state_is_known check (state in (
        'waiting',  -- its step has not come
        'revived',  -- on its way through the queue
        'done',     -- it went well
        'again',    -- it failed again
        'gone',     -- somebody else has dealt with it
        'left'      -- the replay was stopped before its step
    )),
    constraint ended_items_have_a_time check ((ended_at is null) = (state in ('waiting', 'revived')))
);
create unique index if not exists replay_items_once_at_a_time on tidemark.replay_items (letter) where ended_at is null;
create index if not exists replay_items_event on tidemark.replay_items (event_id) where ended_at is null;

-- A quarantined event that reads well now goes back to where it would have been; false when somebody was faster.
-- p_event: id, entity, entity_id, operation, stamp, hash, organization, payload, path, flags, priority. Its body stays as it came.
create or replace function tidemark.release(p_event jsonb) returns boolean
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
declare
    v_id uuid := (p_event ->> 'id')::uuid;
begin
    update tds_inbox_events i
       set entity_type = e.entity, source_entity_id = e.entity_id, operation_type = e.operation, source_modified_at = e.stamp,
           content_hash = e.hash, organization_id = e.organization, raw_payload = e.payload::jsonb, payload_path = e.path, flags = e.flags,
           validation_errors = null, fingerprint = null, processed_at = null, is_valid = false
      from jsonb_to_record(p_event) as e (
           entity tds_entity_type, entity_id text, operation tds_operation_type, stamp timestamptz, hash text, organization text,
           payload text, path text[], flags text[])
     where i.id = v_id and i.validation_errors is not null and not i.moved_to_queue and i.resolved_at is null;
    if not found then
        return false;
    end if;
    insert into ready_events (id, rank) values (v_id, app_now() + (p_event ->> 'priority')::integer * interval '30 s');
    insert into deltas (name, amount) values ('waiting', 1), ('quarantined', -1);
    return true;
end $$;

-- An edited event is a new one, read and applied like any other; the one it was made of is over, and stays as it came.
-- p_event: as receive() takes it. p_letter: the dead letter; null: the original is in quarantine. The answer: done, gone
-- (somebody else has dealt with the original) or known (there is an event with this key).
create or replace function tidemark.edit(
    p_event jsonb, p_original uuid, p_letter uuid, p_actor text, p_reason text, p_before jsonb, p_after jsonb
) returns text language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
declare
    v_id uuid := (p_event ->> 'id')::uuid;
    v_note text := 'edited as ' || v_id || ': ' || p_reason;
begin
    if p_letter is null then
        update tds_inbox_events set resolved_at = app_now(), resolved_by = p_actor, resolution_notes = v_note
         where id = p_original and validation_errors is not null and resolved_at is null;
    else
        update tds_dead_letter_queue set resolved = true, resolved_at = app_now(), resolved_by = p_actor, resolution_notes = v_note
         where id = p_letter and sync_queue_id = p_original and not resolved;
    end if;
    if not found then
        return 'gone';
    end if;
    update tds_sync_queue set status = 'failed', completed_at = app_now(), processing_result = jsonb_build_object('edited_as', v_id)
     where id = p_original and status = 'dead_letter';
    insert into tds_inbox_events (
           id, idempotency_key, source_type, entity_type, source_entity_id, operation_type, source_modified_at, rank, organization_id,
           content_hash, payload_path, flags, method, query, traceparent, raw_payload, raw_body)
    select v_id, e.key, 'manual', e.entity, e.entity_id, e.operation, e.stamp, app_now() + e.priority * interval '30 s',
           coalesce(e.organization, ''), e.hash, coalesce(e.path, '{}'), coalesce(e.flags, '{}') || '{edited}', e.method, e.query,
           e.traceparent, coalesce(e.payload, e.body)::jsonb, convert_to(e.body, 'UTF8')
      from jsonb_to_record(p_event) as e (
           key text, entity tds_entity_type, entity_id text, operation tds_operation_type, stamp timestamptz, hash text, organization text,
           body text, payload text, path text[], flags text[], method text, query text, traceparent text, priority integer)
    on conflict do nothing;
    if not found then
        return 'known';
    end if;
    insert into ready_events (id, rank) select id, rank from tds_inbox_events where id = v_id;
    insert into deltas (name, amount) values ('received', 1), ('waiting', 1);
    insert into interventions (actor, verb, reason, events, letters, before, after, became)
    values (p_actor, 'edit', p_reason, array[p_original], array[coalesce(p_letter, p_original)], p_before, p_after, v_id);
    return 'done';
end $$;

revoke all on function tidemark.release(jsonb), tidemark.edit(jsonb, uuid, uuid, text, text, jsonb, jsonb) from public;
grant execute on function tidemark.release(jsonb) to tidemark_worker;
grant execute on function tidemark.edit(jsonb, uuid, uuid, text, text, jsonb, jsonb) to tidemark_operator;

-- Healing --------------------------------------------------------------------------------------------------------

-- What each healer did in its last run, and altogether.
create table if not exists tidemark.healers (
    name text primary key,
    ran_at timestamptz not null,
    took_ms integer not null,
    healed bigint not null,
    total bigint not null,
    error text
) with (fillfactor = 50);
-- Since when it has been seen again and again without a long gap: after an outage nobody can be late yet.
alter table tidemark.heartbeats add column if not exists since timestamptz not null default app_now();
insert into tidemark.heartbeats (function, seen_at) values ('heal', app_now()) on conflict do nothing;

insert into tidemark.settings (key, value, value_type, description) values
    ('healing.interval_minutes', '15', 'integer', 'How often healing runs; twice as long without it raises an alert'),
    ('healing.dead_letter_hours', '24', 'integer', 'How old a dead letter is when healing tries it again'),
    ('healing.dead_letter_batch', '100', 'integer', 'Dead letters that one healing pass tries again'),
    ('healing.dead_letter_retries', '3', 'integer', 'How often healing tries one event again, for ever'),
    ('healing.cursor_minutes', '60', 'integer', 'How often a cursor should move; twice as long although syncs succeed raises an alert'),
    ('retention.events_days', '7', 'integer', 'Days for which events that have ended are kept, with their queue rows'),
    ('retention.logs_days', '90', 'integer', 'Days for which the log of attempts is kept'),
    ('retention.metrics_days', '30', 'integer', 'Days for which metrics are kept'),
    ('retention.rollups_days', '42', 'integer', 'Days for which counts by the minute are kept'),
    ('retention.duplicates_days', '7', 'integer', 'Days for which it is kept that a delivery came twice'),
    ('retention.replays_days', '90', 'integer', 'Days for which replays that are over are kept')
on conflict do nothing;

-- Retention ------------------------------------------------------------------------------------------------------

-- Delete at most p_limit inbox rows whose event has ended, each with its queue row; how many events went. What is
-- unresolved stays for ever. Rows that somebody has locked are passed by.
create or replace function public.tds_cleanup_old_inbox_events(p_days integer default 7, p_limit integer default 10000)
returns integer language sql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
    with old as materialized (
        select i.id from public.tds_inbox_events i
         where i.received_at < app_now() - make_interval(days => greatest(p_days, 1)) and (i.moved_to_queue or i.resolved_at is not null)
           and not exists (select from public.tds_sync_queue q
                            where q.id = i.id and (q.status not in ('completed', 'failed')
                                                   or q.completed_at >= app_now() - make_interval(days => greatest(p_days, 1))))
         order by i.received_at limit p_limit for update of i skip locked
    ), gone as (
        delete from public.tds_inbox_events i using old where i.id = old.id returning i.id
    ), finished as (
        delete from public.tds_sync_queue q using old where q.id = old.id
    )
    select count(*)::integer from gone
$$;

-- Delete at most p_limit log rows older than p_days; how many went.
create or replace function public.tds_cleanup_old_sync_logs(p_days integer default 90, p_limit integer default 10000)
returns integer language sql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
    with old as (
        select ctid from public.tds_sync_logs where "timestamp" < app_now() - make_interval(days => greatest(p_days, 1)) limit p_limit
           for update skip locked
    ), gone as (delete from public.tds_sync_logs l using old where l.ctid = old.ctid returning 1)
    select count(*)::integer from gone
$$;

revoke all on function public.tds_cleanup_old_inbox_events(integer, integer), public.tds_cleanup_old_sync_logs(integer, integer) from public;
grant execute on function public.tds_cleanup_old_inbox_events(integer, integer), public.tds_cleanup_old_sync_logs(integer, integer)
   to tidemark_worker;
create index if not exists tds_metrics_recorded on public.tds_metrics (recorded_at);
create index if not exists rollups_minute on tidemark.rollups (minute);

-- Rights ---------------------------------------------------------------------------------------------------------

grant execute on function tidemark.total(text) to tidemark_worker;
grant update (retried_with, resolved_at, resolved_by, resolution_notes) on public.tds_inbox_events to tidemark_worker;
grant select, delete on public.tds_metrics, tidemark.duplicates to tidemark_worker;
grant delete on tidemark.rollups, tidemark.replays to tidemark_worker;
grant select, insert, update on tidemark.healers, tidemark.replays, tidemark.replay_items to tidemark_worker;
grant select on tidemark.open_letters to tidemark_worker, tidemark_status, tidemark_operator;
grant select on tidemark.healers, tidemark.replays, tidemark.replay_items, tidemark.interventions to tidemark_status;
grant select, insert on tidemark.replays, tidemark.replay_items, tidemark.interventions to tidemark_operator;
grant update (resolved_at, resolved_by, resolution_notes) on public.tds_inbox_events to tidemark_operator;
grant update (completed_at) on public.tds_sync_queue to tidemark_operator;
