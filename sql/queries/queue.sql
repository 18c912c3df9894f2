-- The queue: events that left the inbox. Most are written completed; those whose first attempt failed live on here.

-- name: complete_first
-- Events whose first attempt went well, or whose shape is wrong: leave the inbox, and say what became of each.
with outcomes as materialized (
    select * from jsonb_to_recordset(:rows::jsonb) as r (id uuid, outcome text, ambiguous boolean, errors jsonb)
), finished as (
    update public.tds_inbox_events i
       set is_valid = o.errors is null, moved_to_queue = o.errors is null, processed_at = app_now(), validation_errors = o.errors
      from outcomes o
     where i.id = o.id
    returning i.id, i.entity_type, i.source_entity_id, i.operation_type, i.received_at, o.outcome, o.ambiguous, o.errors
), gone as (
    delete from tidemark.ready_events r using outcomes o where r.id = o.id
), queued as (
    insert into public.tds_sync_queue (
           id, inbox_event_id, entity_type, source_entity_id, operation_type, status, priority, attempt_count, max_retry_attempts,
           created_at, started_at, completed_at, target_entity_id, processing_result)
    select f.id, f.id, f.entity_type, f.source_entity_id, f.operation_type, 'completed',
           coalesce((:priorities::jsonb ->> f.entity_type::text)::integer, 8), 1, :attempts, f.received_at, app_now(), app_now(),
           f.source_entity_id, jsonb_strip_nulls(jsonb_build_object('outcome', f.outcome, 'ambiguous', nullif(f.ambiguous, false)))
      from finished f
     where f.errors is null
    on conflict do nothing
), logged as (
    insert into public.tds_sync_logs (
           id, sync_queue_id, entity_type, source_entity_id, target_entity_id, operation_type, operation_status, attempt_number,
           execution_time_ms, worker_id)
    select f.id, f.id, f.entity_type, f.source_entity_id, f.source_entity_id, f.operation_type, 'completed', 1,
           extract(milliseconds from clock_timestamp() - app_now())::integer, :worker
      from finished f
     where f.errors is null
    on conflict do nothing
), timed as (
    select (extract(epoch from app_now() - received_at) * 1000000)::bigint as us from finished where errors is null
), counted as (
    insert into tidemark.deltas (name, amount)
    select 'waiting', -count(*) from finished
    union all select 'completed', count(*) from finished where errors is null having count(*) > 0
    union all select coalesce(outcome, 'quarantined'), count(*) from finished group by 1
    union all select 'latency_le_' || tidemark.latency_le(us), count(*) from timed group by 1
    union all select 'latency_us', sum(us) from timed having count(*) > 0
)
select count(*) from finished;

