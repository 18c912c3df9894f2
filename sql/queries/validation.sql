-- Validation: what stands in the business tables and should not, or does not and should. Every query looks at a bounded
-- number of rows from an id on, in the order of the primary key; the @names@ are filled in from common/entities.

-- name: products
-- Products that something is wrong with, by check; two with one sku are seen if both are among these rows.
with scanned as materialized (
    select p.source_id, p.name, p.sku, p.rate, p.stock_on_hand, p.status, p.deleted_at
      from erp.products p
     where p.organization_id = :organization and p.source_id > :after
     order by p.source_id limit :rows
), live as (
    select s.*, count(*) over (partition by nullif(s.sku, '')) as twins from scanned s where s.deleted_at is null
)
select c.name as check, count(*) as found, array_agg(l.source_id order by l.source_id) as ids,
       (select count(*) from scanned) as examined, (select max(source_id) from scanned) as last
  from live l
 cross join lateral (values
       ('missing_name', coalesce(l.name, '') = ''),
       ('missing_sku', coalesce(l.sku, '') = ''),
       ('missing_rate', l.rate is null),
       ('negative_rate', l.rate < 0),
       ('negative_stock', l.stock_on_hand < 0),
       ('duplicate_sku', l.sku <> '' and l.twins > 1),
       ('inactive_with_stock', l.status = 'inactive' and l.stock_on_hand > 0)) as c (name, is_so)
 where c.is_so
 group by c.name
union all
select 'looked', 0, null, count(*), max(source_id) from scanned;

-- name: records
-- Records of any kind that are stale or ambiguous since yesterday, or have a stamp that cannot be.
with scanned as materialized (
    select r.source_id, r.source_modified_at, r.created_time, r.observed_at, r.detail_stale, r.ambiguous, r.deleted_at
      from erp.@table@ r
     where r.organization_id = :organization and r.source_id > :after
     order by r.source_id limit :rows
)
select c.name as check, count(*) as found, array_agg(s.source_id order by s.source_id) as ids,
       (select count(*) from scanned) as examined, (select max(source_id) from scanned) as last
  from scanned s
 cross join lateral (values
       ('stale_detail', s.detail_stale and s.deleted_at is null and s.observed_at < app_now() - interval '1 day'),
       ('ambiguous', s.ambiguous and s.deleted_at is null and s.observed_at < app_now() - interval '1 day'),
       ('modified_in_future', s.source_modified_at > app_now() + interval '1 day'),
       ('modified_long_ago', s.source_modified_at < '2000-01-01'),
       ('created_after_modified', s.created_time > s.source_modified_at + interval '1 day'),
       ('deleted_in_future', s.deleted_at > app_now() + interval '1 day')) as c (name, is_so)
 where c.is_so
 group by c.name
union all
select 'looked', 0, null, count(*), max(source_id) from scanned;

-- name: totals
-- Documents whose lines do not add up to what the document says, beyond what rounding each line can do.
with scanned as materialized (
    select d.organization_id, d.source_id, d.deleted_at, d.detail_stale, d.detail_document is not null as has_detail, @total@ as total
      from erp.@table@ d
     where d.organization_id = :organization and d.source_id > :after
     order by d.source_id limit :rows
), summed as (
    select s.source_id, s.total, l.total as of_lines, l.lines
      from scanned s
     cross join lateral (select coalesce(sum(l.@part@), 0) as total, count(*) as lines, count(l.@part@) as known
                           from erp.@lines@ l where l.organization_id = s.organization_id and l.source_id = s.source_id) l
     where s.deleted_at is null and s.has_detail and not s.detail_stale and s.total is not null and l.known = l.lines
)
select 'total_differs' as check, count(*) as found, array_agg(s.source_id order by s.source_id) as ids,
       (select count(*) from scanned) as examined, (select max(source_id) from scanned) as last
  from summed s
 cross join lateral (select abs(s.total - s.of_lines) > 0.01 + 0.005 * s.lines as is_so) c
 where c.is_so
union all
select 'looked', 0, null, count(*), max(source_id) from scanned;

-- name: lines
-- Lines of a document that is not there.
with scanned as materialized (
    select distinct l.source_id from erp.@lines@ l where l.organization_id = :organization and l.source_id > :after order by l.source_id limit :rows
)
select 'line_without_document' as check, count(*) as found,
       array_agg(s.source_id order by s.source_id) as ids, count(*) as examined, max(s.source_id) as last
  from scanned s
 cross join lateral (select not exists (select from erp.@table@ d where d.organization_id = :organization and d.source_id = s.source_id) as is_so) c
 where c.is_so
union all
select 'looked', 0, null, count(*), max(source_id) from scanned;

