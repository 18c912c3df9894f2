-- Concurrency: how many lanes of a shard kind may be out, and what that was decided from. sql/queries/lanes.sql reads it.

-- name: lock
-- What is known of a kind, locked, and what it is decided from.
select c.most, c.latency_seconds, c.usual_seconds, c.samples, c.changed_at from tidemark.concurrency c where c.kind = :kind for update;

-- name: out
-- How many lanes and failed shards of a kind are being worked on, and what time it is.
select (select count(*) from tidemark.permits p where p.kind = :kind) as used, app_now() as now;

-- name: keep
-- What is known of a kind from now on.
insert into tidemark.concurrency (kind, most, latency_seconds, usual_seconds, samples, changed_at)
values (:kind, :most, :latency_seconds, :usual_seconds, :samples, :changed_at)
on conflict (kind) do update set most = excluded.most, latency_seconds = excluded.latency_seconds, usual_seconds = excluded.usual_seconds,
       samples = excluded.samples, changed_at = excluded.changed_at;

-- name: all
-- Every kind that anything is known of.
select kind, most, latency_seconds, usual_seconds, samples, changed_at from tidemark.concurrency order by kind;
