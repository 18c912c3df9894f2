-- The engine's own rooms, as far as receiving and applying need them.

-- Fencing tokens: every claim of anything takes the next one, and every later write carries it.
create sequence if not exists tidemark.token;

-- Settings beside the eleven that users know.
create table if not exists tidemark.settings (
    key text primary key,
    value jsonb not null,
    value_type text not null,
    description text not null,
    updated_at timestamptz not null default app_now(),
    updated_by text,
    version integer not null default 1
);

-- Inbox events that wait to be applied. Small rows, so that claiming and finishing never touch the big ones' indexes.
create table if not exists tidemark.ready_events (
    id uuid primary key,
    rank timestamptz not null
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
create index if not exists ready_events_rank on tidemark.ready_events (rank);

-- One row per batch in work, written before it; one that outlives its lease tells of a crash.
create table if not exists tidemark.receipts (
    token bigint primary key,
    ids uuid[] not null,
    leased_until timestamptz not null,
    locked_by text not null
);
create index if not exists receipts_lease on tidemark.receipts (leased_until);

-- Per function: when somebody was last rung who has not yet found the work exhausted.
create table if not exists tidemark.bells (
    function text primary key,
    rung_at timestamptz
);
insert into tidemark.bells (function) values ('process') on conflict do nothing;

-- One row per delivery that was already known.
create table if not exists tidemark.duplicates (
    event_id uuid not null,
    received_at timestamptz not null default app_now()
);
create index if not exists duplicates_event on tidemark.duplicates (event_id, received_at);
create index if not exists duplicates_received on tidemark.duplicates (received_at);

-- From when until when a webhook secret counts; one that is not here always counts. The secret itself is never stored.
create table if not exists tidemark.webhook_secrets (
    fingerprint text primary key,  -- scheme:first 8 hex digits of its SHA-256
    not_before timestamptz not null default '-infinity',
    not_after timestamptz not null default 'infinity',
    note text,
    constraint window_is_not_reversed check (not_before < not_after)
);

-- Records to be read again from the source, because what came in does not say what is true.
create table if not exists tidemark.refetches (
    organization_id text not null,
    entity_type public.tds_entity_type not null,
    source_entity_id text not null,
    reason text not null,  -- ambiguous: two contents at one stamp; hint: no version came; partial: fields were left out
    requested_at timestamptz not null default app_now(),
    requests integer not null default 1,
    primary key (organization_id, entity_type, source_entity_id)
);

-- Tokens of operators; only the hash is stored, the token is shown once.
create table if not exists tidemark.operator_tokens (
    id text primary key,
    hash text not null,
    role text not null,
    name text not null,
    created_at timestamptz not null default app_now(),
    created_by text not null,
    expires_at timestamptz not null,
    revoked_at timestamptz,
    constraint role_is_known check (role in ('owner', 'operator', 'viewer'))
);

-- Calls per operator token and window, so that one token cannot starve the database.
create table if not exists tidemark.rate_limits (
    subject text not null,
    period text not null,  -- minute, hour
    started_at timestamptz not null,
    used integer not null,
    primary key (subject, period)
) with (fillfactor = 50);

-- Counters, three ways: deltas are appended by the transaction that did it; tick folds them into minutes and totals.
create table if not exists tidemark.deltas (
    name text not null,
    at timestamptz not null default app_now(),
    amount bigint not null
);
create table if not exists tidemark.rollups (
    name text not null,
    minute timestamptz not null,
    amount bigint not null,
    primary key (name, minute)
);
create table if not exists tidemark.totals (
    name text primary key,
    amount bigint not null
);

-- What has been counted under a name since the beginning, folded or not yet.
create or replace function tidemark.total(p_name text) returns bigint language sql stable as $$
    select coalesce((select amount from tidemark.totals where name = p_name), 0)
         + coalesce((select sum(amount) from tidemark.deltas where name = p_name), 0)::bigint
$$;

-- What was counted in the last hour, folded or not yet.
create or replace view tidemark.last_hour as
select name, amount from tidemark.rollups where minute > app_now() - interval '1 hour'
union all
select name, amount from tidemark.deltas where at > app_now() - interval '1 hour';

-- How many events are in each state, and since when; nothing large is counted.
create or replace function public.tds_get_queue_stats()
returns table (status text, events bigint, oldest_at timestamptz) language sql stable as $$
    select 'pending', tidemark.total('waiting') + (select count(*) from public.tds_sync_queue q where q.status in ('pending', 'retry')),
           least((select min(r.rank) from tidemark.ready_events r),
                 (select min(q.rank) from public.tds_sync_queue q where q.status in ('pending', 'retry')))
    union all
    select 'processing', count(*), min(q.started_at) from public.tds_sync_queue q where q.status = 'processing'
    union all
    select 'completed', tidemark.total('completed'), null
    union all
    select 'failed', count(*), min(q.created_at) from public.tds_sync_queue q where q.status = 'failed'
    union all
    select 'dead_letter', count(*), min(q.created_at) from public.tds_sync_queue q where q.status = 'dead_letter'
$$;

-- The whole system in one row.
create or replace function public.tds_get_health_summary()
returns table (queue jsonb, received bigint, duplicates bigint, quarantined bigint, active_alerts bigint, unresolved_dead_letters bigint)
language sql stable as $$
    select (select jsonb_object_agg(s.status, s.events) from public.tds_get_queue_stats() s),
           tidemark.total('received'), tidemark.total('duplicate'), tidemark.total('quarantined'),
           (select count(*) from public.tds_alerts a where not a.resolved),
           (select count(*) from public.tds_dead_letter_queue d where not d.resolved)
$$;
