-- Dead letters: what ended badly and waits for somebody, grouped by its cause; dead letters and quarantined events alike.

-- name: groups
-- Open letters by cause, the most frequent first, with the newest of each as a sample of what it says.
select l.fingerprint, l.kind, min(l.reason) filter (where l.n = 1) as cause, l.entity_type::text, min(l.error_code) as error_code,
       count(*) as letters, min(l.at) as first_seen, max(l.at) as last_seen, array_agg(l.id order by l.n) filter (where l.n <= 5) as samples
  from (select o.*, row_number() over (partition by o.fingerprint, o.kind, o.entity_type order by o.at desc, o.id) as n
          from tidemark.open_letters o
         where (:fingerprint::text is null or o.fingerprint = :fingerprint) and (:entity::text is null or o.entity_type = :entity::public.tds_entity_type)
           and (:kind::text is null or o.kind = :kind)) l
 group by l.fingerprint, l.kind, l.entity_type
 order by count(*) desc, max(l.at) desc, l.fingerprint
 limit :limit;

-- name: page
-- Open letters, the latest first, those after a place in that order.
select l.id, l.kind, l.event_id, l.entity_type::text, l.source_entity_id as entity_id, l.fingerprint, l.reason, l.error_code, l.attempts,
       l.auto_retries, l.at
  from tidemark.open_letters l
 where (:fingerprint::text is null or l.fingerprint = :fingerprint) and (:entity::text is null or l.entity_type = :entity::public.tds_entity_type)
   and (:kind::text is null or l.kind = :kind) and (:before::timestamptz is null or (l.at, l.id) < (:before::timestamptz, :after::uuid))
 order by l.at desc, l.id desc
 limit :limit;

-- name: find
-- One letter, open or not, by its own id or its event's.
select l.id, l.kind, l.event_id, l.entity_type, l.entity_id, l.fingerprint, l.reason, l.error_code, l.attempts, l.auto_retries, l.at, l.is_open,
       l.resolved_at, l.resolved_by, l.resolution_notes
  from (select d.id, 'dead_letter' as kind, d.sync_queue_id as event_id, d.entity_type::text, d.source_entity_id as entity_id, d.fingerprint,
               d.failure_reason as reason, d.error_code::text, d.total_attempts as attempts, d.auto_retries, d.created_at as at, not d.resolved as is_open,
               d.resolved_at, d.resolved_by, d.resolution_notes
          from public.tds_dead_letter_queue d where d.id = :id or d.sync_queue_id = :id
        union all
        select i.id, 'quarantine', i.id, i.entity_type::text, i.source_entity_id, i.fingerprint, i.validation_errors #>> '{0,message}', null, 0, 0,
               i.received_at, i.resolved_at is null, i.resolved_at, i.resolved_by, i.resolution_notes
          from public.tds_inbox_events i where i.id = :id and i.validation_errors is not null) l
 order by l.id <> :id, l.is_open desc, l.at desc
 limit 1;

-- name: event
-- What an event was received as.
select i.id, i.entity_type::text, i.source_entity_id, i.operation_type::text, i.method, i.query, i.raw_payload, i.received_at
  from public.tds_inbox_events i where i.id = :id;

-- name: interventions
-- What people did to an event, the latest first.
select at, actor, verb, reason, before, after, became from tidemark.interventions where events @> array[:event::uuid] or became = :event::uuid
 order by at desc limit 50;

-- name: matched
-- The open letters that a filter means and no replay is at, as one digest of their ids, with some of them.
select count(*) as letters, encode(sha256(convert_to(coalesce(string_agg(m.id::text, ',' order by m.id), ''), 'UTF8')), 'hex') as digest,
       array_agg(m.id order by m.n) filter (where m.n <= 10) as sample
  from (select l.id, row_number() over (order by l.at, l.id) as n from tidemark.open_letters l
         where (:fingerprint::text is null or l.fingerprint = :fingerprint) and (:entity::text is null or l.entity_type = :entity::public.tds_entity_type)
           and (:kind::text is null or l.kind = :kind) and (:code::text is null or l.error_code = :code)
           and (:before::timestamptz is null or l.at < :before::timestamptz)
           and (:ids::jsonb is null or l.id in (select jsonb_array_elements_text(:ids::jsonb)::uuid))
           and not exists (select from tidemark.replay_items x where x.letter = l.id and x.ended_at is null)) m;

