-- The sync contract: fourteen relations prefixed tds_, five types, six functions. Names and columns are what users know.

do $$ begin
    create type public.tds_event_status as enum (
        'pending',     -- waits for its first attempt
        'processing',  -- leased to a worker
        'completed',   -- applied, unchanged, superseded or ambiguous: processing_result says which
        'failed',      -- given up by an operator
        'retry',       -- waits for its next attempt
        'dead_letter'  -- attempts spent
    );
exception when duplicate_object then null; end $$;
do $$ begin
    create type public.tds_source_type as enum ('zoho', 'manual', 'scheduled', 'reconciliation');
exception when duplicate_object then null; end $$;
do $$ begin
    create type public.tds_entity_type as enum (
        'product', 'customer', 'invoice', 'order', 'payment', 'vendor', 'user', 'bill', 'credit_note', 'stock_adjustment', 'price_list'
    );
exception when duplicate_object then null; end $$;
do $$ begin
    create type public.tds_alert_severity as enum ('info', 'warning', 'error', 'critical');
exception when duplicate_object then null; end $$;
do $$ begin
    create type public.tds_operation_type as enum ('create', 'update', 'delete', 'upsert');
exception when duplicate_object then null; end $$;

-- Every event as it came in, before anything is believed of it. The id follows from the idempotency key.
-- Its state columns change once, soon after the insert: fillfactor leaves room to do that without touching an index.
create table if not exists public.tds_inbox_events (
    id uuid primary key,
    source_type public.tds_source_type not null,
    entity_type public.tds_entity_type not null,
    source_entity_id text not null,
    received_at timestamptz not null default app_now(),
    source_modified_at timestamptz,
    rank timestamptz not null default app_now(),  -- received_at + priority x 30 s: the order of claims
    operation_type public.tds_operation_type not null default 'upsert',
    is_valid boolean not null default false,
    moved_to_queue boolean not null default false,
    processed_at timestamptz,
    signature_verified boolean not null default false,
    signed_by text,  -- scheme and fingerprint of the secret that matched
    organization_id text not null default '',
    idempotency_key text collate "C" not null,
    content_hash text not null,
    payload_path text[] not null default '{}',  -- where the record stands in raw_payload
    flags text[] not null default '{}',
    validation_errors jsonb,
    method text,
    query text,
    ip_address varchar(45),
    traceparent text,
    webhook_headers jsonb,
    raw_payload jsonb not null default 'null',
    raw_body bytea,
    constraint tds_inbox_events_key_is_unique unique (idempotency_key),
    constraint processed_is_moved_or_in_quarantine check (processed_at is null or moved_to_queue or not is_valid)
) with (fillfactor = 50);
create index if not exists tds_inbox_events_source on public.tds_inbox_events (source_entity_id, source_type);
create index if not exists tds_inbox_events_received on public.tds_inbox_events (received_at);
create index if not exists tds_inbox_events_quarantine on public.tds_inbox_events (received_at)
    where validation_errors is not null;

-- One row per event that was moved out of the inbox, under the same id; written completed when the first attempt went well.
create table if not exists public.tds_sync_queue (
    id uuid primary key default gen_random_uuid(),
    inbox_event_id uuid,  -- no foreign key: the inbox is emptied after 7 days
    sync_run_id uuid,
    entity_type public.tds_entity_type not null,
    source_entity_id text not null,
    operation_type public.tds_operation_type not null,
    validated_payload jsonb,  -- null: the inbox row has it
    status public.tds_event_status not null default 'pending',
    priority integer not null default 5,
    attempt_count integer not null default 0,
    max_retry_attempts integer not null default 3,
    next_retry_at timestamptz,
    rank timestamptz not null default app_now(),  -- next_retry_at + priority x 30 s: the order of claims
    token bigint,
    locked_by text,
    lock_expires_at timestamptz,
    created_at timestamptz not null default app_now(),
    started_at timestamptz,
    completed_at timestamptz,
    target_entity_id text,
    processing_result jsonb,
    error_message text,
    error_code varchar(50),
    constraint priority_is_between_1_and_10 check (priority between 1 and 10),
    constraint attempts_are_not_negative check (attempt_count >= 0),
    constraint leased_only_while_processing check ((status = 'processing') = (lock_expires_at is not null)),
    constraint leased_with_a_token check (lock_expires_at is null or token is not null),
    constraint completed_has_a_time check (status <> 'completed' or completed_at is not null)
) with (fillfactor = 90);
create index if not exists tds_sync_queue_claim on public.tds_sync_queue (rank) where status in ('pending', 'retry');
create index if not exists tds_sync_queue_lease on public.tds_sync_queue (lock_expires_at) where status = 'processing';
create index if not exists tds_sync_queue_entity on public.tds_sync_queue (entity_type, source_entity_id) where status <> 'completed';
create index if not exists tds_sync_queue_dead on public.tds_sync_queue (created_at) where status in ('failed', 'dead_letter');
create index if not exists tds_sync_queue_finished on public.tds_sync_queue using brin (completed_at);

