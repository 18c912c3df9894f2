-- Backups of the database that somebody made.

-- name: add
-- A backup; no row when its reference is there already.
insert into tidemark.backups (reference, at, recorded_by) values (:reference, coalesce(:at::timestamptz, app_now()), :by)
on conflict (reference) do nothing
returning reference, at, recorded_at, recorded_by;

-- name: find
-- The backup of a reference.
select reference, at, recorded_at, recorded_by from tidemark.backups where reference = :reference;

-- name: wanted
-- How many hours old the newest backup may be when something is taken away, 0 for whatever age, and how many it is; null: there is none.
select coalesce((select (value #>> '{}')::float8 from tidemark.settings where key = 'migrations.backup_within_hours'), 0),
       (select extract(epoch from app_now() - max(at))::float8 / 3600 from tidemark.backups);

-- name: is_future
-- Whether a moment has not come yet.
select :at::timestamptz > app_now() + interval '1 minute';