-- name: discard
-- Give up the open letters that a filter means and no replay is at: their events have failed for good. Whose they were, as one digest.
with chosen as materialized (
    select l.id, l.kind, l.event_id from tidemark.open_letters l
     where (:fingerprint::text is null or l.fingerprint = :fingerprint) and (:entity::text is null or l.entity_type = :entity::public.tds_entity_type)
       and (:kind::text is null or l.kind = :kind) and (:code::text is null or l.error_code = :code)
       and (:before::timestamptz is null or l.at < :before::timestamptz)
       and (:ids::jsonb is null or l.id in (select jsonb_array_elements_text(:ids::jsonb)::uuid))
       and not exists (select from tidemark.replay_items x where x.letter = l.id and x.ended_at is null)
), letters as (
    select d.id from public.tds_dead_letter_queue d join chosen c on c.id = d.id and c.kind = 'dead_letter'
     where not d.resolved order by d.id for update of d
), buried as (
    update public.tds_dead_letter_queue d
       set resolved = true, resolved_at = app_now(), resolved_by = :actor, resolution_notes = 'discarded: ' || :reason::text
      from letters l where d.id = l.id and not d.resolved
    returning d.id, d.sync_queue_id as event_id
), failed as (
    update public.tds_sync_queue q set status = 'failed', completed_at = app_now()
      from buried b where q.id = b.event_id and q.status = 'dead_letter'
), events as (
    select i.id from public.tds_inbox_events i join chosen c on c.id = i.id and c.kind = 'quarantine'
     where i.resolved_at is null order by i.id for update of i
), dropped as (
    update public.tds_inbox_events i set resolved_at = app_now(), resolved_by = :actor, resolution_notes = 'discarded: ' || :reason::text
      from events e where i.id = e.id and i.validation_errors is not null and i.resolved_at is null
    returning i.id, i.id as event_id
), discarded as materialized (
    select id, event_id from buried union all select id, event_id from dropped
), audited as (
    insert into tidemark.interventions (actor, verb, reason, events, letters)
    select :actor, 'discard', :reason, array_agg(event_id order by event_id), array_agg(id order by id) from discarded having count(*) > 0
), counted as (
    insert into tidemark.deltas (name, amount) select 'discarded', count(*) from discarded having count(*) > 0
)
select count(*) as letters, encode(sha256(convert_to(coalesce(string_agg(d.id::text, ',' order by d.id), ''), 'UTF8')), 'hex') as digest,
       array_agg(d.id order by d.n) filter (where d.n <= 10) as sample
  from (select id, row_number() over (order by id) as n from discarded) d;

-- name: edit
-- Put an edited event in the place of one that failed.
select tidemark.edit(:event::jsonb, :original::uuid, :letter::uuid, :actor, :reason, :before::jsonb, :after::jsonb);

-- name: revive_due
-- Try dead letters again that are old enough, oldest first, each event a few times for ever; attempts are never set back.
with due as (
    select d.id, d.sync_queue_id
      from public.tds_dead_letter_queue d
     where not d.resolved and d.created_at < app_now() - make_interval(hours => :hours) and d.auto_retries < :most
       and exists (select from public.tds_sync_queue q where q.id = d.sync_queue_id and q.status = 'dead_letter')
       and not exists (select from tidemark.replay_items x where x.letter = d.id and x.ended_at is null)
     order by d.created_at
     limit :limit
       for update of d skip locked
), letters as (
    update public.tds_dead_letter_queue d
       set resolved = true, resolved_at = app_now(), resolved_by = 'healing', resolution_notes = 'tried again',
           auto_retries = d.auto_retries + 1
      from due where d.id = due.id
    returning d.sync_queue_id
), revived as (
    update public.tds_sync_queue q
       set status = 'retry', next_retry_at = app_now(), rank = app_now() + q.priority * interval '30 s', max_retry_attempts = q.attempt_count + 1
      from letters l where q.id = l.sync_queue_id and q.status = 'dead_letter'
    returning q.id
), counted as (
    insert into tidemark.deltas (name, amount) select 'revived', count(*) from revived having count(*) > 0
)
select count(*) from revived;