-- One row per run of a sync.
create table if not exists public.tds_sync_runs (
    id uuid primary key default gen_random_uuid(),
    run_type public.tds_source_type not null,
    entity_type public.tds_entity_type,
    status public.tds_event_status not null default 'pending',
    worker_id text,
    total_events integer not null default 0,
    processed_events integer not null default 0,
    failed_events integer not null default 0,
    skipped_events integer not null default 0,
    started_at timestamptz not null default app_now(),
    completed_at timestamptz,
    duration_seconds integer,
    configuration_snapshot jsonb,
    error_summary jsonb
);
create index if not exists tds_sync_runs_status on public.tds_sync_runs (status, started_at);
create index if not exists tds_sync_runs_type on public.tds_sync_runs (run_type, entity_type, started_at);

-- One row per attempt; the first attempt's row has the event's id.
create table if not exists public.tds_sync_logs (
    id uuid primary key default gen_random_uuid(),
    sync_queue_id uuid not null,  -- no foreign key: queue rows go after 7 days, logs after 90
    sync_run_id uuid,
    entity_type public.tds_entity_type not null,
    source_entity_id text not null,
    target_entity_id text,
    operation_type public.tds_operation_type not null,
    operation_status public.tds_event_status not null,
    input_payload jsonb,
    output_payload jsonb,
    attempt_number integer not null,
    execution_time_ms integer,
    error_message text,
    error_code varchar(50),
    stack_trace text,
    worker_id text,
    "timestamp" timestamptz not null default app_now(),
    context_data jsonb
);
create index if not exists tds_sync_logs_queue on public.tds_sync_logs (sync_queue_id) where attempt_number > 1;
create index if not exists tds_sync_logs_timestamp on public.tds_sync_logs using brin ("timestamp");

-- Events whose attempts are spent, with the cause.
create table if not exists public.tds_dead_letter_queue (
    id uuid primary key default gen_random_uuid(),
    sync_queue_id uuid not null,
    entity_type public.tds_entity_type not null,
    source_entity_id text not null,
    failure_reason text not null,
    error_code varchar(50),
    total_attempts integer not null,
    last_error_message text,
    last_stack_trace text,
    last_payload jsonb not null,
    resolved boolean not null default false,
    resolved_at timestamptz,
    resolved_by text,
    resolution_notes text,
    created_at timestamptz not null default app_now(),
    assigned_to text,
    priority integer not null default 5,
    constraint resolved_has_a_time check (not resolved or resolved_at is not null)
);
create index if not exists tds_dead_letter_queue_open on public.tds_dead_letter_queue (resolved, created_at);
create index if not exists tds_dead_letter_queue_entity on public.tds_dead_letter_queue (entity_type, source_entity_id);
create unique index if not exists tds_dead_letter_queue_is_open_once on public.tds_dead_letter_queue (sync_queue_id) where not resolved;

-- How far each sync has come.
create table if not exists public.tds_sync_cursors (
    id uuid primary key default gen_random_uuid(),
    source_type public.tds_source_type not null,
    entity_type public.tds_entity_type not null,
    last_sync_at timestamptz not null,
    last_entity_id text,
    last_entity_version integer,
    cursor_value text,
    total_synced integer not null default 0,
    last_sync_count integer not null default 0,
    last_sync_status public.tds_event_status not null default 'completed',
    sync_metadata jsonb,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    constraint one_cursor_per_source_and_entity unique (source_type, entity_type)
);

-- What changed, from what to what, by which event. Append-only for everybody.
create table if not exists public.tds_audit_trail (
    id uuid primary key default gen_random_uuid(),
    entity_type public.tds_entity_type not null,
    entity_id text not null,
    operation public.tds_operation_type not null,
    old_value jsonb,  -- the changed fields as they were; null when created
    new_value jsonb,  -- the changed fields as they are; the typed columns when created
    changed_fields jsonb,
    changed_by text,
    change_source public.tds_source_type,
    changed_at timestamptz not null default app_now(),
    sync_queue_id uuid,
    context jsonb
);
create index if not exists tds_audit_trail_entity on public.tds_audit_trail (entity_id, entity_type, changed_at);

create or replace function tidemark.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end $$;
drop trigger if exists tds_audit_trail_is_append_only on public.tds_audit_trail;
create trigger tds_audit_trail_is_append_only before update or delete or truncate on public.tds_audit_trail
    for each statement execute function tidemark.refuse_change();

-- One open row per condition.
create table if not exists public.tds_alerts (
    id uuid primary key default gen_random_uuid(),
    alert_type varchar(100) not null,
    severity public.tds_alert_severity not null,
    title varchar(255) not null,
    message text not null,
    entity_type public.tds_entity_type,
    affected_count integer,
    threshold_value jsonb,
    actual_value jsonb,
    is_active boolean not null default true,
    acknowledged boolean not null default false,
    resolved boolean not null default false,
    triggered_at timestamptz not null default app_now(),
    acknowledged_at timestamptz,
    resolved_at timestamptz,
    acknowledged_by text,
    resolved_by text,
    alert_metadata jsonb,
    resolution_notes text
);
create unique index if not exists tds_alerts_is_open_once on public.tds_alerts (alert_type, entity_type) nulls not distinct where not resolved;
create index if not exists tds_alerts_active on public.tds_alerts (is_active, severity, triggered_at);
create index if not exists tds_alerts_type on public.tds_alerts (alert_type, triggered_at);

