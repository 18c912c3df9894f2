-- Pages of a source's lists: rendered for each entity, with @table@, @columns@ and what they are read by.

-- name: probe
-- Which rows of a page have news, by what kind; one row for all of a kind, as a row each would cost the driver more than
-- the whole look. News have those that are new, and those that differ from the last list row and may be later than
-- what stands. Neither locks nor writes. What is older stays older: versions only grow, so no fresh look can change that.
select p.state, count(*), json_agg(p.id) filter (where p.state in ('new', 'changed', 'moved'))::text as ids
  from (
       select g.id,
              case when d.source_id is null then 'new'
                   when d.deleted_at is null and d.list_hash = g.hash then case when @is_moved@ then 'moved' else 'unchanged' end
                   when d.deleted_at is not null and coalesce(g.stamp <= d.deleted_at, true) and :served_at::timestamptz <= d.observed_at + interval '2 s' then 'superseded'
                   when d.deleted_at is null and g.stamp < d.source_modified_at then 'superseded'
                   when d.deleted_at is null and :served_at::timestamptz <= d.observed_at
                    and coalesce(g.stamp <= d.source_modified_at, g.stamp is null)
                    and coalesce(g.stamp + interval '2 s' > :served_at::timestamptz, true) then 'superseded'
                   else 'changed' end as state
         from jsonb_to_recordset(:rows::jsonb) as g (id text collate "C", stamp timestamptz, hash text)
         left join erp.@table@ d on d.organization_id = :organization and d.source_id = g.id
       ) p
 group by p.state;

-- name: moved
-- The part of probe for an entity whose stock is summed over what came after its figure was read: the same figure, read
-- again, counts from now on.
exists (select from erp.stock_ledger l
         where l.organization_id = d.organization_id and l.item_id = d.source_id and l.effective_at > d.@mark@ and l.effective_at <= :served_at::timestamptz)

-- name: load
-- Insert new records straight from the page's text: every one of them is plain, so that Postgres may read it alone.
-- Records that somebody else inserted meanwhile are missing in the count.
with given as materialized (
    select g.*, v.item
      from jsonb_array_elements(:page::jsonb -> :key) with ordinality v (item, n)
      join jsonb_to_recordset(:rows::jsonb) as g (id text collate "C", position bigint, stamp timestamptz, hash text, audit uuid)
        on g.position = v.n - 1
), inserted as (
    insert into erp.@table@ (
           organization_id, source_id, @columns@, source_modified_at, settled, observed_at, list_document, list_hash,
           detail_stale, provenance, event_id)
    select :organization, g.id, @read_columns@, g.stamp, coalesce(g.stamp + interval '2 s' <= :served_at::timestamptz, true),
           :served_at::timestamptz, g.item, g.hash, @is_stale@, :provenance::public.tds_source_type, :run::uuid
      from given g
     order by g.id
    on conflict do nothing
    returning source_id, detail_stale
), audited as (
    -- No values: the record itself says what it was created as, and by which run, until something changes it; that says the rest.
    insert into public.tds_audit_trail (id, entity_type, entity_id, operation, changed_by, change_source)
    select g.audit, :entity::public.tds_entity_type, g.id, 'create', 'tidemark', :provenance::public.tds_source_type
      from given g
      join inserted n on n.source_id = g.id
)
select count(*), count(*) filter (where n.detail_stale) as stale from inserted n;

-- name: lock
-- Lock those of the records that exist, in one order for everybody, before anything is decided.
select d.source_id
  from erp.@table@ d
 where d.organization_id = :organization and d.source_id = any (array(select jsonb_array_elements_text(:ids::jsonb)))
 order by d.source_id
   for update;

