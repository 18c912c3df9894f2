-- The inbox: what came in, and what of it waits.

-- name: receive
-- Store a group of events; all the ingest role can do.
select tidemark.receive(d -> 'events', (d ->> 'refused')::integer) from (select :document::jsonb) as given (d);

-- name: claim
-- Write the receipt of the next batch: the first events by rank that stand in no other receipt.
with picked as (
    select r.id
      from tidemark.ready_events r
     where r.id not in (select unnest(x.ids) from tidemark.receipts x)
     order by r.rank
     limit :limit
       for update of r skip locked
)
insert into tidemark.receipts (token, ids, leased_until, locked_by)
select nextval('tidemark.token'), array_agg(id), app_now() + :lease::interval, :locked_by
  from picked
having count(*) > 0
returning token;

-- name: take
-- Lock a receipt with its events, first to be applied first; those that somebody else is at are left out.
-- The lock keeps a sweep from taking the receipt away from work that is slow but alive. One JSON text for all: reading
-- it costs the driver a fifth of reading rows.
select json_agg(t)::text
  from (select i.id, i.entity_type, i.source_entity_id, i.operation_type, i.organization_id, i.received_at, i.source_modified_at,
               i.content_hash, i.payload_path,
               -- the same JSON, but as it came: that costs a third of writing it out anew
               case when i.flags <@ '{duplicate_keys}' then convert_from(i.raw_body, 'UTF8') else i.raw_payload::text end as payload
          from tidemark.receipts x
          join tidemark.ready_events r on r.id = any (x.ids)
          join public.tds_inbox_events i on i.id = r.id
         where x.token = :token
         order by r.rank, r.id
           for update of r, x skip locked) t;

-- name: settle
-- Give a receipt back.
delete from tidemark.receipts where token = :token;

-- name: lapsed
-- Take away one receipt that outlived its lease; its ids.
delete from tidemark.receipts
 where token = (select token from tidemark.receipts where leased_until < app_now() order by leased_until limit 1 for update skip locked)
returning ids;