-- Numbers over time.
create table if not exists public.tds_metrics (
    id uuid primary key default gen_random_uuid(),
    metric_name varchar(100) not null,
    metric_type varchar(50) not null,
    entity_type public.tds_entity_type,
    source_type public.tds_source_type,
    value jsonb not null,
    unit text,
    recorded_at timestamptz not null default app_now(),
    tags jsonb,
    dimensions jsonb
);
create index if not exists tds_metrics_name on public.tds_metrics (metric_name, recorded_at);
create index if not exists tds_metrics_entity on public.tds_metrics (entity_type, recorded_at);

-- The eleven settings that users know; all others are in tidemark.settings.
create table if not exists public.tds_configuration (
    id uuid primary key default gen_random_uuid(),
    config_key varchar(100) not null unique,
    config_value jsonb not null,
    value_type varchar(50) not null,
    description text,
    category varchar(50),
    validation_schema jsonb,
    is_sensitive boolean not null default false,
    is_active boolean not null default true,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    updated_by text,
    version integer not null default 1
);
create index if not exists tds_configuration_category on public.tds_configuration (category, is_active);

-- Runs of the last day, as people ask for them.
create or replace view public.tds_v_recent_sync_performance as
select run_type, entity_type, status, count(*) as runs, sum(total_events) as total_events, sum(processed_events) as processed_events,
       sum(failed_events) as failed_events, avg(duration_seconds)::float8 as average_duration_seconds, max(started_at) as last_started_at
  from public.tds_sync_runs
 where started_at > app_now() - interval '24 hours'
 group by run_type, entity_type, status;

-- What is queued now, first to be claimed first.
create or replace view public.tds_v_active_queue as
select id, entity_type, source_entity_id, operation_type, status, priority, attempt_count, max_retry_attempts, next_retry_at,
       locked_by, lock_expires_at, created_at, extract(epoch from app_now() - created_at)::float8 as age_seconds, error_code, error_message
  from public.tds_sync_queue
 where status in ('pending', 'processing', 'retry')
 order by rank;

-- Dead letters nobody has resolved, oldest first.
create or replace view public.tds_v_unresolved_dlq as
select id, sync_queue_id, entity_type, source_entity_id, failure_reason, error_code, total_attempts, last_error_message, created_at,
       extract(epoch from app_now() - created_at)::float8 as age_seconds, assigned_to, priority
  from public.tds_dead_letter_queue
 where not resolved
 order by created_at;

-- Trigger: updated_at is when the row last changed.
create or replace function public.tds_update_timestamp() returns trigger language plpgsql as $$
begin
    new.updated_at := app_now();
    return new;
end $$;
drop trigger if exists tds_configuration_updated on public.tds_configuration;
create trigger tds_configuration_updated before update on public.tds_configuration
    for each row execute function public.tds_update_timestamp();
drop trigger if exists tds_sync_cursors_updated on public.tds_sync_cursors;
create trigger tds_sync_cursors_updated before update on public.tds_sync_cursors
    for each row execute function public.tds_update_timestamp();

-- Trigger: a run that ends knows how long it took.
create or replace function public.tds_calculate_run_duration() returns trigger language plpgsql as $$
begin
    if new.completed_at is not null then
        new.duration_seconds := extract(epoch from new.completed_at - new.started_at)::integer;
    end if;
    return new;
end $$;
drop trigger if exists tds_sync_runs_duration on public.tds_sync_runs;
create trigger tds_sync_runs_duration before insert or update on public.tds_sync_runs
    for each row execute function public.tds_calculate_run_duration();

-- Delete at most p_limit inbox rows whose event has ended; how many went. Unresolved ones stay for ever.
create or replace function public.tds_cleanup_old_inbox_events(p_days integer default 7, p_limit integer default 10000)
returns integer language sql as $$
    with old as (
        select i.id from public.tds_inbox_events i
         where i.received_at < app_now() - make_interval(days => p_days) and i.moved_to_queue
           and not exists (select from public.tds_sync_queue q where q.id = i.id and q.status <> 'completed')
         order by i.received_at limit p_limit for update skip locked
    ), gone as (delete from public.tds_inbox_events i using old where i.id = old.id returning 1)
    select count(*)::integer from gone
$$;

-- Delete at most p_limit log rows older than p_days; how many went.
create or replace function public.tds_cleanup_old_sync_logs(p_days integer default 90, p_limit integer default 10000)
returns integer language sql as $$
    with old as (
        select ctid from public.tds_sync_logs where "timestamp" < app_now() - make_interval(days => p_days) limit p_limit
    ), gone as (delete from public.tds_sync_logs l using old where l.ctid = old.ctid returning 1)
    select count(*)::integer from gone
$$;
