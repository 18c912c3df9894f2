-- Schedules and their fires.

-- name: begin
-- Take a fire: the arguments of its schedule. No row when it is not known, not to be run now, or begun already.
update tidemark.fires f set state = 'started', started_at = app_now(), ready_at = null
  from tidemark.schedules s
 where f.schedule = :name and f.slot = :slot and f.state = 'due' and f.ready_at < 'infinity' and s.name = f.schedule
returning s.arguments;

-- name: finish
-- Say how a fire ended.
update tidemark.fires set state = case when :ok then 'done' else 'failed' end, finished_at = app_now(), message = left(:message, 2000)
 where schedule = :name and slot = :slot and state = 'started';

-- name: attach
-- A fire goes on as a plan.
update tidemark.fires set plan_id = :plan::uuid where schedule = :name and slot = :slot and state = 'started';

-- name: finish_plan
-- Say how the plan of a fire ended; the schedule's name.
update tidemark.fires set state = case when :ok then 'done' else 'failed' end, finished_at = app_now(), message = left(:message, 2000)
 where plan_id = :plan::uuid and state = 'started'
returning schedule;

-- name: release_one
-- Let the first fire of a schedule go on that waits, if nothing is before it any more.
update tidemark.fires f set ready_at = app_now() + :again::interval, rung_at = app_now(), rings = f.rings + 1
  from tidemark.schedules s
 where f.schedule = :name and s.name = f.schedule and s.enabled and s.paused_at is null
   and f.state = 'due' and f.ready_at = 'infinity'
   and not exists (select from tidemark.fires o
                    where o.schedule = :name and o.state in ('due', 'started') and o.slot <> f.slot
                      and (o.state = 'started' or o.ready_at < 'infinity' or o.slot < f.slot))
returning f.schedule, s.function, f.slot;

-- name: now
-- The moment by the one clock.
select app_now();

