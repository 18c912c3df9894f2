-- Seen ids: what a run over a whole list has come across, page by page. `missing` is rendered with @table@.

-- name: add
-- Remember the ids of a page; a page that is done again replaces what it had.
insert into tidemark.seen_ids as s (plan, stage, page, ids, rows, digest)
select :plan::uuid, :stage, :page, p.ids, :rows, md5(array_to_string(p.ids, ' '))
  from (select coalesce(array_agg(distinct i.id collate "C" order by i.id collate "C"), '{}') as ids
          from jsonb_array_elements_text(:ids::jsonb) i (id)) p
on conflict (plan, stage, page) do update set ids = excluded.ids, rows = excluded.rows, digest = excluded.digest, seen_at = app_now();

-- name: repeats
-- Whether another page of the run had the very same ids: then the source gives one page again and again.
select exists (
    select from tidemark.seen_ids s
     where s.plan = :plan::uuid and s.stage = :stage and s.page <> :page and s.ids <> '{}'
       and s.digest = (select md5(string_agg(i.id, ' ' order by i.id collate "C"))
                         from (select distinct id from jsonb_array_elements_text(:ids::jsonb) g (id)) i)
);

-- name: missing
-- Live records that no page of the run had, the first ones by id; those made or read since it began have an excuse.
with seen as materialized (
    select unnest(s.ids) collate "C" as id from tidemark.seen_ids s where s.plan = :plan::uuid and s.stage = :stage
)
select d.source_id
  from erp.@table@ d
 where d.organization_id = :organization and d.deleted_at is null
   and d.created_at < :since::timestamptz - interval '5 minutes' and d.observed_at < :since::timestamptz - interval '5 minutes'
   and not exists (select from seen s where s.id = d.source_id)
 order by d.source_id
 limit :limit;

-- name: clean_up
-- Forget the pages of plans that ended days ago, a bounded number of them; how many went.
select tidemark.cleanup_old_seen_ids(:days, :limit);
