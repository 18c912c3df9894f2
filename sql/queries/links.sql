-- Links: what tells how each dependency is, and how each was when it was last looked at.

-- name: sealing
-- Plans that are over and whose tree of results is open: how many, and for how many seconds the oldest.
select count(*) as plans, coalesce(extract(epoch from app_now() - min(finished_at)), 0)::float8 as oldest_seconds
  from tidemark.plans where finished_at is not null and root is null;

-- name: waiting
-- For how many seconds the oldest event has been ready to be applied; null when none is.
select extract(epoch from app_now() - rank)::float8 as oldest_seconds from tidemark.ready_events where rank <= app_now() order by rank limit 1;

-- name: forecast
-- How many seconds ago the averages were brought up to date that the backlog is forecast from.
select extract(epoch from app_now() - minute)::float8 as age_seconds from tidemark.signals where name = 'queue';

-- name: audit
-- The last integrity scan: how many seconds ago, and how many findings of the two worst kinds it had.
select extract(epoch from app_now() - at)::float8 as age_seconds, coalesce((summary #>> '{findings_by_severity,critical}')::integer, 0) as critical,
       coalesce((summary #>> '{findings_by_severity,high}')::integer, 0) as high
  from tidemark.arie_runs order by at desc, id desc limit 1;

-- name: held_back
-- For how many seconds the oldest notice has waited for a transaction that began before it; null when none does.
select extract(epoch from app_now() - min(at))::float8 as oldest_seconds from tidemark.notices where xid >= pg_snapshot_xmin(pg_current_snapshot());

-- name: standing
-- How each was when it was last looked at, and how many seconds ago that was.
select name, status, reason, since, checked_at, extract(epoch from app_now() - checked_at)::float8 as age_seconds from tidemark.links order by name;

-- name: keep
-- How each is now: [{name, status, reason}].
insert into tidemark.links as l (name, status, reason)
select f.name, f.status, f.reason from jsonb_to_recordset(:found::jsonb) as f (name text, status text, reason text) order by f.name
on conflict (name) do update
   set status = excluded.status, reason = excluded.reason, checked_at = app_now(),
       since = case when l.status = excluded.status then l.since else app_now() end;
