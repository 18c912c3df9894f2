-- Limits: slots of a source's limited rate. Each of these is a transaction of its own, on the clock that runs.

-- name: open
-- An organization that has not called before.
insert into tidemark.source_limits (source, organization_id) values (:source, :organization) on conflict do nothing;

-- name: take
-- The next slot, taken if it is at most :patience seconds away and the day has calls left beyond the urgency's reserve.
with locked as (
    select l.* from tidemark.source_limits l where l.source = :source and l.organization_id = :organization for update
), timed as (
    -- The clock is read when the lock is ours: the wait for it may have been long.
    select l.*, clock_timestamp() as at from locked l
), wanted as (
    select max((s.value #>> '{}')::numeric) filter (where s.key = :source || '.calls_per_minute') as per_minute,
           max((s.value #>> '{}')::numeric) filter (where s.key = :source || '.burst')::integer as burst,
           max((s.value #>> '{}')::numeric) filter (where s.key = :source || '.calls_per_day')::integer as per_day,
           max((s.value #>> '{}')::numeric) filter (where s.key = :source || '.reserve.' || :urgency) as reserve
      from tidemark.settings s
), today as (
    select t.source, t.organization_id, t.at, t.free_at, t.blocked_until, t.slowdown, w.burst,
           make_interval(secs => (60 / greatest(w.per_minute, 0.1) * t.slowdown)::float8) as gap,
           case when t.resets_at <= t.at then 0 else t.used end as used,
           coalesce(t.resets_at, t.at + interval '24 h')
               + greatest(0, 1 + floor(extract(epoch from t.at - t.resets_at) / 86400)) * interval '24 h' as resets_at,
           least(w.per_day, t.day_limit) as day_limit, t.day_limit as told_limit, coalesce(w.reserve, 0) as reserve
      from timed t, wanted w
), decided as (
    select d.*, tidemark.next_slot(d.free_at, d.blocked_until, d.at, d.gap, d.burst) as slot,
           d.used >= floor(d.day_limit * (1 - d.reserve)) as is_spent
      from today d
), taken as (
    update tidemark.source_limits l
       set free_at = d.slot + d.gap, used = d.used + 1, resets_at = d.resets_at
      from decided d
     where l.source = d.source and l.organization_id = d.organization_id
       and not d.is_spent and d.slot <= d.at + make_interval(secs => :patience)
    returning l.organization_id
)
select t.organization_id is not null as is_granted, d.is_spent, extract(epoch from d.slot - d.at)::float8 as wait,
       extract(epoch from d.resets_at - d.at)::float8 as resets_in, d.used + (t.organization_id is not null)::integer as used,
       d.told_limit, d.slowdown::float8 as slowdown, d.at
  from decided d left join taken t on true;

-- name: is_blocked
-- Whether the source has told everybody to stop.
select exists (
    select 1 from tidemark.source_limits
     where source = :source and organization_id = :organization and blocked_until > clock_timestamp()
);

-- name: block
-- Everybody stops for :seconds; with :slower also calls less often from then on, once for what may be many complaints.
update tidemark.source_limits
   set blocked_until = greatest(blocked_until, clock_timestamp() + make_interval(secs => :seconds)), blocked_reason = :reason, clean = 0,
       slowdown = case when :slower and blocked_until <= clock_timestamp() then least(slowdown * 1.25, 4) else slowdown end
 where source = :source and organization_id = :organization;

-- name: hear
-- What an answer without a complaint says of the day; a hundred of them in a row make the calls a little more frequent again.
with told as (
    select :day_limit::integer as day_limit, :remaining::integer as remaining,
           clock_timestamp() + make_interval(secs => :resets_in::float8) as resets_at
)
update tidemark.source_limits l
   set day_limit = coalesce(t.day_limit, l.day_limit), resets_at = coalesce(t.resets_at, l.resets_at),
       used = case when t.day_limit is null or t.remaining is null then l.used
                   when t.resets_at > l.resets_at + interval '1 h' then t.day_limit - t.remaining  -- a new day has begun there
                   else greatest(l.used, t.day_limit - t.remaining) end,
       clean = (l.clean + 1) % 100,
       slowdown = case when l.clean = 99 then greatest(1, l.slowdown * 0.98) else l.slowdown end
  from told t
 where l.source = :source and l.organization_id = :organization;

-- name: state
-- How things stand for every organization that has called.
select l.source, l.organization_id, (w.per_minute / l.slowdown)::float8 as calls_per_minute, l.slowdown::float8,
       case when l.blocked_until > clock_timestamp() then l.blocked_until end as blocked_until,
       case when l.blocked_until > clock_timestamp() then l.blocked_reason end as blocked_reason,
       d.used as used_today, greatest(0, least(w.per_day, l.day_limit) - d.used) as left_today,
       least(w.per_day, l.day_limit) as day_limit, case when l.resets_at > clock_timestamp() then l.resets_at end as resets_at,
       extract(epoch from greatest(l.free_at, l.blocked_until, d.at) - d.at)::float8 as next_slot_in
  from tidemark.source_limits l
  join lateral (
       select max((s.value #>> '{}')::numeric) filter (where s.key = l.source || '.calls_per_minute') as per_minute,
              max((s.value #>> '{}')::numeric) filter (where s.key = l.source || '.calls_per_day')::integer as per_day
         from tidemark.settings s
       ) w on true
  join lateral (select clock_timestamp() as at, case when l.resets_at <= clock_timestamp() then 0 else l.used end as used) d on true
 order by l.source, l.organization_id collate "C";