-- name: references
-- Live records that refer to one that is not there, or is deleted.
with scanned as materialized (
    select c.source_id, c.@column@ as refers_to, c.deleted_at
      from erp.@table@ c
     where c.organization_id = :organization and c.source_id > :after
     order by c.source_id limit :rows
)
select c.name as check, count(*) as found, array_agg(s.source_id order by s.source_id) as ids,
       (select count(*) from scanned) as examined, (select max(source_id) from scanned) as last
  from scanned s
  left join erp.@parent@ p on p.organization_id = :organization and p.source_id = s.refers_to
 cross join lateral (values ('missing_@column@', p.source_id is null), ('deleted_@column@', p.deleted_at is not null)) as c (name, is_so)
 where s.deleted_at is null and s.refers_to <> '' and c.is_so
 group by c.name
union all
select 'looked', 0, null, count(*), max(source_id) from scanned;

-- name: line_references
-- As references, of the lines of live records.
with scanned as materialized (
    select c.organization_id, c.source_id, c.deleted_at
      from erp.@table@ c
     where c.organization_id = :organization and c.source_id > :after
     order by c.source_id limit :rows
)
select c.name as check, count(*) as found,
       array_agg(distinct s.source_id order by s.source_id) as ids,
       (select count(*) from scanned) as examined, (select max(source_id) from scanned) as last
  from scanned s
  join erp.@lines@ l on l.organization_id = s.organization_id and l.source_id = s.source_id
  left join erp.@parent@ p on p.organization_id = :organization and p.source_id = l.@column@
 cross join lateral (values ('missing_@column@', p.source_id is null), ('deleted_@column@', p.deleted_at is not null)) as c (name, is_so)
 where s.deleted_at is null and l.@column@ <> '' and c.is_so
 group by c.name
union all
select 'looked', 0, null, count(*), max(source_id) from scanned;

-- name: events
-- What no foreign key holds together: the latest events of the inbox, their queue rows, their logs, and what waits.
with latest as materialized (
    select i.id, i.moved_to_queue, i.processed_at
      from public.tds_inbox_events i
     where i.received_at > app_now() - interval '6 days'
     order by i.received_at desc limit :rows
)
select c.name as check, count(*) as found, array_agg(c.id::text order by c.id) as ids,
       (select count(*) from latest) as examined, null::text as last
  from (
       select 'event_without_queue_row' as name, l.id from latest l
        where l.moved_to_queue and not exists (select from public.tds_sync_queue q where q.id = l.id)
       union all
       select 'event_that_nobody_claims', l.id from latest l
        where not l.moved_to_queue and l.processed_at is null and not exists (select from tidemark.ready_events r where r.id = l.id)
       union all
       select 'queue_row_without_log', l.id from latest l
        where l.moved_to_queue and exists (select from public.tds_sync_queue q where q.id = l.id)
          and not exists (select from public.tds_sync_logs g where g.id = l.id)
       union all
       select 'ready_without_event', r.id from (select id from tidemark.ready_events order by rank limit :rows) r
        where not exists (select from public.tds_inbox_events i where i.id = r.id)
       union all
       select 'queue_row_without_event', q.id
         from (select w.id, w.inbox_event_id from public.tds_sync_queue w
                where w.status in ('pending', 'retry') and w.validated_payload is null order by w.rank limit :rows) q
        where not exists (select from public.tds_inbox_events i where i.id = q.inbox_event_id)
       union all
       select 'dead_letter_without_queue_row', d.id
         from (select id, sync_queue_id from public.tds_dead_letter_queue where not resolved order by created_at limit :rows) d
        where not exists (select from public.tds_sync_queue q where q.id = d.sync_queue_id)
       ) c
 group by c.name
 order by c.name;

-- name: walk
-- Look at the next events that came an hour ago or earlier, each once: how many, and which have lost their rows. Those that
-- came in one moment are looked at together, as only their moment is kept.
with next as materialized (
    select i.id, i.received_at, i.moved_to_queue, i.processed_at
      from public.tds_inbox_events i
     where i.received_at > (select h.seen_at from tidemark.heartbeats h where h.function = 'lost_rows')
       and i.received_at <= app_now() - interval '1 hour'
     order by i.received_at fetch first :rows rows with ties
), lost as (
    select n.id
      from next n
     where case when n.moved_to_queue then not exists (select from public.tds_sync_queue q where q.id = n.id)
                                        or not exists (select from public.tds_sync_logs g where g.id = n.id)
                else n.processed_at is null and not exists (select from tidemark.ready_events r where r.id = n.id) end
), moved as (
    update tidemark.heartbeats h set seen_at = greatest(h.seen_at, n.until)
      from (select max(received_at) as until from next) n
     where h.function = 'lost_rows' and n.until is not null
)
select (select count(*) from next) as examined, count(*) as lost, (array_agg(l.id::text)) as ids from lost l;
