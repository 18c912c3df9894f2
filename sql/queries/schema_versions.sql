-- The ledger of migrations.

-- name: create
-- The ledger itself: the one table that is there before the first migration.
create table if not exists public.tds_schema_versions (
    version integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now(),
    applied_by text not null default current_user
);

-- name: limit_waiting
-- How long to wait for any lock, until the transaction ends.
select set_config('lock_timeout', :milliseconds, true);

-- name: limit_running
-- How long a statement may take, until the transaction ends.
select set_config('statement_timeout', :milliseconds, true);

-- name: applied
-- What has run, oldest first.
select version, name, checksum from public.tds_schema_versions order by version;

-- name: record
-- Say that a migration has run.
insert into public.tds_schema_versions (version, name, checksum) values (:version, :name, :checksum);

-- name: newest
-- The version the database is at.
select max(version) from public.tds_schema_versions;

-- name: mark_contract
-- Say that a migration took something away.
update public.tds_schema_versions set is_contract = true where version = :version;

-- name: contracted_since
-- The migrations after a version that took something away, oldest first.
select name from public.tds_schema_versions where version > :version and is_contract order by version;

-- name: active_plans
-- The plans that run, by name and id, but for those that are at a stage of these kinds now.
select coalesce(jsonb_agg(p.name || ' (' || p.id || ')' order by p.submitted_at), '[]')
  from tidemark.plans p
 where p.status = 'running'
   and not exists (select from tidemark.stages s where s.plan = p.id and s.status = 'open'
                      and s.kind in (select jsonb_array_elements_text(:besides::jsonb)));

-- name: backfills
-- The plans that fill in what a migration has added, by the name of the migration.
select substr(idempotency_key, 10) as name, status from tidemark.plans where idempotency_key like 'backfill:%';

-- name: broken_indexes
-- Indexes that are not valid: building them concurrently came to no end.
select i.indexrelid::regclass::text as name
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
  join pg_namespace n on n.oid = c.relnamespace
 where not i.indisvalid and n.nspname in ('public', 'tidemark', 'erp')
 order by 1;
