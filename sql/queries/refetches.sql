-- Records to be read again from the source by their id.

-- name: ask
-- Ask for records, each once: [{entity, id}]. The reason of the one who asks counts, if it is the more urgent.
insert into tidemark.refetches as r (organization_id, entity_type, source_entity_id, reason, ready_at)
select :organization, a.entity::public.tds_entity_type, a.id, :reason, app_now()
  from jsonb_to_recordset(:asked::jsonb) as a (entity text, id text)
 order by a.entity, a.id collate "C"
on conflict (organization_id, entity_type, source_entity_id)
do update set requests = r.requests + 1, attempts = 0, ready_at = app_now(),
       reason = case when array_position(:reasons::text[], excluded.reason) < coalesce(array_position(:reasons::text[], r.reason), 99)
                     then excluded.reason else r.reason end;

-- name: ask_for_details
-- Ask for the details of the records whose row of the list is all that is known of them, the newest first.
insert into tidemark.refetches as r (organization_id, entity_type, source_entity_id, reason, ready_at)
select :organization, :entity::public.tds_entity_type, d.source_id, 'detail', app_now()
  from (select source_id from erp.@table@
         where organization_id = :organization and deleted_at is null and (detail_stale or detail_document is null)
         order by source_modified_at desc nulls last limit :limit) d
 order by d.source_id
on conflict do nothing;

-- name: ask_for_moved
-- Ask for the products that documents changed since a moment have moved: their stock changes without their stamp.
insert into tidemark.refetches as r (organization_id, entity_type, source_entity_id, reason, ready_at)
select :organization, 'product', m.item_id, 'moved', app_now()
  from (select distinct l.item_id
          from erp.@line_table@ l join erp.@table@ d using (organization_id, source_id)
         where d.organization_id = :organization and d.updated_at > :since and l.item_id is not null) m
  join erp.products p on p.organization_id = :organization and p.source_id = m.item_id and p.deleted_at is null
       and p.stock_read_at is not null and p.stock_read_at < app_now() - interval '1 minute'
 order by m.item_id
on conflict do nothing;

-- name: claim
-- Claim records of one entity that one call can read, those of the most urgent reason first.
with first as (
    select r.entity_type
      from tidemark.refetches r
     where r.organization_id = :organization and r.ready_at <= app_now() and (r.leased_until is null or r.leased_until < app_now())
       and r.attempts < :most and r.reason = any (:reasons::text[]) and r.entity_type::text in (select jsonb_object_keys(:at_once::jsonb))
     order by coalesce(array_position(:reasons::text[], r.reason), 99), r.requested_at
     limit 1
), chosen as (
    select r.organization_id, r.entity_type, r.source_entity_id
      from tidemark.refetches r join first f on f.entity_type = r.entity_type
     where r.organization_id = :organization and r.ready_at <= app_now() and (r.leased_until is null or r.leased_until < app_now())
       and r.attempts < :most and r.reason = any (:reasons::text[])
     order by coalesce(array_position(:reasons::text[], r.reason), 99), r.requested_at, r.source_entity_id
     limit (select coalesce((:at_once::jsonb ->> f.entity_type::text)::integer, 1) from first f)
       for update of r skip locked
), fence as (
    select nextval('tidemark.token') as token
)
update tidemark.refetches r
   set token = f.token, leased_until = app_now() + :lease, claimed_requests = r.requests, attempts = r.attempts + 1
  from chosen c, fence f
 where r.organization_id = c.organization_id and r.entity_type = c.entity_type and r.source_entity_id = c.source_entity_id
returning r.entity_type::text, r.source_entity_id, r.reason, r.token;

-- name: done
-- These were read. One that was asked for again meanwhile stays for the next call.
with mine as (
    select r.entity_type, r.source_entity_id, r.requests = r.claimed_requests as is_over
      from tidemark.refetches r
     where r.organization_id = :organization and r.token = :token and r.entity_type = :entity::public.tds_entity_type
       and r.source_entity_id in (select jsonb_array_elements_text(:ids::jsonb))
     order by r.source_entity_id
       for update
), gone as (
    delete from tidemark.refetches r using mine m
     where r.organization_id = :organization and r.entity_type = m.entity_type and r.source_entity_id = m.source_entity_id and m.is_over
), again as (
    update tidemark.refetches r set token = null, leased_until = null, attempts = 0
      from mine m
     where r.organization_id = :organization and r.entity_type = m.entity_type and r.source_entity_id = m.source_entity_id and not m.is_over
)
select source_entity_id from mine;

-- name: young
-- Live records whose last change is younger than a moment: the source may not show them yet.
select d.source_id from erp.@table@ d
 where d.organization_id = :organization and d.source_id in (select jsonb_array_elements_text(:ids::jsonb)) and d.deleted_at is null
   and coalesce(d.source_modified_at, d.created_at) > :since::timestamptz
 order by d.source_id;

-- name: postpone
-- It is too early to believe what was said of these: they are asked for again, and no attempt is spent.
update tidemark.refetches
   set token = null, leased_until = null, attempts = attempts - 1, ready_at = app_now() + :wait
 where organization_id = :organization and token = :token and entity_type = :entity::public.tds_entity_type
   and source_entity_id in (select jsonb_array_elements_text(:ids::jsonb));

-- name: give_back
-- The call did not come to these: no attempt is spent.
update tidemark.refetches
   set token = null, leased_until = null, attempts = attempts - 1
 where organization_id = :organization and token = :token and leased_until is not null
   and (:entity::text is null or entity_type = :entity::public.tds_entity_type);

-- name: refuse
-- What was read of this one cannot be stored: it waits for somebody to ask again.
update tidemark.refetches
   set token = null, leased_until = null, attempts = :most, message = :message
 where organization_id = :organization and token = :token and entity_type = :entity::public.tds_entity_type and source_entity_id = :id;

-- name: waiting
-- How many wait, by entity and reason.
select entity_type::text, reason, count(*), min(requested_at) from tidemark.refetches where attempts < :most group by 1, 2 order by 1, 2;

-- name: ask_for_parents
-- Ask for the records that lately applied events of an entity refer to and that are not here.
insert into tidemark.refetches as r (organization_id, entity_type, source_entity_id, reason, ready_at)
select :organization, :parent::public.tds_entity_type, m.id, 'missing', app_now()
  from (select distinct c.@column@ as id
          from public.tds_sync_queue q
          join erp.@table@ c on c.organization_id = :organization and c.source_id = q.source_entity_id
         where q.status = 'completed' and q.completed_at between app_now() - interval '1 hour' and app_now() - interval '2 minutes'
           and q.entity_type = :entity::public.tds_entity_type and c.@column@ is not null
           and not exists (select from erp.@parent_table@ p where p.organization_id = :organization and p.source_id = c.@column@)
         order by 1
         limit :limit) m
on conflict do nothing;
