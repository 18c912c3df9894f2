-- Schedules: what is to run when, as rows that anybody may change while everything runs; and each time it was due, as a row.

create table if not exists tidemark.schedules (
    name text primary key,
    cron text not null,
    time_zone text,                            -- null: that of the setting schedules.time_zone
    function text not null,                    -- the deployable that is rung
    arguments jsonb not null default '{}',
    enabled boolean not null default true,
    paused_at timestamptz,
    paused_by text,                            -- 'tick': its row could not be worked with
    pause_reason text,
    catch_up text not null default 'none',     -- of slots that an outage swallowed: none, the last, or all up to catch_up_limit run
    catch_up_limit integer not null default 10,
    overlap text not null default 'skip',      -- while a fire of it is not over, the next one is skipped, queued or allowed
    starts_at timestamptz,
    ends_at timestamptz,
    next_slot timestamptz,                     -- null: to be computed by the next tick; infinity: there is none any more
    last_slot timestamptz,
    version integer not null default 1,
    created_at timestamptz not null default app_now(),
    created_by text not null,
    updated_at timestamptz not null default app_now(),
    updated_by text not null,
    constraint name_is_plain check (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    constraint cron_is_short check (length(cron) between 1 and 120),
    constraint arguments_are_an_object check (jsonb_typeof(arguments) = 'object'),
    constraint catch_up_is_known check (catch_up in ('none', 'last', 'all')),
    constraint catch_up_limit_is_between_1_and_100 check (catch_up_limit between 1 and 100),
    constraint overlap_is_known check (overlap in ('skip', 'queue', 'allow')),
    constraint ends_after_it_starts check (starts_at < ends_at),
    constraint who_paused_is_known check ((paused_at is null) = (paused_by is null))
) with (fillfactor = 80);
create index if not exists schedules_due on tidemark.schedules (next_slot) where enabled and paused_at is null;
create index if not exists schedules_seeded on tidemark.schedules (name) where created_by = 'seed';

create table if not exists tidemark.fires (
    schedule text not null,                    -- no foreign key: it would cost a tick as much as everything else; see below
    slot timestamptz not null,
    kind text not null default 'slot',
    state text not null,
    recorded_at timestamptz not null default app_now(),
    ready_at timestamptz,                      -- when it is to be rung (again); infinity: it waits for an earlier one to end
    rung_at timestamptz,
    rings integer not null default 0,
    started_at timestamptz,
    finished_at timestamptz,
    plan_id uuid,                              -- the plan that it started, whose end is its end
    message text,
    requested_by text,
    constraint a_slot_fires_once primary key (schedule, slot),
    constraint kind_is_known check (kind in ('slot', 'manual', 'backfill')),
    constraint state_is_known check (state in ('due', 'started', 'done', 'failed', 'skipped', 'missed')),
    constraint due_fires_are_to_be_rung check ((state = 'due') = (ready_at is not null)),
    constraint started_fires_have_a_time check (state <> 'started' or started_at is not null),
    constraint finished_fires_have_a_time check ((finished_at is null) = (state in ('due', 'started')))
) with (fillfactor = 70);
create index if not exists fires_ready on tidemark.fires (ready_at) where state = 'due';
create index if not exists fires_open on tidemark.fires (schedule, slot) where state in ('due', 'started');
create index if not exists fires_started on tidemark.fires (started_at) where state = 'started' and plan_id is null;
create index if not exists fires_ended on tidemark.fires (schedule, slot) where state in ('done', 'failed');
create index if not exists fires_missed on tidemark.fires (schedule, slot) where state = 'missed';
create index if not exists fires_of_plans on tidemark.fires (plan_id) where plan_id is not null;
create index if not exists fires_finished on tidemark.fires (finished_at) where finished_at is not null;

-- Schedules as people see them: with their time zone, how the last hundred that ended went, and what was missed or is not over.
create or replace view tidemark.shown_schedules as
select s.name, s.cron, coalesce(s.time_zone, z.zone, 'UTC') as time_zone, s.time_zone is null as is_default_zone, s.function, s.arguments, s.enabled,
       s.paused_at, s.paused_by, s.pause_reason, s.catch_up, s.catch_up_limit, s.overlap, s.starts_at, s.ends_at,
       nullif(s.next_slot, 'infinity') as next_slot, s.last_slot, s.version, s.created_at, s.created_by, s.updated_at, s.updated_by,
       e.succeeded, e.ended, m.missed, u.unfinished
  from tidemark.schedules s
 cross join lateral (select (select value #>> '{}' from tidemark.settings where key = 'schedules.time_zone') as zone) z
 cross join lateral (
       select count(*) filter (where l.state = 'done') as succeeded, count(*) as ended
         from (select f.state from tidemark.fires f where f.schedule = s.name and f.state in ('done', 'failed') order by f.slot desc limit 100) l) e
 cross join lateral (
       select count(*) as missed from (select from tidemark.fires f where f.schedule = s.name and f.state = 'missed' limit 1000) l) m
 cross join lateral (
       select count(*) as unfinished from (select from tidemark.fires f where f.schedule = s.name and f.state in ('due', 'started') limit 1000) l) u;

-- When somebody was last seen at work who is to come again and again.
create table if not exists tidemark.heartbeats (
    function text primary key,
    seen_at timestamptz not null
);
insert into tidemark.heartbeats (function, seen_at) values ('tick', '-infinity') on conflict do nothing;

-- Fires go with their schedule. Whoever records one holds a lock on the schedule's row, so none can come afterwards.
create or replace function tidemark.fires_go_with_schedule() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
begin
    delete from tidemark.fires f using gone where f.schedule = gone.name;
    return null;
end $$;

create or replace trigger fires_go after delete on tidemark.schedules
    referencing old table as gone for each statement execute function tidemark.fires_go_with_schedule();

-- The nightly full sync stands in two places, because the users' configuration names it. A change of either is a change of
-- the other, in the same transaction; each looks first whether there is anything left to change, so they do not go in circles.
create or replace function tidemark.schedule_follows_configuration() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
begin
    update tidemark.schedules s
       set cron = wanted.cron, enabled = wanted.enabled, next_slot = null, version = s.version + 1,
           updated_at = app_now(), updated_by = coalesce(new.updated_by, 'configuration'),
           paused_at = case when s.paused_by is distinct from 'tick' then s.paused_at end,
           pause_reason = case when s.paused_by is distinct from 'tick' then s.pause_reason end,
           paused_by = nullif(s.paused_by, 'tick')
      from (select max(c.config_value #>> '{}') filter (where c.config_key = 'reconciliation.schedule_cron') as cron,
                   coalesce(max(c.config_value #>> '{}') filter (where c.config_key = 'reconciliation.enabled'), 'true') = 'true' as enabled
              from public.tds_configuration c
             where c.config_key in ('reconciliation.schedule_cron', 'reconciliation.enabled')) wanted
     where s.name = 'daily_full_sync' and (s.cron, s.enabled) is distinct from (wanted.cron, wanted.enabled);
    return null;
end $$;

create or replace function tidemark.configuration_follows_schedule() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
begin
    update public.tds_configuration c
       set config_value = to_jsonb(wanted.value), version = c.version + 1, updated_at = app_now(), updated_by = new.updated_by
      from (values ('reconciliation.schedule_cron', new.cron), ('reconciliation.enabled', new.enabled::text)) wanted (key, value)
     where c.config_key = wanted.key and c.config_value #>> '{}' is distinct from wanted.value;
    return null;
end $$;

create or replace trigger schedule_follows after update of config_value on public.tds_configuration
    for each row when (new.config_key in ('reconciliation.schedule_cron', 'reconciliation.enabled'))
    execute function tidemark.schedule_follows_configuration();
create or replace trigger configuration_follows after update of cron, enabled on tidemark.schedules
    for each row when (new.name = 'daily_full_sync' and (old.cron, old.enabled) is distinct from (new.cron, new.enabled))
    execute function tidemark.configuration_follows_schedule();

-- Another time zone for those that name none: their next slot is computed anew, also of those that a bad one had stopped.
create or replace function tidemark.schedules_follow_time_zone() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
begin
    update tidemark.schedules
       set next_slot = null,
           paused_at = case when paused_by is distinct from 'tick' then paused_at end,
           pause_reason = case when paused_by is distinct from 'tick' then pause_reason end,
           paused_by = nullif(paused_by, 'tick')
     where time_zone is null;
    return null;
end $$;

create or replace trigger schedules_follow after update of value on tidemark.settings
    for each row when (new.key = 'schedules.time_zone' and new.value is distinct from old.value)
    execute function tidemark.schedules_follow_time_zone();

revoke all on function tidemark.schedule_follows_configuration(), tidemark.configuration_follows_schedule(),
      tidemark.schedules_follow_time_zone(), tidemark.fires_go_with_schedule() from public;

grant select, update (next_slot, last_slot, paused_at, paused_by, pause_reason) on tidemark.schedules to tidemark_worker;
grant select, insert, update, delete on tidemark.fires to tidemark_worker;
grant select, update on tidemark.heartbeats to tidemark_worker;
grant select on tidemark.schedules, tidemark.fires, tidemark.heartbeats, tidemark.shown_schedules to tidemark_status;
grant select, insert, update, delete on tidemark.schedules to tidemark_operator;
grant select on tidemark.shown_schedules to tidemark_operator;
grant select, insert, update on tidemark.fires to tidemark_operator;
