-- Statistics: comparisons, and the records that drifted. Statements with @table@ are rendered for each entity.

-- name: begin
-- A comparison begins, or goes on where its stage was taken up again.
insert into tidemark.statistics as s (entity_type, method, plan, stage, run, local_count)
values (:entity::public.tds_entity_type, :method, :plan, :stage, :run, :local_count)
on conflict (plan, stage) do update set method = s.method
returning id;

-- name: found
-- What a comparison has found so far, and how old it was.
select count(*) filter (where kind = 'missing_here') as missing_here,
       count(*) filter (where kind = 'missing_there' and cause <> 'page_drift') as missing_there,
       count(*) filter (where kind = 'stale') as stale,
       count(*) filter (where kind = 'changed') as changed,
       count(*) filter (where repaired_at is not null and cause <> 'page_drift') as repaired,
       count(*) filter (where repaired_at is null and cause in ('local_edit', 'unbelieved')) as stuck,
       percentile_disc(0.5) within group (order by extract(epoch from found_at - changed_at)::float8)
           filter (where kind in ('missing_here', 'stale') and changed_at is not null) as p50,
       percentile_disc(0.95) within group (order by extract(epoch from found_at - changed_at)::float8)
           filter (where kind in ('missing_here', 'stale') and changed_at is not null) as p95,
       max(extract(epoch from found_at - changed_at)::float8) filter (where kind in ('missing_here', 'stale')) as longest
  from tidemark.drifts where statistic = :id;

-- name: finish
-- A comparison is over, or came to something else since.
update tidemark.statistics
   set finished_at = coalesce(finished_at, app_now()), method = :method, source_count = :source_count, local_count = :local_count,
       missing_here = :missing_here, missing_there = :missing_there, stale = :stale, changed = :changed, repaired = :repaired,
       calls = :calls, match_percentage = :match_percentage, recommendation = :recommendation, priority = :priority,
       is_complete = :is_complete, verified_at = :verified_at, sums_differ = :sums_differ, message = :message,
       source_sums = array(select s.value::numeric from jsonb_array_elements_text(:source_sums::jsonb) with ordinality s (value, n) order by s.n),
       local_sums = array(select s.value::numeric from jsonb_array_elements_text(:local_sums::jsonb) with ordinality s (value, n) order by s.n),
       drift_age_p50_seconds = :p50, drift_age_p95_seconds = :p95, drift_age_max_seconds = :longest
 where id = :id;

-- name: of_plan
-- The comparisons of a plan.
select id, entity_type::text, method, plan::text, stage, at, finished_at, verified_at, source_count, local_count, missing_here, missing_there, stale,
       changed, repaired, calls, source_sums, local_sums, sums_differ, is_complete, match_percentage, recommendation, priority,
       drift_age_p50_seconds, drift_age_p95_seconds, drift_age_max_seconds, message
  from tidemark.statistics where plan = :plan order by id;

-- name: by_ids
-- Single comparisons.
select id, entity_type::text, method, plan::text, stage, at, finished_at, verified_at, source_count, local_count, missing_here, missing_there, stale,
       changed, repaired, calls, source_sums, local_sums, sums_differ, is_complete, match_percentage, recommendation, priority,
       drift_age_p50_seconds, drift_age_p95_seconds, drift_age_max_seconds, message
  from tidemark.statistics where id in (select jsonb_array_elements_text(:ids::jsonb)::bigint) order by id for update;

-- name: latest
-- The last comparison of each entity that is over.
select distinct on (entity_type)
       id, entity_type::text, method, plan::text, stage, at, finished_at, verified_at, source_count, local_count, missing_here, missing_there, stale,
       changed, repaired, calls, source_sums, local_sums, sums_differ, is_complete, match_percentage, recommendation, priority,
       drift_age_p50_seconds, drift_age_p95_seconds, drift_age_max_seconds, message
  from tidemark.statistics where finished_at is not null order by entity_type, finished_at desc, id desc;