-- name: fail_first
-- Events whose first attempt failed: leave the inbox for a queue row of their own, to be tried again or dead at once.
with failures as materialized (
    select r.*, r.wait is null as is_dead
      from jsonb_to_recordset(:rows::jsonb) as r (id uuid, wait float8, code text, message text)
), moved as (
    update public.tds_inbox_events i
       set moved_to_queue = true
      from failures f
     where i.id = f.id and not i.moved_to_queue and i.processed_at is null
    returning i.id, i.entity_type, i.source_entity_id, i.operation_type, i.received_at, i.raw_payload, f.wait, f.code, f.message, f.is_dead
), gone as (
    delete from tidemark.ready_events r using failures f where r.id = f.id
), queued as (
    insert into public.tds_sync_queue (
           id, inbox_event_id, entity_type, source_entity_id, operation_type, status, priority, attempt_count, max_retry_attempts,
           next_retry_at, rank, created_at, started_at, error_code, error_message)
    select m.id, m.id, m.entity_type, m.source_entity_id, m.operation_type,
           case when m.is_dead then 'dead_letter' else 'retry' end::public.tds_event_status, p.priority, 1, :attempts,
           app_now() + make_interval(secs => m.wait), app_now() + make_interval(secs => coalesce(m.wait, 0) + 30 * p.priority),
           m.received_at, app_now(), m.code, m.message
      from moved m
     cross join lateral (select coalesce((:priorities::jsonb ->> m.entity_type::text)::integer, 8) as priority) p
    on conflict do nothing
), logged as (
    insert into public.tds_sync_logs (
           id, sync_queue_id, entity_type, source_entity_id, operation_type, operation_status, attempt_number, error_code,
           error_message, worker_id)
    select m.id, m.id, m.entity_type, m.source_entity_id, m.operation_type,
           case when m.is_dead then 'dead_letter' else 'retry' end::public.tds_event_status, 1, m.code, m.message, :worker
      from moved m
    on conflict do nothing
), buried as (
    insert into public.tds_dead_letter_queue (
           sync_queue_id, entity_type, source_entity_id, failure_reason, error_code, total_attempts, last_error_message, last_payload)
    select m.id, m.entity_type, m.source_entity_id, m.message, m.code, 1, m.message, m.raw_payload from moved m where m.is_dead
), counted as (
    insert into tidemark.deltas (name, amount)
    select 'waiting', -count(*) from moved having count(*) > 0
    union all select case when is_dead then 'dead_letter' else 'retried' end, count(*) from moved group by is_dead
)
select count(*) from moved;

-- name: claim
-- Lease the next events that are due, first by rank, counting the attempt now: a crash is counted by its claim.
with due as (
    select q.id
      from public.tds_sync_queue q
     where q.status in ('pending', 'retry') and q.rank <= app_now() + interval '301 s'
       and coalesce(q.next_retry_at, q.created_at) <= app_now()
     order by q.rank
     limit :limit
       for update skip locked
)
update public.tds_sync_queue q
   set status = 'processing', attempt_count = q.attempt_count + 1, token = nextval('tidemark.token'), locked_by = :worker,
       lock_expires_at = app_now() + :lease::interval, started_at = app_now()
  from due
 where q.id = due.id
returning q.id, q.token, q.attempt_count;

-- name: take
-- The event behind a leased row, locked until the transaction ends; none when the lease was lost.
select json_agg(t)::text
  from (select i.id, i.entity_type, i.source_entity_id, i.operation_type, i.organization_id, i.received_at, i.source_modified_at,
               i.content_hash, i.payload_path,
               -- the same JSON, but as it came: that costs a third of writing it out anew
               case when i.flags <@ '{duplicate_keys}' then convert_from(i.raw_body, 'UTF8') else i.raw_payload::text end as payload
          from public.tds_sync_queue q
          join public.tds_inbox_events i on i.id = q.inbox_event_id
         where q.id = :id and q.token = :token and q.status = 'processing'
           for update of q) t;

-- name: complete
-- Finish a leased event, if the lease is still ours.
with finished as (
    update public.tds_sync_queue q
       set status = 'completed', completed_at = app_now(), lock_expires_at = null, locked_by = null, next_retry_at = null,
           target_entity_id = q.source_entity_id, error_code = null, error_message = null,
           processing_result = jsonb_strip_nulls(jsonb_build_object('outcome', :outcome::text, 'ambiguous', nullif(:ambiguous::boolean, false)))
     where q.id = :id and q.token = :token and q.status = 'processing'
    returning q.*
), read as (
    update public.tds_inbox_events i set is_valid = true, processed_at = app_now() from finished f where i.id = f.inbox_event_id
), logged as (
    insert into public.tds_sync_logs (
           sync_queue_id, entity_type, source_entity_id, target_entity_id, operation_type, operation_status, attempt_number, worker_id)
    select f.id, f.entity_type, f.source_entity_id, f.source_entity_id, f.operation_type, 'completed', f.attempt_count, :worker from finished f
), counted as (
    insert into tidemark.deltas (name, amount)
    select counts.name, counts.amount
      from (select (extract(epoch from f.completed_at - f.created_at) * 1000000)::bigint as us from finished f) timed
     cross join lateral (values ('completed', 1), (:outcome::text, 1), ('latency_le_' || tidemark.latency_le(us), 1), ('latency_us', us))
           as counts (name, amount)
)
select count(*) from finished;