-- name: lock_due
-- Schedules whose slot has come, longest overdue first, and how many fires of each are not over.
select s.name, s.cron, coalesce(s.time_zone, (select value #>> '{}' from tidemark.settings where key = 'schedules.time_zone'), 'UTC') as time_zone,
       s.catch_up, s.catch_up_limit, s.overlap, s.ends_at, s.next_slot,
       case s.overlap when 'allow' then 0
            else (select count(*) from (select from tidemark.fires f where f.schedule = s.name and f.state in ('due', 'started') limit 1000) l)
            end as unfinished, app_now() as now, s.function
  from tidemark.schedules s
 where s.next_slot <= app_now() and s.enabled and s.paused_at is null
 order by s.next_slot
 limit :limit
   for update of s skip locked;

-- name: advance
-- Move schedules on and record what becomes of their slots; those that are to be rung for now.
with advanced as (
    update tidemark.schedules s set next_slot = m.next, last_slot = coalesce(m.last, s.last_slot)
      from jsonb_to_recordset(:moved::jsonb) as m (name text, read timestamptz, next timestamptz, last timestamptz)
     where s.name = m.name and s.next_slot = m.read
    returning s.name
), recorded as (
    insert into tidemark.fires (schedule, slot, state, ready_at, rung_at, rings, finished_at, message)
    select a.name, f.slot, f.state,
           case when f.state <> 'due' then null when f.waits then 'infinity' else app_now() + :again::interval end,
           case when f.state = 'due' and not f.waits then app_now() end, (f.state = 'due' and not f.waits)::integer,
           case when f.state <> 'due' then app_now() end, f.message
      from jsonb_to_recordset(:fires::jsonb) as f (name text, slot timestamptz, state text, waits boolean, message text)
      join advanced a on a.name = f.name
     order by a.name collate "C", f.slot
    on conflict do nothing
    returning schedule, slot, rings
)
select schedule, slot from recorded where rings = 1;

-- name: rest
-- Whether schedules wait for their next slot to be computed, and fires to be let go on or to be rung for again.
select exists (select from tidemark.schedules where next_slot is null and enabled and paused_at is null) as uncomputed,
       exists (select from tidemark.fires where state = 'due' and (ready_at <= app_now() or ready_at = 'infinity')) as fires;

-- name: lock_uncomputed
-- Schedules whose next slot nobody has computed yet.
select s.name, s.cron, coalesce(s.time_zone, (select value #>> '{}' from tidemark.settings where key = 'schedules.time_zone'), 'UTC') as time_zone,
       s.starts_at, s.ends_at
  from tidemark.schedules s
 where s.next_slot is null and s.enabled and s.paused_at is null
 limit :limit
   for update of s skip locked;

-- name: compute
-- Set when schedules are due next.
update tidemark.schedules s set next_slot = c.next
  from jsonb_to_recordset(:slots::jsonb) as c (name text, next timestamptz)
 where s.name = c.name and s.next_slot is null;

-- name: stop
-- Pause schedules that cannot be worked with, and tell of the last of them in one open alert.
with stopped as (
    update tidemark.schedules s set paused_at = app_now(), paused_by = 'tick', pause_reason = left(r.reason, 500)
      from jsonb_to_recordset(:reasons::jsonb) as r (name text, reason text)
     where s.name = r.name and s.paused_at is null
    returning s.name, s.pause_reason
)
insert into public.tds_alerts as a (alert_type, severity, title, message, affected_count)
select 'schedule_stopped', 'error', 'A schedule cannot be worked with and was paused',
       max(name) || ': ' || max(pause_reason) || '. Change it at /api/schedules; it goes on by itself then.', count(*)
  from stopped having count(*) > 0
on conflict (alert_type, entity_type) where not resolved
do update set message = excluded.message, affected_count = a.affected_count + excluded.affected_count;

-- name: release
-- Let the first fire of each schedule go on that waits, if nothing is before it any more.
update tidemark.fires f set ready_at = app_now()
  from (select w.schedule, w.slot
          from tidemark.fires w
          join tidemark.schedules s on s.name = w.schedule and s.enabled and s.paused_at is null
         where w.state = 'due' and w.ready_at = 'infinity'
           and not exists (select from tidemark.fires o
                            where o.schedule = w.schedule and o.state in ('due', 'started') and o.slot <> w.slot
                              and (o.state = 'started' or o.ready_at < 'infinity' or o.slot < w.slot))
         order by w.schedule, w.slot
         limit :limit
           for update of w skip locked) released
 where f.schedule = released.schedule and f.slot = released.slot;

-- name: take_unanswered
-- Fires that nobody has begun in time: to be rung for now, and later again.
with taken as (
    select f.schedule, f.slot, s.function
      from tidemark.fires f
      join tidemark.schedules s on s.name = f.schedule and (f.kind = 'manual' or s.enabled and s.paused_at is null)
     where f.state = 'due' and f.ready_at <= app_now()
     order by f.ready_at
     limit :limit
       for update of f skip locked
)
update tidemark.fires f set ready_at = app_now() + :again::interval, rung_at = app_now(), rings = f.rings + 1
  from taken t
 where f.schedule = t.schedule and f.slot = t.slot
returning f.schedule, t.function, f.slot;

-- name: beat
-- A tick was here; nobody waits for this row.
update tidemark.heartbeats h
   set seen_at = app_now(), since = case when h.seen_at < app_now() - interval '3 minutes' then app_now() else h.since end
  from (select function from tidemark.heartbeats where function = 'tick' for update skip locked) free
 where h.function = free.function;

-- name: fail_stranded
-- End fires whose function began and was never heard of again.
update tidemark.fires set state = 'failed', finished_at = app_now(), message = 'It was begun and never finished: the function died.'
 where (schedule, slot) in (select f.schedule, f.slot from tidemark.fires f
                             where f.state = 'started' and f.plan_id is null and f.started_at < app_now() - :age::interval
                             order by f.started_at limit :limit for update skip locked);

-- name: give_up
-- End fires that nobody began for so long.
update tidemark.fires
   set state = 'missed', finished_at = app_now(), ready_at = null, message = 'It was rung ' || rings || ' times, and nobody began it.'
 where (schedule, slot) in (select f.schedule, f.slot from tidemark.fires f
                             where f.state = 'due' and f.ready_at < 'infinity' and f.rung_at is not null
                               and f.recorded_at < app_now() - :age::interval
                             order by f.ready_at limit :limit for update skip locked);

-- name: prune
-- Delete fires that ended so long ago.
delete from tidemark.fires
 where (schedule, slot) in (select f.schedule, f.slot from tidemark.fires f
                             where f.finished_at < app_now() - :age::interval order by f.finished_at limit :limit for update skip locked);

-- name: page
-- Schedules by name, as people see them.
select * from tidemark.shown_schedules where name > :after order by name limit :limit;

-- name: seeded_first
-- Schedules as people see them, the seeded ones first.
select * from (
       (select * from tidemark.shown_schedules where created_by = 'seed' order by name limit :limit)
       union all
       (select * from tidemark.shown_schedules where created_by <> 'seed' order by name limit :limit)) every
 order by created_by <> 'seed', name
 limit :limit;

-- name: find
-- One schedule as people see it.
select * from tidemark.shown_schedules where name = :name;

-- name: lock
-- Keep ticks and other people away from a schedule; no row when there is none.
select name from tidemark.schedules where name = :name for update;

-- name: number
-- How many schedules there are.
select count(*) from tidemark.schedules;

-- name: default_zone
-- The time zone of schedules that name none.
select value #>> '{}' from tidemark.settings where key = 'schedules.time_zone';

-- name: ticked
-- When a tick was last seen, and whether that was just now.
select nullif(seen_at, '-infinity') as seen_at, seen_at > app_now() - interval '3 minutes' as is_running
  from tidemark.heartbeats where function = 'tick';

-- name: add
-- A new schedule; no row when its name is taken.
insert into tidemark.schedules (name, cron, time_zone, function, arguments, enabled, catch_up, catch_up_limit, overlap, starts_at, ends_at,
       next_slot, created_by, updated_by)
select name, cron, time_zone, function, arguments, enabled, catch_up, catch_up_limit, overlap, starts_at, ends_at, next_slot, :actor, :actor
  from jsonb_to_record(:definition::jsonb) as d (
       name text, cron text, time_zone text, function text, arguments jsonb, enabled boolean, catch_up text, catch_up_limit integer,
       overlap text, starts_at timestamptz, ends_at timestamptz, next_slot timestamptz)
on conflict do nothing;

-- name: change
-- Change a schedule that nobody else has changed since; one that a tick had stopped goes on.
update tidemark.schedules s
   set cron = d.cron, time_zone = d.time_zone, function = d.function, arguments = d.arguments, enabled = d.enabled, catch_up = d.catch_up,
       catch_up_limit = d.catch_up_limit, overlap = d.overlap, starts_at = d.starts_at, ends_at = d.ends_at, next_slot = coalesce(d.next_slot, s.next_slot),
       version = s.version + 1, updated_at = app_now(), updated_by = :actor,
       paused_at = case when s.paused_by is distinct from 'tick' then s.paused_at end,
       pause_reason = case when s.paused_by is distinct from 'tick' then s.pause_reason end,
       paused_by = nullif(s.paused_by, 'tick')
  from jsonb_to_record(:definition::jsonb) as d (
       name text, cron text, time_zone text, function text, arguments jsonb, enabled boolean, catch_up text, catch_up_limit integer,
       overlap text, starts_at timestamptz, ends_at timestamptz, next_slot timestamptz)
 where s.name = d.name and s.version = :version;

-- name: remove
-- Delete a schedule, with its fires; a seeded one would come back with the next migration.
delete from tidemark.schedules where name = :name and created_by <> 'seed';

-- name: pause
-- Pause a schedule.
update tidemark.schedules set paused_at = app_now(), paused_by = :actor, pause_reason = :reason, updated_at = app_now(), updated_by = :actor
 where name = :name and paused_at is null;

-- name: park
-- The fires of a schedule that nobody has begun wait from now on; those asked for by hand do not.
update tidemark.fires set ready_at = 'infinity' where schedule = :name and state = 'due' and kind <> 'manual';

-- name: resume
-- Let a schedule go on: from the slot where it stopped if it is to catch up, else from now.
update tidemark.schedules
   set paused_at = null, paused_by = null, pause_reason = null, updated_at = app_now(), updated_by = :actor,
       next_slot = case when catch_up = 'none' or next_slot is null then :following else next_slot end
 where name = :name and paused_at is not null;

-- name: forgo
-- What a schedule that is not to catch up had left when it was paused is not run any more.
update tidemark.fires f set state = 'missed', finished_at = app_now(), ready_at = null, message = 'It was paused.'
  from tidemark.schedules s
 where f.schedule = :name and f.state = 'due' and f.ready_at = 'infinity' and f.kind = 'slot' and s.name = f.schedule and s.catch_up = 'none';

-- name: record
-- Record fires that somebody asks for: new ones, and those that were missed, skipped or failed before.
insert into tidemark.fires as f (schedule, slot, kind, state, ready_at, requested_by)
select :name, r.slot::timestamptz, :kind, 'due', case when :waits then 'infinity' else app_now() end, :actor
  from jsonb_array_elements_text(:slots::jsonb) as r (slot)
 order by r.slot::timestamptz
on conflict (schedule, slot) do update
   set kind = excluded.kind, state = 'due', ready_at = excluded.ready_at, requested_by = excluded.requested_by, recorded_at = app_now(),
       rings = 0, rung_at = null, started_at = null, finished_at = null, plan_id = null, message = null
 where f.state in ('missed', 'skipped', 'failed')
returning schedule, slot;

-- name: fires
-- The fires of a schedule, latest slot first.
select slot, kind, state, state = 'due' and ready_at = 'infinity' as waits, recorded_at, rung_at, rings, started_at, finished_at, plan_id,
       message, requested_by
  from tidemark.fires
 where schedule = :name and (:state::text is null or state = :state) and (:before::timestamptz is null or slot < :before)
 order by slot desc
 limit :limit;

-- name: slipped
-- Schedules whose slot came long ago although ticks are seen: something keeps them from being recorded.
select s.name, s.next_slot
  from tidemark.schedules s
 where s.enabled and s.paused_at is null and s.next_slot < app_now() - :age::interval
   and exists (select from tidemark.heartbeats h where h.function = 'tick' and h.seen_at > app_now() - interval '3 minutes')
 order by s.next_slot
 limit :limit;