-- name: history
-- The comparisons of some days, the newest first.
select id, entity_type::text, method, plan::text, stage, at, finished_at, verified_at, source_count, local_count, missing_here, missing_there, stale,
       changed, repaired, calls, source_sums, local_sums, sums_differ, is_complete, match_percentage, recommendation, priority,
       drift_age_p50_seconds, drift_age_p95_seconds, drift_age_max_seconds, message
  from tidemark.statistics
 where finished_at is not null and at > app_now() - make_interval(days => :days) and (:entity::text is null or entity_type = :entity::public.tds_entity_type)
 order by at desc, id desc limit :limit;

-- name: causes
-- What drifted within some days, by its cause.
select entity_type::text, kind, cause, count(*) as records, count(*) filter (where repaired_at is null) as open
  from tidemark.drifts where found_at > app_now() - make_interval(days => :days) group by 1, 2, 3 order by 1, 2, 3;

-- name: last_list
-- When the source's whole list was last compared record by record, by the source's clock.
select max(verified_at), extract(epoch from app_now() - max(verified_at))::float8 / 3600 from tidemark.statistics
 where entity_type = :entity::public.tds_entity_type and method in ('seen_ids', 'full') and finished_at is not null;

-- name: had_odd_sums
-- Whether the last comparison that looked found that the source's sums are not those of its rows.
select coalesce((select sums_differ from tidemark.statistics
                  where entity_type = :entity::public.tds_entity_type and method in ('aggregate', 'bisect') and finished_at is not null
                    and at > app_now() - interval '30 days'
                  order by finished_at desc limit 1), false);

-- name: wants_list
-- Whether the comparison of an entity in this plan came to the end that its whole list must be read.
select exists (select from tidemark.statistics
                where plan = :plan and entity_type = :entity::public.tds_entity_type and recommendation = 'full_sync' and not is_complete);

-- name: add_drifts
-- Records that are not equal: [{id, kind, cause, changed_at, is_repaired}].
insert into tidemark.drifts (statistic, entity_type, source_entity_id, kind, cause, changed_at, repaired_at)
select :statistic, :entity::public.tds_entity_type, d.id, d.kind, d.cause, d.changed_at, case when d.is_repaired then app_now() end
  from jsonb_to_recordset(:drifts::jsonb) as d (id text, kind text, cause text, changed_at timestamptz, is_repaired boolean)
 order by d.id collate "C"
on conflict do nothing;

-- name: facts
-- What is known of records that drifted: [{id, stamp}].
select i.id,
       coalesce(bool_or(e.validation_errors is not null and e.source_modified_at is not distinct from i.stamp), false) as is_quarantined,
       exists (select from public.tds_sync_runs r
                where r.entity_type = :entity::public.tds_entity_type and r.status = 'failed' and r.completed_at > i.stamp) as has_failed_run,
       coalesce(bool_or(e.is_valid and e.source_modified_at >= i.stamp), false) as was_received,
       exists (select from (select n.entity_type from public.tds_inbox_events n where n.signature_verified order by n.received_at desc limit 5000) n
                where n.entity_type = :entity::public.tds_entity_type) as has_webhooks
  from jsonb_to_recordset(:ids::jsonb) as i (id text, stamp timestamptz)
  left join public.tds_inbox_events e on e.source_entity_id = i.id and e.entity_type = :entity::public.tds_entity_type
 group by i.id, i.stamp;

-- name: seen
-- How many records the pages of a list had, each once.
select count(distinct i.id)
  from tidemark.seen_ids s cross join unnest(s.ids) i (id) where s.plan = :plan and s.stage = :stage;

-- name: of_run
-- What a run over a list changed here although the source had changed it before :horizon: what it added, what it renewed,
-- and what it corrected under the same time of change, as far as that is in fields that tell something.
select a.entity_id, case when a.operation = 'create' then 'missing_here'
                         when a.changed_fields ?| array(select jsonb_array_elements_text(:version_keys::jsonb)) then 'stale'
                         else 'changed' end as kind, d.source_modified_at
  from public.tds_audit_trail a
  join erp.@table@ d on d.organization_id = :organization and d.source_id = a.entity_id
 where a.id >= :from::uuid and a.entity_type = :entity::public.tds_entity_type
   and case when a.operation = 'create' then d.event_id = :run::uuid else a.context ->> 'run' = :run::text end
   and d.source_modified_at <= :horizon::timestamptz
   and (a.operation = 'create' or a.changed_fields ?| array(select jsonb_array_elements_text(:telling::jsonb)));