-- name: refuse
-- A leased event turned out to have a wrong shape: back to the inbox's quarantine, out of the queue.
with refused as (
    delete from public.tds_sync_queue q where q.id = :id and q.token = :token and q.status = 'processing' returning q.inbox_event_id
), kept as (
    update public.tds_inbox_events i
       set is_valid = false, moved_to_queue = false, processed_at = app_now(), validation_errors = :errors::jsonb
      from refused r
     where i.id = r.inbox_event_id
), counted as (
    insert into tidemark.deltas (name, amount) select 'quarantined', 1 from refused
)
select count(*) from refused;

-- name: fail
-- A leased event failed: wait for the next attempt, or, with the last one spent, a dead letter in the same transaction.
with failed as (
    update public.tds_sync_queue q
       set status = case when :final or q.attempt_count >= q.max_retry_attempts then 'dead_letter' else 'retry' end::public.tds_event_status,
           next_retry_at = case when :final or q.attempt_count >= q.max_retry_attempts then null
                                else app_now() + make_interval(secs => :wait) end,
           rank = app_now() + make_interval(secs => :wait + 30 * q.priority),
           lock_expires_at = null, locked_by = null, error_code = :code, error_message = :message
     where q.id = :id and q.token = :token and q.status = 'processing'
    returning q.*
), logged as (
    insert into public.tds_sync_logs (
           sync_queue_id, entity_type, source_entity_id, operation_type, operation_status, attempt_number, error_code, error_message, worker_id)
    select f.id, f.entity_type, f.source_entity_id, f.operation_type, f.status, f.attempt_count, :code, :message, :worker from failed f
), buried as (
    insert into public.tds_dead_letter_queue (
           sync_queue_id, entity_type, source_entity_id, failure_reason, error_code, total_attempts, last_error_message, last_payload, priority)
    select f.id, f.entity_type, f.source_entity_id, :message, :code, f.attempt_count, :message,
           coalesce(f.validated_payload, (select i.raw_payload from public.tds_inbox_events i where i.id = f.inbox_event_id), 'null'), f.priority
      from failed f
     where f.status = 'dead_letter'
), counted as (
    insert into tidemark.deltas (name, amount)
    select case when f.status = 'dead_letter' then 'dead_letter' else 'retried' end, 1 from failed f
)
select count(*) from failed;

-- name: expired
-- Leases that ran out, oldest first: their workers died, or are too late and will be refused by their token.
select q.id, q.token, q.attempt_count
  from public.tds_sync_queue q
 where q.status = 'processing' and q.lock_expires_at < app_now()
 order by q.lock_expires_at
 limit :limit
   for update skip locked;

-- name: next_due
-- When the next waiting event is due; null when none waits.
select min(coalesce(q.next_retry_at, q.created_at)) from public.tds_sync_queue q where q.status in ('pending', 'retry');

-- name: revive
-- One more attempt for a dead letter, on an operator's word; attempts are never set back.
with letter as (
    update public.tds_dead_letter_queue d
       set resolved = true, resolved_at = app_now(), resolved_by = :actor, resolution_notes = 'tried again'
     where d.id = :id and not d.resolved
    returning d.sync_queue_id
), revived as (
    update public.tds_sync_queue q
       set status = 'retry', next_retry_at = app_now(), rank = app_now() + q.priority * interval '30 s',
           max_retry_attempts = q.attempt_count + 1
      from letter l
     where q.id = l.sync_queue_id and q.status = 'dead_letter'
    returning q.id
), counted as (
    insert into tidemark.deltas (name, amount) select 'revived', 1 from revived
)
select id from revived;
