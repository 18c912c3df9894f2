-- Breakers: whether a dependency may be called. Each of these is part of a short transaction of its own.

-- name: introduce
-- A dependency that has not been called before.
insert into tidemark.breakers (name) values (:name) on conflict do nothing;

-- name: look
-- How it stands, told with it how many calls went well since the last time.
with told as (
    update tidemark.breakers b set successful = b.successful + :successful where b.name = :name and :successful > 0
)
select b.state, b.failures, b.successes, b.token, b.is_probing, b.opened_at, b.next_probe_at, app_now() as at
  from tidemark.breakers b where b.name = :name;

-- name: lock
-- How it stands, for whoever changes it; with a token that nobody has had, and the limits that count for it.
select b.state, b.failures, b.successes, b.token, b.is_probing, b.opened_at, b.next_probe_at, app_now() as at,
       nextval('tidemark.token') as fresh, greatest(1, coalesce(w.own_failures, w.failures, 5)) as most_failures,
       greatest(1, coalesce(w.own_successes, w.successes, 2)) as most_successes,
       make_interval(secs => coalesce(w.own_seconds, w.seconds, 60)::float8) as open_for
  from tidemark.breakers b
 cross join lateral (
       select max((s.value #>> '{}')::numeric) filter (where s.key = 'breaker.failures')::integer as failures,
              max((s.value #>> '{}')::numeric) filter (where s.key = 'breaker.successes')::integer as successes,
              max((s.value #>> '{}')::numeric) filter (where s.key = 'breaker.open_seconds') as seconds,
              max((s.value #>> '{}')::numeric) filter (where s.key = 'breaker.failures.' || b.name)::integer as own_failures,
              max((s.value #>> '{}')::numeric) filter (where s.key = 'breaker.successes.' || b.name)::integer as own_successes,
              max((s.value #>> '{}')::numeric) filter (where s.key = 'breaker.open_seconds.' || b.name) as own_seconds
         from tidemark.settings s
        where s.key in ('breaker.failures', 'breaker.successes', 'breaker.open_seconds', 'breaker.failures.' || b.name,
                        'breaker.successes.' || b.name, 'breaker.open_seconds.' || b.name)
       ) w
 where b.name = :name
   for update of b;

-- name: store
-- How it stands now, and what was counted on the way.
update tidemark.breakers
   set state = :state, failures = :failures, successes = :successes, token = :token, is_probing = :is_probing, opened_at = :opened_at,
       next_probe_at = :next_probe_at, state_changes = state_changes + :changed, successful = successful + :successful,
       failed = failed + :failed, rejected = rejected + :rejected, last_failure = coalesce(:failure::text, last_failure),
       last_failure_at = case when :failure::text is null then last_failure_at else app_now() end
 where name = :name;

-- name: reset
-- Closed by hand.
update tidemark.breakers
   set state = 'closed', failures = 0, successes = 0, token = :token, is_probing = false, opened_at = null, next_probe_at = null,
       state_changes = state_changes + :changed, reset_at = app_now(), reset_by = :actor
 where name = :name;

-- name: count_opened
-- One more that opened.
insert into tidemark.deltas (name, amount) values ('breaker_opened', 1);

-- name: all
-- Every dependency, as people see it.
select name, state, failures, successes, is_probing, opened_at, next_probe_at, successful, failed, rejected, state_changes,
       last_failure, last_failure_at, reset_at, reset_by
  from tidemark.breakers order by name collate "C";

-- name: unprobed
-- Those that a probe has long been due for, in the order in which they are locked.
select b.name
  from tidemark.breakers b
 where b.next_probe_at < app_now() - make_interval(mins => coalesce(
       (select (s.value #>> '{}')::integer from tidemark.settings s where s.key = 'breaker.unprobed_minutes'), 90))
 order by b.name collate "C"
 limit :limit;
