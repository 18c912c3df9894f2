-- Healers: what each did, and whether healing goes on at all.

-- name: ran
-- A healer has had its turn.
with ran as (
    insert into tidemark.healers as h (name, ran_at, took_ms, healed, total, error)
    values (:name, app_now(), :took_ms, :healed, :healed, left(:error, 500))
    on conflict (name) do update
       set ran_at = excluded.ran_at, took_ms = excluded.took_ms, healed = excluded.healed, total = h.total + excluded.healed, error = excluded.error
)
insert into tidemark.deltas (name, amount) select 'healed', :healed::bigint where :healed::bigint > 0;

-- name: beat
-- A healing pass was here; that healing had stopped is over.
with beat as (
    update tidemark.heartbeats set seen_at = greatest(seen_at, app_now()) where function = 'heal'
)
update public.tds_alerts
   set resolved = true, is_active = false, resolved_at = app_now(), resolved_by = 'tidemark'
 where alert_type = 'healing_stopped' and not resolved;

-- name: alert_if_silent
-- Nobody has healed for two intervals although ticks came all the while: open an alert, unless one is open.
insert into public.tds_alerts (alert_type, severity, title, message, alert_metadata)
select 'healing_stopped', 'error', 'Healing has stopped',
       'The last healing pass was at ' || to_char(h.seen_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC. See whether the schedule auto_healing '
       'is paused and its function deployed; POST /api/bff/tds/auto-healing/run runs a pass now.',
       jsonb_build_object('seen_at', h.seen_at)
  from tidemark.heartbeats h
  join tidemark.heartbeats t on t.function = 'tick'
 cross join (select (value #>> '{}')::integer as minutes from tidemark.settings where key = 'healing.interval_minutes') s
 where h.function = 'heal' and greatest(h.seen_at, t.since) < app_now() - make_interval(mins => 2 * s.minutes)
on conflict (alert_type, entity_type) where not resolved do nothing;

-- name: all
-- Every healer that ever ran, with what it did.
select name, ran_at, took_ms, healed, total, error from tidemark.healers order by name;

-- name: last_pass
-- When healing last ran, how long ago that is in seconds, and its interval in minutes.
select h.seen_at, extract(epoch from app_now() - h.seen_at)::float8 as age_seconds, (s.value #>> '{}')::integer as interval_minutes
  from tidemark.heartbeats h join tidemark.settings s on s.key = 'healing.interval_minutes' where h.function = 'heal';
