-- Business records: rendered for each entity, with @table@, @columns@, @read_columns@, @scalars@ and, where it has lines, @lines@.

-- name: lock
-- Lock those of the records that exist, in one order for everybody. What to do with them is decided by the next
-- statement, on a fresh snapshot: deciding here, on what was seen before the wait, wrote lines of two versions.
select d.source_id
  from erp.@table@ d
 where d.organization_id = :organization and d.source_id = any (array(select jsonb_array_elements_text(:ids::jsonb)))
 order by d.source_id
   for update;

-- name: apply
-- Write what is newer than what stands, with its lines, its audit and the refetches it calls for; the outcome of each.
-- No row for an id means that somebody inserted it meanwhile: all of it must be done again.
--
-- An empty detail_hash tells that a row of a list leads: it is newer than the detail, or there is none. A webhook with the
-- very stamp of that row brings its detail, if it says the same in every column that both have; else neither is believed.
with incoming as materialized (
    select r.*, case when r.operation = 'delete' then coalesce(r.stamp, r.observed) else coalesce(r.stamp, '-infinity') end as version
      from jsonb_to_recordset(:rows::jsonb) as r (
           id text, event uuid, path text[], operation public.tds_operation_type, stamp timestamptz, settled boolean,
           observed timestamptz, hash text, tied boolean, hinted boolean, partial boolean, columns jsonb, lines jsonb, document text)
), old as materialized (
    -- These rows are locked, so they stay where they are: the updates below find them again by their place.
    select d.source_id, d.ctid as place, d as was
      from erp.@table@ d
     where d.organization_id = :organization and d.source_id = any (array(select jsonb_array_elements_text(:locked::jsonb)))
), judged as materialized (
    select i.id, i.event, i.operation, i.stamp, i.settled, i.observed, i.hash, i.tied, i.hinted, i.partial, i.columns, i.lines, i.version,
           i.document is null as is_event, o.was, o.place, o.source_id is null as is_new, coalesce(i.document::jsonb, e.raw_payload #> i.path) as document,
           (i.version, i.settled, i.observed, i.hash)
               > (coalesce((o.was).source_modified_at, '-infinity'), (o.was).settled, (o.was).observed_at, (o.was).detail_hash) as is_newer_itself,
           i.hash = (o.was).detail_hash and (i.operation = 'delete') = ((o.was).deleted_at is not null) as is_same,
           i.version = coalesce((o.was).source_modified_at, '-infinity') and i.settled = (o.was).settled as is_level,
           i.stamp is null and i.operation <> 'delete' and not i.settled and (o.was).source_modified_at is not null as is_hint,
           case when i.stamp = (o.was).source_modified_at and not i.settled and i.operation <> 'delete'
                 and (o.was).detail_hash = '' and (o.was).list_document is not null and (o.was).deleted_at is null
                then (select row (@scalars@) from jsonb_populate_record(o.was, i.columns) n)
                     is not distinct from (select row (@scalars@) from (select (o.was).*) n) end as is_agreed
      from incoming i
      left join old o on o.source_id = i.id
      left join public.tds_inbox_events e on e.id = i.event
), weighed as materialized (
    select j.*, coalesce(j.is_agreed, j.is_newer_itself) as is_newer,
           coalesce(not j.is_agreed, j.is_level and not j.is_same and j.stamp is not null and not j.settled and j.operation <> 'delete'
                                     and (j.was).deleted_at is null) as is_tie,
           -- What the source was asked for says that all is well again, even where it says nothing new.
           j.settled and ((j.was).detail_stale or (j.was).ambiguous) as is_relief
      from judged j
), verdicts as materialized (
    select j.*,
           -- It leaves out what stands: either the sender chose its fields, or they were emptied. Only the source can tell.
           case when j.is_newer and not j.is_new and not j.partial and not j.settled and j.operation <> 'delete'
                 and not j.document ?& array(select jsonb_object_keys((j.was).detail_document))
                then exists (select from jsonb_object_keys((j.was).detail_document) o (key) where not j.document ? o.key and o.key !~ :noise)
                else false end as is_lacking
      from weighed j
), updated as (
    update erp.@table@ d
       set (@columns@) = (select @read_columns@ from jsonb_populate_record(d, v.columns) n),
           source_modified_at = nullif(v.version, '-infinity'), settled = v.settled, observed_at = v.observed,
           detail_document = case when v.partial or v.operation = 'delete'
                                  then coalesce(d.detail_document, '{}') || coalesce(v.document, '{}') else v.document end,
           detail_hash = v.hash, detail_stale = v.is_lacking, ambiguous = v.is_tie or v.tied, provenance = :provenance, event_id = v.event,
           deleted_at = case when v.operation = 'delete' then v.version end, updated_at = app_now()
      from verdicts v
     where d.ctid = v.place and v.is_newer and (not v.is_same or not v.is_level or v.is_relief)
    returning d.source_id
), marked as (
    update erp.@table@ d
       set ambiguous = d.ambiguous or v.is_tie, detail_stale = d.detail_stale or v.is_hint
      from verdicts v
     where d.ctid = v.place and not v.is_newer and (v.is_tie or v.is_hint)
), inserted as (
    insert into erp.@table@ (
           organization_id, source_id, @columns@, source_modified_at, settled, observed_at, detail_document, detail_hash, ambiguous,
           provenance, event_id, deleted_at)
    select :organization, v.id, @read_columns@, nullif(v.version, '-infinity'), v.settled, v.observed, v.document, v.hash, v.tied,
           :provenance, v.event, case when v.operation = 'delete' then v.version end
      from verdicts v cross join lateral jsonb_populate_record(null::erp.@table@, v.columns) n
     where v.is_new
     order by v.id collate "C"
    on conflict do nothing
    returning source_id
), written as materialized (
    select v.* from verdicts v join updated u on u.source_id = v.id where not v.is_same
    union all
    select v.* from verdicts v join inserted n on n.source_id = v.id
), audited as (
    insert into public.tds_audit_trail (
           id, entity_type, entity_id, operation, old_value, new_value, changed_fields, changed_by, change_source, sync_queue_id)
    select w.event, :entity::public.tds_entity_type, w.id, case when w.operation = 'delete' then 'delete' else 'create' end::public.tds_operation_type,
           null, w.columns, null, 'tidemark', :provenance::public.tds_source_type, case when w.is_event then w.event end
      from written w
     where w.is_new
    union all
    select w.event, :entity::public.tds_entity_type, w.id, case when w.operation = 'delete' then 'delete' else 'update' end::public.tds_operation_type,
           c.old_value, c.new_value, c.changed_fields, 'tidemark', :provenance::public.tds_source_type, case when w.is_event then w.event end
      from written w
     cross join lateral (
           -- || reads it out of its storage, and offset 0 does so once: for every key anew it would cost more than all the rest.
           select case when (w.was).detail_hash = '' then coalesce((w.was).detail_document, '{}') || coalesce((w.was).list_document, '{}')
                       else (w.was).detail_document || '{}' end as document
            offset 0
           ) stood
     cross join lateral (
           select jsonb_object_agg(k.key, stood.document -> k.key) as old_value, jsonb_object_agg(k.key, w.document -> k.key) as new_value,
                  jsonb_agg(k.key) as changed_fields
             from (select n.key from jsonb_each(w.document) n where n.value is distinct from stood.document -> n.key
                   union all
                   select o.key from jsonb_object_keys((w.was).detail_document) o (key) where not w.partial and not w.document ? o.key) k
            where k.key !~ :noise
      ) c
     where not w.is_new
    on conflict do nothing
), @lines@ asked as (
    insert into tidemark.refetches as r (organization_id, entity_type, source_entity_id, reason)
    select :organization, :entity, v.id, case when v.is_tie or v.tied then 'ambiguous' when v.is_lacking then 'partial' else 'hint' end
      from verdicts v
     where v.hinted or (v.operation <> 'delete' and not v.settled and (v.stamp is null or v.is_tie or v.tied or v.is_lacking))
     order by v.id collate "C"
    on conflict (organization_id, entity_type, source_entity_id)
    do update set requests = r.requests + 1, reason = excluded.reason
)
select v.id,
       case when v.is_new or (v.is_newer and not v.is_same) then 'applied'
            when v.is_tie or v.is_hint then 'ambiguous'
            when v.is_same then 'unchanged'
            else 'superseded' end as outcome,
       coalesce(v.is_tie, false) or v.tied as ambiguous
  from verdicts v
 where not v.is_new or exists (select from inserted n where n.source_id = v.id);

-- name: lines
-- The part of apply for an entity with lines: a version's lines replace the former version's, all or none.
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