-- name: days
-- Live records by the day on which the source made them, in its own words and time zone, with what it sums.
select left(coalesce(d.list_document, d.detail_document) ->> 'created_time', 10) as day, count(*), @sums@
  from erp.@table@ d where d.organization_id = :organization and d.deleted_at is null group by 1;

-- name: whole
-- Live records, all of them or those changed after a moment, with what the source sums.
select count(*), @sums@
  from erp.@table@ d
 where d.organization_id = :organization and d.deleted_at is null
   and (:since::timestamptz is null or d.source_modified_at > :since::timestamptz);

-- name: versions
-- The versions that stand here of these records.
select d.source_id, d.source_modified_at, d.list_hash, @amounts@, d.deleted_at is not null
  from erp.@table@ d
 where d.organization_id = :organization and d.source_id = any (array(select jsonb_array_elements_text(:ids::jsonb)));

-- name: documents
-- The rows of the list that these records were last read from.
select d.source_id, d.list_document
  from erp.@table@ d
 where d.organization_id = :organization and d.list_document is not null
   and d.source_id = any (array(select jsonb_array_elements_text(:ids::jsonb)));

-- name: live_within
-- Live records that the source made within these days, and that no page of the stage had. The column spares unpacking
-- what is surely outside.
with seen as materialized (
    select unnest(s.ids) collate "C" as id from tidemark.seen_ids s where s.plan = :plan::uuid and s.stage = :stage
)
select d.source_id
  from erp.@table@ d
 where d.organization_id = :organization and d.deleted_at is null
   and (:first::date is null or d.created_time is null or d.created_time >= :first::date - 2)
   and (:last::date is null or d.created_time is null or d.created_time < :last::date + 3)
   and (:first::date is null or left(coalesce(d.list_document, d.detail_document) ->> 'created_time', 10) >= :first::date::text)
   and (:last::date is null or left(coalesce(d.list_document, d.detail_document) ->> 'created_time', 10) <= :last::date::text)
   and not exists (select from seen s where s.id = d.source_id)
 order by d.source_id;

-- name: distrust
-- These were changed on our side only: forget what they were read from, so that the next reading is news.
update erp.@table@ d set list_hash = null, detail_hash = ''
 where d.organization_id = :organization
   and d.source_id in (select x.source_id from erp.@table@ x
                        where x.organization_id = :organization and x.source_id = any (array(select jsonb_array_elements_text(:ids::jsonb)))
                        order by x.source_id for update);

-- name: settle
-- Records that drifted and were read again since: what was gone is deleted, or was only between two pages; the rest is renewed.
with open as (
    select f.statistic, f.source_entity_id, f.kind, d.deleted_at
      from tidemark.drifts f
      join erp.@table@ d on d.organization_id = :organization and d.source_id = f.source_entity_id
     where f.entity_type = :entity::public.tds_entity_type and f.repaired_at is null
       and not exists (select from tidemark.refetches r
                        where r.organization_id = :organization and r.entity_type = f.entity_type and r.source_entity_id = f.source_entity_id)
       and case when f.kind = 'missing_there' then f.cause = 'unverified' or d.deleted_at is not null else d.updated_at > f.found_at end
     order by f.statistic, f.source_entity_id
       for update of f
), done as (
    update tidemark.drifts f
       set repaired_at = app_now(),
           cause = case when o.kind <> 'missing_there' then f.cause when o.deleted_at is not null then 'deleted_at_source' else 'page_drift' end
      from open o
     where f.statistic = o.statistic and f.source_entity_id = o.source_entity_id
    returning f.statistic
)
select distinct statistic from done;

-- name: read_by_id
-- How many records of a comparison were repaired by reading them by their ids: later than they were found.
select count(*) from tidemark.drifts where statistic = :id and repaired_at > found_at;

-- name: with_open_drifts
-- Entities that have drifts which are not repaired.
select distinct entity_type::text from tidemark.drifts where repaired_at is null;

-- name: clean_up
-- Forget comparisons that ended long ago, a bounded number of them; how many went.
select tidemark.cleanup_old_statistics(:days, :limit);
