-- Statistics: how much of what is here equals what the source has, over time, and every record that did not, with its cause.

-- One comparison of one entity: by a full list, at no extra call, or in between by whatever costs least.
create table if not exists tidemark.statistics (
    id bigint generated always as identity primary key,
    entity_type public.tds_entity_type not null,
    method text not null,
    plan uuid not null,
    stage integer not null,                    -- of the plan; each compares one entity once
    run uuid,
    at timestamptz not null default app_now(),
    finished_at timestamptz,                   -- null: it goes on
    verified_at timestamptz,                   -- the source's clock when both were equal, or were made so; null: they were not
    source_count bigint,                       -- null: the source was not counted
    local_count bigint,                        -- before anything was repaired
    missing_here bigint not null default 0,
    missing_there bigint not null default 0,
    stale bigint not null default 0,
    changed bigint not null default 0,
    repaired bigint not null default 0,
    calls integer not null default 0,
    source_sums numeric[],                     -- total, balance
    local_sums numeric[],
    sums_differ boolean not null default false, -- the source sums something else than its rows say, so its sums tell nothing
    is_complete boolean not null default true, -- what differs was found row by row
    match_percentage float8,
    recommendation text,
    priority integer,
    drift_age_p50_seconds float8,              -- from a change at the source to its being found missing or stale here
    drift_age_p95_seconds float8,
    drift_age_max_seconds float8,
    message text,
    constraint a_stage_compares_once unique (plan, stage),
    constraint method_is_known check (method in ('seen_ids', 'full', 'aggregate', 'bisect', 'window')),
    constraint recommendation_is_known check (recommendation in ('no_sync_needed', 'incremental_sync', 'full_sync', 'manual_review')),
    constraint statistic_priority_is_between_1_and_10 check (priority between 1 and 10),
    constraint match_is_a_percentage check (match_percentage between 0 and 100),
    constraint finished_means_a_result check (finished_at is null or (match_percentage is not null and recommendation is not null))
);
create index if not exists statistics_latest on tidemark.statistics (entity_type, finished_at desc) where finished_at is not null;
create index if not exists statistics_at on tidemark.statistics (at);

-- One record that was not equal.
create table if not exists tidemark.drifts (
    statistic bigint not null references tidemark.statistics on delete cascade,
    entity_type public.tds_entity_type not null,
    source_entity_id text collate "C" not null,
    kind text not null,
    cause text not null,
    changed_at timestamptz,                    -- when the source changed it, as far as it says
    found_at timestamptz not null default app_now(),
    repaired_at timestamptz,
    primary key (statistic, source_entity_id),
    constraint kind_is_known check (kind in ('missing_here', 'missing_there', 'stale', 'changed'))
);
create index if not exists drifts_open on tidemark.drifts (entity_type, source_entity_id) where repaired_at is null;
create index if not exists drifts_found on tidemark.drifts (found_at);

-- Delete at most p_limit comparisons older than p_days with their drifts; each entity keeps its newest. How many went.
create or replace function tidemark.cleanup_old_statistics(p_days integer default 90, p_limit integer default 1000)
returns integer language sql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
    with newest as (
        select distinct on (entity_type) id from statistics where finished_at is not null order by entity_type, finished_at desc
    ), old as (
        select s.id from statistics s
         where s.at < app_now() - make_interval(days => p_days) and s.id not in (select id from newest)
         order by s.at limit p_limit for update skip locked
    ), gone as (delete from statistics s using old where s.id = old.id returning 1)
    select count(*)::integer from gone
$$;

insert into tidemark.settings (key, value, value_type, description) values
    ('reconcile.budget_share', '0.4', 'number', 'Share of a full list''s calls that finding what differs may cost before the list is read instead'),
    ('reconcile.list_pages', '60', 'integer', 'A list that cannot be counted is read whole by a comparison as long as it has no more pages than this'),
    ('reconcile.fresh_hours', '26', 'integer', 'For so many hours after a full list one that cannot be counted is not read whole again'),
    ('reconcile.refetch_calls', '100', 'integer', 'Calls that one comparison may spend on reading single records again'),
    ('statistics.keep_days', '90', 'integer', 'Days for which comparisons and their drifts are kept')
on conflict do nothing;
update tidemark.settings set value = value || '{"reconcile.compare": 1}' where key = 'plans.concurrency' and version = 1;

revoke all on function tidemark.cleanup_old_statistics(integer, integer) from public;
grant execute on function tidemark.cleanup_old_statistics(integer, integer) to tidemark_worker;
grant select, insert, update on tidemark.statistics, tidemark.drifts to tidemark_worker;
grant select on tidemark.statistics, tidemark.drifts to tidemark_status;
-- What a full list changed is in the audit trail, and nowhere else.
grant select (id, entity_type, entity_id, operation, changed_fields, context) on public.tds_audit_trail to tidemark_worker;
