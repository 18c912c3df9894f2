-- The bus: notices, written in the transactions that they tell of, and the subscriptions that are told of them.

create sequence if not exists tidemark.notice_seq;

create table if not exists tidemark.notices (
    seq bigint primary key default nextval('tidemark.notice_seq'),
    xid xid8 not null default pg_current_xact_id(),   -- readers see only what is below every transaction that still runs
    id uuid not null default gen_random_uuid(),
    at timestamptz not null default app_now(),
    topic text not null,
    source text not null,
    kind text not null,
    correlation_id text,
    causation_id uuid,                                -- the notice that led to this one
    depth smallint not null default 0,                -- how many notices led to it, one after the other
    dedupe_key text,
    payload jsonb not null,
    constraint notice_kind_is_known check (kind in ('intent', 'heal', 'fact', 'audit', 'metric', 'control')),
    constraint notice_ids_are_told_apart unique (id),
    constraint notices_lead_to_notices_a_few_times check (depth between 0 and 10),
    constraint notices_are_told_once unique (dedupe_key)
);
create index if not exists notices_in_order on tidemark.notices (xid, seq);
create index if not exists notices_of_plans on tidemark.notices (correlation_id) where topic = 'hxo.plan';

-- Up to where notices are gone: a reader whose cursor stands before it may have missed some.
create table if not exists tidemark.trimmed (
    only_one boolean primary key default true check (only_one),
    xid xid8 not null default '0',
    seq bigint not null default 0,
    notices bigint not null default 0,
    at timestamptz
);
insert into tidemark.trimmed default values on conflict do nothing;

-- One row per receiver. It is told of one notice after the other, in their order; no secret is stored, it follows from the id.
create table if not exists tidemark.subscriptions (
    id uuid primary key default gen_random_uuid(),
    topics jsonb not null,                            -- names, or beginnings of names with .* behind
    url text not null,
    state text not null default 'live',
    reason text,                                      -- why it is closed
    xid xid8 not null,                                -- up to here it was told, or had nothing to be told
    seq bigint not null,
    lost bigint not null default 0,                   -- notices that were trimmed before it could be told
    lost_xid xid8,
    lost_seq bigint,
    ready_at timestamptz not null default app_now(),
    attempts integer not null default 0,              -- begun since the last one that went well
    token bigint,                                     -- fences whoever delivers to it now
    leased_until timestamptz,
    last_error text,
    told bigint not null default 0,
    told_at timestamptz,
    created_at timestamptz not null default app_now(),
    created_by text not null,
    constraint subscription_state_is_known check (state in ('live', 'closed')),
    constraint a_closed_subscription_says_why check ((state = 'closed') = (reason is not null)),
    constraint a_subscription_has_topics check (jsonb_typeof(topics) = 'array' and topics <> '[]'),
    constraint what_is_lost_has_an_end check ((lost > 0) = (lost_seq is not null) and (lost_seq is null) = (lost_xid is null)),
    constraint a_delivery_has_a_lease check ((token is null) = (leased_until is null)),
    constraint only_live_subscriptions_are_delivered_to check (state = 'live' or token is null)
) with (fillfactor = 70);
create index if not exists subscriptions_due on tidemark.subscriptions (ready_at) where state = 'live';

-- What each dependency was when it was last looked at, for those who need to know at once, and to tell of a change once.
create table if not exists tidemark.links (
    name text primary key,
    status text not null,
    reason text,
    since timestamptz not null default app_now(),
    checked_at timestamptz not null default app_now(),
    constraint link_status_is_known check (status in ('healthy', 'degraded', 'down', 'unknown'))
);

-- Whether a topic is among some patterns.
create or replace function tidemark.is_on(p_topic text, p_patterns jsonb) returns boolean language sql immutable parallel safe as $$
    select exists (select from jsonb_array_elements_text(p_patterns) p (pattern)
                    where p.pattern in (p_topic, '*') or (right(p.pattern, 2) = '.*' and starts_with(p_topic, left(p.pattern, -1))))
$$;

-- Whoever changes an alert, or ends a run, need not know of the bus, nor have any right to it.
create or replace function tidemark.tell_of_alert() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
begin
    insert into tidemark.notices (topic, source, kind, correlation_id, payload)
    values ('tds.alert', 'alerts', 'fact', new.id::text, jsonb_build_object(
            'alert_id', new.id, 'alert_type', new.alert_type, 'severity', new.severity, 'title', left(new.title, 300),
            'message', left(new.message, 2000), 'entity_type', new.entity_type, 'affected_count', new.affected_count,
            'change', case when tg_op = 'INSERT' or old.resolved then 'opened' else 'worsened' end));
    return null;
end $$;

create or replace function tidemark.tell_of_run() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
begin
    insert into tidemark.notices (topic, source, kind, correlation_id, payload)
    values ('tds.sync.completed', 'sync', 'fact', new.plan_id::text, jsonb_build_object(
            'run_id', new.id, 'plan_id', new.plan_id, 'entity_type', new.entity_type, 'mode', new.mode, 'status', new.status,
            'total_events', new.total_events, 'processed_events', new.processed_events, 'failed_events', new.failed_events,
            'skipped_events', new.skipped_events));
    return null;
end $$;

create or replace trigger alert_told_of_first after insert on public.tds_alerts
    for each row when (not new.resolved) execute function tidemark.tell_of_alert();
create or replace trigger alert_told_of after update of severity, resolved on public.tds_alerts
    for each row when (not new.resolved and (old.resolved or new.severity > old.severity)) execute function tidemark.tell_of_alert();
create or replace trigger run_told_of after update of completed_at on public.tds_sync_runs
    for each row when (old.completed_at is null and new.completed_at is not null and new.plan_id is not null)
    execute function tidemark.tell_of_run();

revoke all on function tidemark.is_on(text, jsonb), tidemark.tell_of_alert(), tidemark.tell_of_run() from public;
grant execute on function tidemark.is_on(text, jsonb) to tidemark_worker, tidemark_operator, tidemark_status;
grant usage on sequence tidemark.notice_seq to tidemark_worker, tidemark_operator;
grant select, insert, delete, update (xid) on tidemark.notices to tidemark_worker;
grant select, insert on tidemark.notices to tidemark_operator;
grant select on tidemark.notices, tidemark.trimmed, tidemark.subscriptions, tidemark.links to tidemark_status;
grant select, update on tidemark.trimmed, tidemark.subscriptions to tidemark_worker;
grant select on tidemark.trimmed to tidemark_operator;
grant select, insert, delete on tidemark.subscriptions to tidemark_operator;
grant select, insert, update on tidemark.links to tidemark_worker;

insert into tidemark.settings (key, value, value_type, description) values
    ('notices.keep_days', '30', 'integer', 'Days after which notices of the bus go, even when there are few of them')
on conflict do nothing;
