-- What merging the pages of a source's lists needs: which ids a run has seen, and a way into quarantine.

-- The ids that each page of a run had: one row per page. Stamping 50,000 records instead would write 270 times as much.
create table if not exists tidemark.seen_ids (
    plan uuid not null,
    stage integer not null,
    page bigint not null,
    ids text[] collate "C" not null,  -- each once, in order
    rows integer not null,  -- as many as the page had, those without an id among them
    digest text not null,  -- of ids: two pages with the same one had the same records
    seen_at timestamptz not null default app_now(),
    primary key (plan, stage, page)
);

-- Delete at most p_limit pages of plans whose last page is older than p_days; how many went. A plan keeps all or none in
-- the end: one that still runs would take what it forgot for deleted.
create or replace function tidemark.cleanup_old_seen_ids(p_days integer default 7, p_limit integer default 10000)
returns integer language sql as $$
    with over as (
        select plan from tidemark.seen_ids group by plan having max(seen_at) < app_now() - make_interval(days => p_days)
    ), old as (
        select s.ctid from tidemark.seen_ids s join over using (plan) limit p_limit for update of s skip locked
    ), gone as (delete from tidemark.seen_ids s using old where s.ctid = old.ctid returning 1)
    select count(*)::integer from gone
$$;

-- Keep rows of a page that cannot be merged, each once for as long as it says the same; how many are new.
--
-- p_rows is an array of objects with: id, key, entity, entity_id, stamp, hash, organization, source, body, payload, errors.
create or replace function tidemark.quarantine(p_rows jsonb) returns integer
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
declare
    v_new integer;
begin
    with kept as (
        insert into tds_inbox_events (
               id, idempotency_key, source_type, entity_type, source_entity_id, received_at, processed_at, source_modified_at,
               organization_id, content_hash, validation_errors, raw_payload, raw_body)
        select distinct on (r.key) r.id, r.key, r.source, r.entity, r.entity_id, app_now(), app_now(), r.stamp,
               r.organization, r.hash, r.errors, coalesce(r.payload, 'null')::jsonb, convert_to(r.body, 'UTF8')
          from jsonb_to_recordset(p_rows) as r (
               id uuid, key text collate "C", entity tds_entity_type, entity_id text, stamp timestamptz, hash text,
               organization text, source tds_source_type, body text, payload text, errors jsonb)
         order by r.key
        on conflict do nothing
        returning 1
    )
    select count(*) into v_new from kept;
    if v_new > 0 then
        insert into deltas (name, amount) values ('quarantined', v_new);
    end if;
    return v_new;
end $$;

revoke all on function tidemark.cleanup_old_seen_ids(integer, integer), tidemark.quarantine(jsonb) from public;
grant execute on function tidemark.cleanup_old_seen_ids(integer, integer), tidemark.quarantine(jsonb) to tidemark_worker;
grant select, insert, update, delete on tidemark.seen_ids to tidemark_worker;
grant select on tidemark.seen_ids to tidemark_status;
