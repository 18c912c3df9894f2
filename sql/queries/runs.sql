-- Runs of syncs and the cursors they move.

-- name: add
-- The runs of a plan: one for each entity, and with more than one of them one for all, under the plan's id.
insert into public.tds_sync_runs (id, run_type, entity_type, status, plan_id, mode, configuration_snapshot, worker_id)
select r.id, :run_type::public.tds_source_type, r.entity::public.tds_entity_type, 'pending', :plan, :mode, :snapshot::jsonb, :worker
  from jsonb_to_recordset(:runs::jsonb) as r (id uuid, entity text);

-- name: begin
-- The first page of a run is on its way.
update public.tds_sync_runs set status = 'processing', started_at = app_now() where id = any (array[:run, :plan]::uuid[]) and status = 'pending';

-- name: count
-- Add what a page did to its run, and to the run of all entities.
update public.tds_sync_runs
   set pages = pages + 1, total_events = total_events + :rows, processed_events = processed_events + :written,
       skipped_events = skipped_events + :skipped, failed_events = failed_events + :failed, worker_id = :worker,
       status = case when completed_at is null then 'processing' else status end,  -- what is read again comes after the list was over
       newest = case when id = :run then greatest(newest, :newest) else newest end,
       first_served_at = least(first_served_at, :served_at)
 where id = any (array(select distinct unnest(array[:run, :plan]::uuid[]) order by 1));

-- name: log
-- One line per page or call.
insert into public.tds_sync_logs (sync_run_id, entity_type, source_entity_id, operation_type, operation_status, output_payload, attempt_number,
       execution_time_ms, worker_id, context_data, error_message, error_code)
values (:run, :entity::public.tds_entity_type, :what, 'upsert', 'completed', :said::jsonb, 1, :took_ms, :worker, :context::jsonb, null, null);

-- name: end
-- A run is over.
update public.tds_sync_runs
   set status = case when :ok then 'completed' else 'failed' end::public.tds_event_status, completed_at = app_now(),
       error_summary = case when :message::text is not null then jsonb_build_object('message', :message::text) end
 where id = :run and completed_at is null
returning newest, first_served_at, total_events, processed_events;

-- name: finish_plan
-- The plan is over, and with it every run of it that is not.
update public.tds_sync_runs
   set status = case when :ok then 'completed' else 'failed' end::public.tds_event_status, completed_at = app_now(),
       error_summary = case when :ok then error_summary else jsonb_build_object('message', coalesce(:message::text, 'the plan did not succeed')) end
 where plan_id = :plan and completed_at is null;

-- name: reopen
-- The plan is tried again, and with it those of its runs that failed.
update public.tds_sync_runs
   set status = case when pages = 0 then 'pending' else 'processing' end::public.tds_event_status, completed_at = null, error_summary = null
 where plan_id = :plan and status = 'failed';

-- name: active
-- Entities that a sync is at, in which mode, by which plan.
select r.entity_type::text, r.mode, r.plan_id::text
  from public.tds_sync_runs r
 where r.completed_at is null and r.plan_id is not null and r.entity_type is not null
 order by r.started_at;

-- name: last_pages
-- How many pages the last full list of each entity had.
select distinct on (entity_type) entity_type::text, pages
  from public.tds_sync_runs
 where mode = 'full' and status = 'completed' and entity_type is not null
 order by entity_type, started_at desc;

-- name: advance
-- Move an entity's cursor, forward only.
insert into public.tds_sync_cursors as c (source_type, entity_type, last_sync_at, cursor_value, total_synced, last_sync_count, last_sync_status, sync_metadata)
values ('zoho', :entity::public.tds_entity_type, app_now(), :cursor, :count, :count, 'completed', jsonb_build_object('run', :run::text, 'mode', :mode::text))
on conflict (source_type, entity_type)
do update set last_sync_at = excluded.last_sync_at, total_synced = c.total_synced + excluded.last_sync_count,
       last_sync_count = excluded.last_sync_count, last_sync_status = 'completed', sync_metadata = excluded.sync_metadata,
       cursor_value = case when c.cursor_value is null or excluded.cursor_value::timestamptz > c.cursor_value::timestamptz
                           then excluded.cursor_value else c.cursor_value end;

-- name: pin
-- A sync failed: the cursor stays where it is, and says so.
update public.tds_sync_cursors set last_sync_status = 'failed'
 where source_type = 'zoho' and entity_type = :entity::public.tds_entity_type;

-- name: last_begun
-- When the last run of an entity began that went well in one of these modes.
select max(started_at) from public.tds_sync_runs
 where entity_type = :entity::public.tds_entity_type and status = 'completed' and mode in (select jsonb_array_elements_text(:modes::jsonb));

-- name: cursors
-- Where each entity's sync begins.
select c.entity_type::text, c.cursor_value::timestamptz, c.last_sync_at, c.total_synced, c.last_sync_count, c.last_sync_status::text, c.sync_metadata,
       extract(epoch from app_now() - c.last_sync_at)::float8
  from public.tds_sync_cursors c where c.source_type = 'zoho' order by c.entity_type;

-- name: listed
-- Runs, the newest first.
select id::text, run_type::text, entity_type::text, mode, status::text, plan_id::text, pages, total_events, processed_events, failed_events, skipped_events,
       started_at, completed_at, duration_seconds, newest, worker_id, error_summary, configuration_snapshot, app_now()
  from public.tds_sync_runs
 where (:entity::text is null or entity_type = :entity::public.tds_entity_type) and (:status::text is null or status = :status::public.tds_event_status)
 order by started_at desc, entity_type nulls first
 limit :limit;

-- name: of_plan
-- A run, or all runs of a plan.
select id::text, run_type::text, entity_type::text, mode, status::text, plan_id::text, pages, total_events, processed_events, failed_events, skipped_events,
       started_at, completed_at, duration_seconds, newest, worker_id, error_summary, configuration_snapshot, app_now()
  from public.tds_sync_runs
 where id = :run or plan_id = :run
 order by entity_type nulls first;

-- name: logs
-- The last pages and calls of a run.
select source_entity_id, operation_status::text, output_payload, execution_time_ms, worker_id, "timestamp"
  from public.tds_sync_logs where sync_run_id = :run order by "timestamp" desc limit :limit;

-- name: last_of_entities
-- The last run of each entity in each mode.
select distinct on (entity_type, mode) entity_type::text, mode, status::text, started_at, completed_at, total_events, processed_events, failed_events
  from public.tds_sync_runs where entity_type is not null and mode is not null and started_at > app_now() - interval '8 days'
 order by entity_type, mode, started_at desc;

-- name: stalled
-- Entities whose syncs succeed while their cursor stays: the run did not move it, or saw news that it does not cover.
select c.entity_type::text, c.cursor_value::timestamptz, c.last_sync_at, count(*)
  from public.tds_sync_cursors c
  join public.tds_sync_runs r on r.entity_type = c.entity_type and r.status = 'completed' and r.mode in ('full', 'incremental')
       and r.started_at > app_now() - 2 * :period::interval
       and (r.completed_at > c.last_sync_at + interval '1 s' or r.newest > c.cursor_value::timestamptz + interval '1 minute')
 where c.source_type = 'zoho' and (c.cursor_value is null or c.cursor_value::timestamptz < app_now() - 2 * :period::interval)
 group by 1, 2, 3
 order by 1;
