-- Operators: who may call, and how often.

-- name: find
-- A token that counts now.
select id, hash, role, name from tidemark.operator_tokens where id = :id and revoked_at is null and expires_at > app_now();

-- name: add
-- A new token, by its hash.
insert into tidemark.operator_tokens (id, hash, role, name, created_by, expires_at)
values (:id, :hash, :role, :name, :created_by, app_now() + :life::interval);

-- name: list
-- Every token that was ever made, newest first; never its hash.
select id, role, name, created_at, created_by, expires_at, revoked_at from tidemark.operator_tokens order by created_at desc, id;

-- name: revoke
-- A token that counts no more, from now on.
update tidemark.operator_tokens set revoked_at = app_now() where id = :id and revoked_at is null;

-- name: count_call
-- Count one call of a subject in the current minute and hour; the seconds to wait when it was one too many.
with limits (period, length, most) as (
    select 'minute', interval '1 minute', (select (value #>> '{}')::integer from tidemark.settings where key = 'operator.calls_per_minute')
    union all
    select 'hour', interval '1 hour', (select (value #>> '{}')::integer from tidemark.settings where key = 'operator.calls_per_hour')
), counted as (
    insert into tidemark.rate_limits as r (subject, period, started_at, used)
    select :subject, l.period, app_now(), 1 from limits l order by l.period
    on conflict (subject, period) do update
       set used = case when r.started_at + (select length from limits l where l.period = r.period) <= app_now() then 1 else r.used + 1 end,
           started_at = case when r.started_at + (select length from limits l where l.period = r.period) <= app_now()
                             then app_now() else r.started_at end
    returning r.period, r.started_at, r.used
)
select coalesce(max(ceil(extract(epoch from c.started_at + l.length - app_now()))), 0)::integer
  from counted c join limits l using (period)
 where c.used > l.most;
