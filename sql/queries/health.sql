-- Health: how things stand, read in time that does not grow with what is stored.

-- name: summary
-- What /health tells of the queue.
select coalesce(sum(c.amount) filter (where c.name in ('received', 'duplicate')), 0)::bigint as received,
       coalesce(sum(c.amount) filter (where c.name in ('completed', 'quarantined')), 0)::bigint as processed,
       coalesce(sum(c.amount) filter (where c.name = 'waiting'), 0)::bigint
       + (select count(*) from public.tds_sync_queue q
           where q.status in ('pending', 'retry') and coalesce(q.next_retry_at, q.created_at) <= app_now()) as depth,
       (select coalesce(sum(amount), 0) from tidemark.last_hour where name = 'refused')::bigint as refused,
       (select coalesce(sum(amount), 0) from tidemark.last_hour where name in ('received', 'duplicate', 'refused'))::bigint as offered
  from tidemark.counters c;

-- name: queue
-- How many events are in each state.
select status, events, oldest_at from public.tds_get_queue_stats();

-- name: counters
-- What has been counted so far, by name.
select name, amount from tidemark.counters order by name;

-- name: hour
-- What happened in the last hour, by name.
select name, sum(amount)::bigint from tidemark.last_hour group by name order by name;

-- name: whole
-- The whole system in one row.
select queue, active_alerts, unresolved_dead_letters from public.tds_get_health_summary();

-- name: dead
-- How many dead letters nobody has resolved.
select count(*) from public.tds_v_unresolved_dlq;

-- name: duplicates
-- Events that were delivered more than once, latest first.
select d.event_id, i.entity_type::text, i.source_entity_id, count(*), max(d.received_at) as last_seen_at, i.received_at
  from (select event_id, received_at from tidemark.duplicates order by received_at desc limit 10000) d
  join public.tds_inbox_events i on i.id = d.event_id
 group by d.event_id, i.entity_type, i.source_entity_id, i.received_at
 order by max(d.received_at) desc
 limit :limit;

-- name: recent_events
-- The events that came last, with what became of each.
select i.id, i.received_at, i.entity_type::text, i.source_entity_id, i.operation_type::text, i.source_modified_at, i.is_valid,
       i.validation_errors, i.processed_at, coalesce(q.status::text, case when i.processed_at is null then 'pending' else 'quarantined' end),
       q.processing_result ->> 'outcome', q.attempt_count, q.error_message, i.signed_by, i.flags
  from public.tds_inbox_events i
  left join public.tds_sync_queue q on q.id = i.id
 where (:entity::text is null or i.entity_type = :entity::public.tds_entity_type)
   and (:before::timestamptz is null or i.received_at < :before::timestamptz)
 order by i.received_at desc
 limit :limit;

-- name: event
-- One event, whole.
select i.id, i.received_at, i.entity_type::text, i.source_entity_id, i.operation_type::text, i.source_modified_at, i.is_valid,
       i.validation_errors, i.processed_at, i.idempotency_key, i.signed_by, i.method, i.query, i.webhook_headers, i.flags,
       i.raw_payload, encode(i.raw_body, 'base64'), q.status::text, q.processing_result, q.attempt_count, q.error_code, q.error_message,
       (select count(*) from tidemark.duplicates d where d.event_id = i.id)
  from public.tds_inbox_events i
  left join public.tds_sync_queue q on q.id = i.id
 where i.id = :id;

-- name: dead_letters
-- Dead letters and quarantined events that nobody has resolved, latest first.
(select d.id, 'dead_letter' as kind, d.sync_queue_id as event_id, d.entity_type::text, d.source_entity_id, d.failure_reason, d.error_code,
        d.total_attempts, d.created_at
   from public.tds_dead_letter_queue d
  where not d.resolved
  order by d.created_at desc
  limit :limit)
union all
(select i.id, 'quarantine', i.id, i.entity_type::text, i.source_entity_id, i.validation_errors #>> '{0,message}', null, 0, i.received_at
   from public.tds_inbox_events i
  where i.validation_errors is not null and i.resolved_at is null
  order by i.received_at desc
  limit :limit)
order by created_at desc
limit :limit;

-- name: database
-- The database itself: its version, its connections, and the oldest snapshot or transaction, which keeps it from cleaning up.
select current_setting('server_version'), (select max(version) from public.tds_schema_versions),
       (select count(*) from pg_stat_activity where datname = current_database()),
       current_setting('max_connections')::integer, pg_database_size(current_database()), t.seconds, t.pid
  from (select) one
  left join lateral (select seconds, pid from tidemark.long_transactions('0') limit 1) t on true;
