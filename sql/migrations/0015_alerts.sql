-- Alerts: what the watcher remembers between two looks, and what it decides by.

-- One row per condition that is over its threshold or was lately; the alert itself is in tds_alerts.
create table if not exists tidemark.conditions (
    alert_type varchar(100) not null,
    entity_type public.tds_entity_type,
    minute timestamptz,                        -- of the last look: a minute counts once
    over integer not null default 0,           -- minutes in a row that found it over its threshold
    calm integer not null default 0,           -- minutes in a row that found it calm
    over_at timestamptz,                       -- when it was last over
    closed_at timestamptz,                     -- when its alert was last closed because it was over
    flaps integer not null default 0,          -- how often the alert was opened again since it was first opened
    muted_until timestamptz,                   -- an operator resolved it while it was true: it stays quiet until it was false once, or until then
    constraint a_condition_is_kept_once unique nulls not distinct (alert_type, entity_type)
);

-- How much came and went per minute, lately: averages in which old minutes count less and less.
create table if not exists tidemark.signals (
    name text primary key,
    minute timestamptz not null,               -- the last minute that is in the averages
    arrivals float8 not null,
    completions float8 not null
);

-- How much there was in each hour of the last weeks. Written once, when the hour is over.
create table if not exists tidemark.hours (
    signal text collate "C" not null,          -- received, or synced:<entity>
    hour timestamptz not null,
    amount bigint not null,
    primary key (signal, hour)
);

alter table public.tds_alerts add column if not exists acknowledgement_note text;
create index if not exists tds_alerts_latest on public.tds_alerts (triggered_at desc, id desc);

-- What is looked at every minute must not take longer the more there is.
create index if not exists schedules_by_function on tidemark.schedules (function) where enabled and paused_at is null and function in ('sync', 'reconcile');
create index if not exists tds_sync_runs_unfinished on public.tds_sync_runs (started_at) where completed_at is null;
create index if not exists tds_sync_runs_full on public.tds_sync_runs (entity_type, started_at desc) where mode = 'full' and status = 'completed' and entity_type is not null;

-- Transactions that have been open for longer than p_age and so keep the database from cleaning up. Who they are, and never
-- what they say: a query may hold data. As the owner, because a role sees only what its own sessions do.
create or replace function tidemark.long_transactions(p_age interval)
returns table (pid integer, kind text, application text, username text, state text, seconds float8)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select a.pid, 'transaction', left(a.application_name, 64), a.usename::text, a.state, extract(epoch from clock_timestamp() - a.xact_start)::float8
      from pg_stat_activity a
     where a.xact_start < clock_timestamp() - p_age and a.backend_type in ('client backend', 'walsender') and a.pid <> pg_backend_pid()
       and (a.datname = current_database() or (a.datname is null and a.backend_xmin is not null))
    union all
    select null, 'prepared transaction', left(p.gid, 64), p.owner::text, 'prepared', extract(epoch from clock_timestamp() - p.prepared)::float8
      from pg_prepared_xacts p
     where p.prepared < clock_timestamp() - p_age and p.database = current_database()
     order by 6 desc
     limit 20
$$;
revoke all on function tidemark.long_transactions(interval) from public;
grant execute on function tidemark.long_transactions(interval) to tidemark_worker, tidemark_status;

insert into tidemark.settings (key, value, value_type, description) values
    ('alerts.queue_critical', '5000', 'integer', 'Waiting events that make the alert critical; queue_backlog_threshold raises it'),
    ('alerts.dlq_warning', '50', 'integer', 'Unresolved dead letters that raise an alert'),
    ('alerts.dlq_critical', '100', 'integer', 'Unresolved dead letters that make it critical'),
    ('alerts.fewest_events', '20', 'integer', 'Events of an hour below which their rate of failures says nothing'),
    ('alerts.oldest_minutes', '15', 'number', 'How long work that is due may wait'),
    ('alerts.snapshot_minutes', '5', 'number', 'How long a transaction may stay open'),
    ('alerts.secret_days', '90', 'number', 'How old a webhook secret may become whose beginning is known'),
    ('alerts.open_after', '2', 'integer', 'Minutes in a row that a value that jumps must be over its threshold'),
    ('alerts.close_after', '2', 'integer', 'Calm minutes in a row that close an alert'),
    ('alerts.calm_share', '0.8', 'number', 'Share of its threshold below which a value is calm'),
    ('alerts.gap_minutes', '15', 'number', 'An alert is closed as well when its condition has not been true for so long'),
    ('alerts.reopen_minutes', '60', 'number', 'A condition that comes back so soon after its alert was closed opens the same alert again'),
    ('alerts.mute_minutes', '240', 'number', 'How long an alert stays quiet that an operator resolved although its condition went on'),
    ('alerts.forecast_half_life_minutes', '8', 'number', 'After so many minutes a minute counts half in the averages'),
    ('alerts.forecast_horizon_minutes', '60', 'number', 'How far ahead a backlog is forecast'),
    ('alerts.forecast_sustain', '3', 'integer', 'Minutes in a row for which a forecast must hold'),
    ('alerts.anomaly_score', '4', 'number', 'Deviations from the same hour of other weeks that are an anomaly, two hours in a row'),
    ('alerts.anomaly_rows', '20', 'integer', 'An hour with fewer, and with fewer expected, is no anomaly'),
    ('alerts.silence_rows', '30', 'integer', 'An hour in which nothing comes raises an alert when there usually is more than this'),
    ('alerts.anomaly_weeks', '5', 'integer', 'Weeks that an hour is compared with')
on conflict do nothing;

grant select, insert, update, delete on tidemark.conditions, tidemark.signals, tidemark.hours to tidemark_worker;
grant select on tidemark.conditions, tidemark.signals, tidemark.hours to tidemark_status;
grant select on tidemark.duplicates, tidemark.webhook_secrets, tidemark.last_hour, tidemark.source_limits to tidemark_worker;
grant execute on function tidemark.total(text) to tidemark_worker;
grant select, insert, update (over, calm, closed_at, flaps, muted_until) on tidemark.conditions to tidemark_operator;
grant update (acknowledged, acknowledged_at, acknowledged_by, acknowledgement_note, is_active, resolved, resolved_at, resolved_by, resolution_notes)
   on public.tds_alerts to tidemark_operator;
