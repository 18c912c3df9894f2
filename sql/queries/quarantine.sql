-- Quarantine: events that could not be read, and may be readable now.

-- name: untried
-- Events in quarantine that have not been read with the shapes of today: :versions tells them by entity. Whose delivery id
-- came with two contents is for a person to decide.
select i.id, i.source_type::text, i.entity_type::text, i.source_entity_id, i.operation_type::text, i.organization_id, i.received_at, i.method, i.query, i.webhook_headers,
       i.raw_payload::text, i.raw_body, i.validation_errors
  from public.tds_inbox_events i
 where i.validation_errors is not null and i.resolved_at is null
   and i.retried_with is distinct from (:versions::jsonb ->> i.entity_type::text)
   and not i.validation_errors @> '[{"message": "the same delivery id came before with another content"}]'
   and not exists (select from tidemark.replay_items x where x.letter = i.id and x.ended_at is null)
 order by i.received_at
 limit :limit
   for update of i skip locked;

-- name: some
-- These events, as far as they are in quarantine, locked.
select i.id, i.source_type::text, i.entity_type::text, i.source_entity_id, i.operation_type::text, i.organization_id, i.received_at, i.method, i.query, i.webhook_headers,
       i.raw_payload::text, i.raw_body, i.validation_errors
  from public.tds_inbox_events i
 where i.id in (select jsonb_array_elements_text(:ids::jsonb)::uuid) and i.validation_errors is not null and i.resolved_at is null
 order by i.id
   for update of i;

-- name: keep
-- It is still wrong, in this way; it has been read with these shapes.
update public.tds_inbox_events
   set retried_with = :version, validation_errors = :errors::jsonb
 where id = :id and validation_errors is not null;

-- name: release
-- It reads well now: back to where it would have been.
select tidemark.release(:event::jsonb);

-- name: resolve
-- Nobody need look at it any more.
update public.tds_inbox_events set resolved_at = app_now(), resolved_by = :actor, resolution_notes = :notes, retried_with = :version
 where id = :id and validation_errors is not null and resolved_at is null;
