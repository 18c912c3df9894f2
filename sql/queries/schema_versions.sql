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

-- name: applied
-- What has run, oldest first.
select version, name, checksum from public.tds_schema_versions order by version;

-- name: record
-- Say that a migration has run.
insert into public.tds_schema_versions (version, name, checksum) values (:version, :name, :checksum);

-- name: newest
-- The version the database is at.
select max(version) from public.tds_schema_versions;