-- name: write
-- Write the rows that are newer than what stands, with their lines and their audit; how many came to what.
-- Those that are in no count were inserted by somebody else meanwhile: all of it must be done again.
--
-- Where a detail of the same version stands, it leads: it owns its keys, and a row brings only what it does not have,
-- what changed since the last row, and the figures that move under one stamp. Where the row is newer, it leads, which
-- an empty detail_hash tells: the detail is to be read again. So does one that differs from an unsettled detail of its stamp.
with incoming as materialized (
    select r.*, :documents::jsonb -> r.position as document
      from jsonb_to_recordset(:rows::jsonb) as r (
           id text collate "C", position integer, stamp timestamptz, hash text, audit uuid, moved boolean, columns jsonb, sources jsonb, lines jsonb)
), old as materialized (
    select d.source_id, d.ctid as place, d as was
      from erp.@table@ d
     where d.organization_id = :organization and d.source_id = any (array(select jsonb_array_elements_text(:locked::jsonb)))
), judged as materialized (
    select i.*, o.was, o.place, o.source_id is null as is_new, coalesce((o.was).deleted_at is not null, false) as is_back,
           coalesce((o.was).list_hash = i.hash and (o.was).deleted_at is null and not i.moved, false) as is_same,
           coalesce(i.stamp, (o.was).source_modified_at, '-infinity') as version,
           coalesce((o.was).source_modified_at, '-infinity') as version_was,
           -- Two edits in one second, of which only the first was told: no former row tells what is news, but this one is settled.
           i.stamp = (o.was).source_modified_at and i.stamp + interval '2 s' <= :served_at::timestamptz and not (o.was).settled
           and (o.was).detail_hash <> '' and (o.was).list_document is null and '{@fluid@}' = '{}'
           and (select row (@scalars@) from jsonb_populate_record(o.was, i.columns) n)
               is distinct from (select row (@scalars@) from (select (o.was).*) n) as is_other,
           coalesce(:served_at::timestamptz < (o.was).observed_at, false) as is_late,
           coalesce((o.was).list_document ->> '@version_key@' = i.document ->> '@version_key@', false) as is_again
      from incoming i
      left join old o on o.source_id = i.id
), verdicts as materialized (
    select j.*,
           not j.is_same and case
               when j.is_new then true
               when j.is_back then coalesce(j.stamp > (j.was).deleted_at, false) or :served_at::timestamptz > (j.was).observed_at + interval '2 s'
               -- What was read two seconds after its stamp holds all of that second, whenever a webhook of it came in; and a
               -- detail of it, however late it was read, does not have what only the first row of that version brings.
               else j.version > j.version_was or (j.version = j.version_was and (:served_at::timestamptz > (j.was).observed_at
                    or (j.stamp + interval '2 s' <= :served_at::timestamptz and not ((j.was).settled and j.is_again)))) end as is_written,
           not j.is_new and not j.is_back and j.version = j.version_was and (j.was).detail_hash <> '' and not @is_whole@
           and j.is_other is not true as is_led
      from judged j
), news as materialized (
    select v.id, v.is_led, c.old_value, c.new_value, c.changed_fields
      from verdicts v
     cross join lateral (
           select case when (v.was).detail_hash <> '' then coalesce((v.was).list_document, '{}') || coalesce((v.was).detail_document, '{}')
                       else coalesce((v.was).detail_document, '{}') || coalesce((v.was).list_document, '{}') end as document
            offset 0  -- once a row; it would be put together anew for every key
           ) stood
     cross join lateral (
           select jsonb_object_agg(n.key, stood.document -> n.key) as old_value, jsonb_object_agg(n.key, n.value) as new_value,
                  jsonb_agg(n.key) as changed_fields
             from jsonb_each(v.document) n
            where n.value is distinct from stood.document -> n.key and n.key !~ :noise
              and not (v.is_late and n.key = any ('{@fluid@}'::text[]) and (v.was).detail_document ? n.key)
              and (not v.is_led or not (v.was).detail_document ? n.key or n.key = any ('{@fluid@}'::text[])
                   or (v.was).list_document -> n.key <> n.value or ((v.was).list_document is not null and not (v.was).list_document ? n.key))
           ) c
     where v.is_written and not v.is_new
), taken as materialized (
    select v.id, case when v.is_led
                      then (select coalesce(jsonb_object_agg(c.key, c.value), '{}')
                              from jsonb_each(v.columns) c
                             where n.new_value ? coalesce(v.sources ->> c.key, c.key) or (not v.is_late and coalesce(v.sources ->> c.key, c.key) = any ('{@fluid@}'::text[])))
                      else v.columns end as columns,
           case when v.is_led and not coalesce(n.new_value ? @lines_key@, false) then null else v.lines end as lines
      from verdicts v
      left join news n on n.id = v.id
     where v.is_written
), updated as (
    update erp.@table@ d
       set (@columns@) = (select @read_populated@ from jsonb_populate_record(d, t.columns) n),
           source_modified_at = case when v.is_back then v.stamp else nullif(v.version, '-infinity') end,
           settled = case when v.is_led then d.settled else coalesce(v.stamp + interval '2 s' <= :served_at::timestamptz, true) end,
           observed_at = case when v.version = v.version_was then greatest(d.observed_at, :served_at::timestamptz) else :served_at::timestamptz end,
           list_document = v.document, list_hash = v.hash,
           detail_document = case when @is_whole@ then null else d.detail_document end,
           detail_hash = case when v.is_led then d.detail_hash else '' end,
           detail_stale = case when @is_whole@ then false
                               when v.is_led then d.detail_stale or (v.stamp is null and coalesce(n.changed_fields is not null, false) and d.list_document is not null)
                               else d.detail_document is not null or @is_bare@ end,
           ambiguous = v.version = v.version_was and not v.is_back and not @is_whole@ and d.ambiguous,
           provenance = :provenance::public.tds_source_type, event_id = :run::uuid, deleted_at = null, updated_at = app_now()
      from verdicts v
      join taken t on t.id = v.id
      left join news n on n.id = v.id
     where d.ctid = v.place and v.is_written
    returning d.source_id, d.detail_stale
), inserted as (
    insert into erp.@table@ (
           organization_id, source_id, @columns@, source_modified_at, settled, observed_at, list_document, list_hash,
           detail_stale, provenance, event_id)
    select :organization, v.id, @read_populated@, v.stamp, coalesce(v.stamp + interval '2 s' <= :served_at::timestamptz, true), :served_at::timestamptz, v.document, v.hash,
           @is_bare@, :provenance::public.tds_source_type, :run::uuid
      from verdicts v cross join lateral jsonb_populate_record(null::erp.@table@, v.columns) n
     where v.is_new
     order by v.id
    on conflict do nothing
    returning source_id, detail_stale
), written as materialized (
    select v.id, v.audit, v.is_new, t.lines from verdicts v join taken t on t.id = v.id join updated u on u.source_id = v.id
    union all
    select v.id, v.audit, v.is_new, v.lines from verdicts v join inserted n on n.source_id = v.id
), audited as (
    insert into public.tds_audit_trail (
           id, entity_type, entity_id, operation, old_value, new_value, changed_fields, changed_by, change_source, context)
    select w.audit, :entity::public.tds_entity_type, w.id,
           case when w.is_new then 'create' else 'update' end::public.tds_operation_type, n.old_value, n.new_value, n.changed_fields, 'tidemark',
           :provenance::public.tds_source_type, case when not w.is_new then jsonb_build_object('run', :run::text) end
      from written w
      left join news n on n.id = w.id
     where w.is_new or n.changed_fields is not null
), @lines@ done as (
    select u.source_id, u.detail_stale, true as is_update from updated u
    union all
    select n.source_id, n.detail_stale, false from inserted n
)
select case when v.is_new then 'inserted' when v.is_same then 'unchanged' when not v.is_written then 'superseded'
            when v.is_back then 'resurrected' else 'updated' end as outcome,
       count(*), count(*) filter (where d.detail_stale and not coalesce((v.was).detail_stale, false)) as stale
  from verdicts v
  left join done d on d.source_id = v.id
 where d.source_id is not null or not v.is_written
 group by 1;

-- name: lines
-- The part of write for an entity with lines: those that a row carries replace the former ones, all or none.
gone as (
    delete from erp.@line_table@ l
     using written w
     where l.organization_id = :organization and l.source_id = w.id and not w.is_new and w.lines is not null
       and l.line_no >= jsonb_array_length(w.lines)
), lined as (
    insert into erp.@line_table@ (organization_id, source_id, line_no, @line_columns@)
    select :organization, w.id, n.line_no, @read_line_columns@
      from written w cross join lateral jsonb_populate_recordset(null::erp.@line_table@, w.lines) n
     where w.lines is not null
     order by w.id collate "C", n.line_no
    on conflict (organization_id, source_id, line_no) do update set (@line_columns@) = row (@excluded_line_columns@)
),

-- name: quarantine
-- Keep rows that cannot be merged, for people to look at; how many nobody knew yet.
select tidemark.quarantine(:rows::jsonb);
