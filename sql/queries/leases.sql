-- Leases: taken when free, kept while ours, refused while another's, in one statement; writes under one lock its row and show its token.

-- name: hold
-- Take the lease if it is free, keep it if it is ours and a fifth of it is over, else leave it: how it stands then.
with setting as (
    select make_interval(secs => (value #>> '{}')::float8) as length from tidemark.settings where key = 'lease.seconds'
), kept as (
    update tidemark.leases l
       set holder = :holder, holder_pid = :pid, heartbeat_at = app_now(), expires_at = app_now() + s.length,
           token = case when l.expires_at > app_now() then l.token else nextval('tidemark.token') end,
           acquired_at = case when l.expires_at > app_now() then l.acquired_at else app_now() end,
           released_at = null, released_by = null
      from setting s
     where l.name = :name
       and case when l.expires_at > app_now() then l.holder = :holder and l.heartbeat_at < app_now() - s.length / 5
                -- Who handed it over leaves it to others for as long as a lease lasts.
                else l.released_at is null or l.holder <> :holder or l.released_at <= app_now() - s.length end
    returning l.*
), made as (
    insert into tidemark.leases (name, holder, holder_pid, token, acquired_at, heartbeat_at, expires_at)
    select :name, :holder, :pid, nextval('tidemark.token'), app_now(), app_now(), app_now() + s.length
      from setting s
     where not exists (select from tidemark.leases where name = :name)
    on conflict do nothing
    returning *
), standing as (
    select * from kept
    union all
    select * from made
    union all
    select * from tidemark.leases where name = :name and not exists (select from kept)
)
select n.name, n.holder, n.token, n.expires_at, n.expires_at > app_now() as is_held,
       coalesce(n.expires_at <= app_now() and n.released_at > app_now() - s.length and n.holder = :holder, false) as is_left_to_others,
       extract(epoch from case when n.expires_at > app_now() then n.expires_at else n.released_at + s.length end - app_now())::float8 as left,
       (n.takeover ->> 'token')::bigint as taken_over_with
  from standing n, setting s;

-- name: guard
-- Keep everybody from taking the lease until the transaction ends, if it is still held under this token.
select 1 from tidemark.leases where name = :name and token = :token and expires_at > app_now() for share;

-- name: stands
-- Whether nobody else has taken the lease since, and nobody has handed it over; locks nothing.
select exists (select 1 from tidemark.leases where name = :name and token = :token and released_at is null);

-- name: end
-- The work is done that it was taken for: it is free from now on, if it is still held under this token.
update tidemark.leases set expires_at = greatest(heartbeat_at, app_now()) where name = :name and token = :token and expires_at > app_now();

-- name: release
-- Hand the lease over: free from now on for everybody but its holder. No row when nobody holds it.
update tidemark.leases
   set expires_at = greatest(heartbeat_at, app_now()), released_at = greatest(heartbeat_at, app_now()), released_by = :actor
 where name = :name and expires_at > app_now()
returning holder, token, released_at;

-- name: find
-- How a lease stands.
select holder, holder_pid, token, expires_at > app_now() as is_held, acquired_at, expires_at,
       extract(epoch from greatest(heartbeat_at, app_now()) - heartbeat_at)::float8 as heartbeat_age,
       extract(epoch from greatest(expires_at, app_now()) - expires_at)::float8 as idle, takeover
  from tidemark.leases where name = :name;

-- name: is_there
-- Whether this schema has leases: the first migrations run before it does.
select to_regclass('tidemark.leases') is not null;

-- name: count_fenced
-- A write was refused because its lease was lost.
insert into tidemark.deltas (name, amount) values ('fenced', 1);
