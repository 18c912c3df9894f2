-- Tickets: one row for each fault that is not resolved, however often it happens.

-- name: raise
-- A fault happened so often: its ticket counts on, or there is a new one. Two that raise the first one at once make one.
with said as materialized (
    select coalesce(cast(:deployment as uuid), (select d.id from tidemark.deployments d where d.plan = cast(:plan as uuid) or d.background = cast(:plan as uuid)
                                                 order by d.created_at desc limit 1)) as deployment
), known as (
    update tidemark.tickets t
       set count = t.count + :times, last_at = greatest(t.last_at, app_now()), title = :title, message = :message,
           deployment = coalesce((select deployment from said), t.deployment), plan = coalesce(cast(:plan as uuid), t.plan),
           target = coalesce(:target, t.target)
     where t.fingerprint = :fingerprint and t.status <> 'resolved'
    returning t.id
), made as (
    insert into tidemark.tickets as t (fingerprint, kind, title, message, count, deployment, plan, target)
    select :fingerprint, :kind, :title, :message, cast(:times as bigint), said.deployment, cast(:plan as uuid), :target
      from said where not exists (select from known)
    on conflict (fingerprint) where status <> 'resolved'
    do update set count = t.count + excluded.count, last_at = greatest(t.last_at, excluded.last_at), title = excluded.title,
           message = excluded.message, deployment = coalesce(excluded.deployment, t.deployment), plan = coalesce(excluded.plan, t.plan),
           target = coalesce(excluded.target, t.target)
    returning t.id
)
select id from known union all select id from made;

-- name: page
-- Tickets of a status, unresolved or all, those before the id `before`, the newest first.
select t.id, t.kind, t.title, t.message, t.count, t.status, t.first_at, t.last_at, t.deployment, t.plan, t.target, t.acknowledged_at,
       t.acknowledged_by, t.resolved_at, t.resolved_by, t.note, t.fingerprint,
       (select max(f.id) from tidemark.tickets f where f.fingerprint = t.fingerprint and f.id < t.id) as former
  from tidemark.tickets t
 where (:status = 'all' or t.status = :status or (:status = 'unresolved' and t.status <> 'resolved'))
   and (cast(:deployment as uuid) is null or t.deployment = cast(:deployment as uuid))
   and (cast(:before as bigint) is null or t.id < cast(:before as bigint))
 order by t.id desc
 limit :limit;

-- name: find
-- One ticket, and the one of the same fault that was resolved before it.
select t.id, t.kind, t.title, t.message, t.count, t.status, t.first_at, t.last_at, t.deployment, t.plan, t.target, t.acknowledged_at,
       t.acknowledged_by, t.resolved_at, t.resolved_by, t.note, t.fingerprint,
       (select max(f.id) from tidemark.tickets f where f.fingerprint = t.fingerprint and f.id < t.id) as former
  from tidemark.tickets t
 where t.id = :id;

-- name: acknowledge
-- Somebody has seen it; whoever did so first stays. No row: it is resolved, or there is none.
update tidemark.tickets
   set status = 'acknowledged', acknowledged_at = coalesce(acknowledged_at, app_now()), acknowledged_by = coalesce(acknowledged_by, :actor),
       note = coalesce(:note, note)
 where id = :id and status <> 'resolved'
returning id;

-- name: resolve
-- It is over. No row: it was resolved before, or there is none.
update tidemark.tickets
   set status = 'resolved', resolved_at = app_now(), resolved_by = :actor, note = coalesce(:note, note)
 where id = :id and status <> 'resolved'
returning id;

-- name: counts
-- How many are not resolved, of one deployment or of all; and how many of them nobody has seen.
select count(*), count(*) filter (where status = 'open')
  from tidemark.tickets
 where status <> 'resolved' and (cast(:deployment as uuid) is null or deployment = cast(:deployment as uuid));

-- name: last
-- What went wrong last and is not resolved.
select id, title, status, count, last_at from tidemark.tickets where status <> 'resolved' order by last_at desc, id desc limit 1;
