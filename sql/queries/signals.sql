-- Signals: what the watcher looks at, each read in time that does not grow with what is stored.

-- name: queue
-- How much waits and since when what is due, how many dead letters there are (both counted up to a bound), and how the last hour went.
select app_now() as now,
       greatest(0, tidemark.total('waiting'))
           + (select count(*) from (select from public.tds_sync_queue q where q.status in ('pending', 'retry') limit :most) w) as waiting,
       (select count(*) from (select from public.tds_dead_letter_queue d where not d.resolved limit :most) l) as dead,
       h.failed, h.finished,
       greatest(
           (select extract(epoch from app_now() - i.received_at)::float8
              from (select r.id from tidemark.ready_events r order by r.rank limit 1) f join public.tds_inbox_events i on i.id = f.id),
           (select extract(epoch from app_now() - coalesce(q.next_retry_at, q.created_at))::float8
              from public.tds_sync_queue q where q.status in ('pending', 'retry') order by q.rank limit 1),
           0) as oldest_seconds
  from (select coalesce(sum(amount) filter (where name <> 'completed'), 0)::bigint as failed,
               coalesce(sum(amount) filter (where name = 'completed'), 0)::bigint as finished
          from tidemark.last_hour where name in ('completed', 'dead_letter', 'quarantined')) h;

-- name: long_transactions
-- Transactions that have been open for too long, the oldest first.
select pid, kind, application, username, state, seconds from tidemark.long_transactions(make_interval(secs => :seconds));

-- name: old_secrets
-- Webhook secrets that still count and began to long ago.
select fingerprint, extract(epoch from app_now() - not_before)::float8 / 86400 as days
  from tidemark.webhook_secrets
 where not_before > '-infinity' and not_before < app_now() - make_interval(secs => :seconds) and not_after > app_now()
 order by not_before, fingerprint
 limit 20;

-- name: flow
-- The averages of a signal as they stand.
select arrivals, completions, minute from tidemark.signals where name = :name;

-- name: minutes
-- What came and what went in each whole minute since the averages were last brought up to date, :most minutes at most.
with span as (
    select greatest(coalesce((select minute from tidemark.signals where name = :name), '-infinity') + interval '1 minute',
                    date_trunc('minute', app_now()) - :most * interval '1 minute') as first,
           date_trunc('minute', app_now()) as upto
), counted as materialized (
    select r.name, r.minute, r.amount from span s join tidemark.rollups r
        on r.name = any (array(select jsonb_array_elements_text(:names::jsonb))) and r.minute >= s.first and r.minute < s.upto
    union all
    select d.name, date_trunc('minute', d.at), d.amount from span s join tidemark.deltas d
        on d.name = any (array(select jsonb_array_elements_text(:names::jsonb))) and d.at >= s.first and d.at < s.upto
)
select g.minute, coalesce(sum(c.amount) filter (where c.name = any (array(select jsonb_array_elements_text(:arrivals::jsonb)))), 0)::float8 as arrivals,
       coalesce(sum(c.amount) filter (where c.name <> all (array(select jsonb_array_elements_text(:arrivals::jsonb)))), 0)::float8 as completions
  from span s
 cross join lateral generate_series(s.first, s.upto - interval '1 minute', interval '1 minute') as g (minute)
  left join counted c on c.minute = g.minute
 group by g.minute
 order by g.minute;

-- name: keep_flow
-- The averages with every minute up to this one in them.
insert into tidemark.signals as s (name, minute, arrivals, completions) values (:name, :minute, :arrivals, :completions)
on conflict (name) do update set minute = excluded.minute, arrivals = excluded.arrivals, completions = excluded.completions
 where s.minute < excluded.minute;

-- name: close_hours
-- Write down the hours that are over and were not yet, and drop those that nothing is compared with any more. Two minutes late, so
-- that everything is in. Of syncs only hours that had a scheduled one count: that there was none is another alert's business.
with span as (
    select coalesce((select max(hour) from tidemark.hours where signal = 'received'),
                    (select date_trunc('hour', min(minute)) from tidemark.rollups where name = 'received'),
                    date_trunc('hour', app_now() - interval '2 minutes') - interval '2 hours') + interval '1 hour' as first,
           date_trunc('hour', app_now() - interval '2 minutes') as upto
), bounded as (
    select greatest(first, upto - :weeks * interval '7 days' - interval '1 day') as first, upto from span where first < upto
), gone as (
    delete from tidemark.hours h using bounded b where h.hour < b.upto - :weeks * interval '7 days' - interval '8 days'
)
insert into tidemark.hours (signal, hour, amount)
select 'received', g.hour,
       (select coalesce(sum(r.amount), 0) from tidemark.rollups r
         where r.name = 'received' and r.minute >= g.hour and r.minute < g.hour + interval '1 hour')
     + (select coalesce(sum(d.amount), 0) from tidemark.deltas d
         where d.name = 'received' and d.at >= g.hour and d.at < g.hour + interval '1 hour')
  from bounded b cross join lateral generate_series(b.first, b.upto - interval '1 hour', interval '1 hour') as g (hour)
union all
select 'synced:' || r.entity_type, date_trunc('hour', r.completed_at), sum(r.total_events)
  from bounded b
  join public.tds_sync_runs r on r.status = 'completed' and r.started_at >= b.first - interval '6 hours' and r.started_at < b.upto
   and r.completed_at >= b.first and r.completed_at < b.upto and r.run_type = 'scheduled' and r.entity_type is not null
 group by r.entity_type, date_trunc('hour', r.completed_at)
on conflict do nothing;

-- name: hours
-- The last two hours of each signal with what the same hour of the week, by the wall clock, had in other weeks.
select s.signal, l.hour, l.amount,
       array(select w.amount
               from generate_series(1, :weeks) as k (week)
               join tidemark.hours w on w.signal = s.signal
                and w.hour = ((l.hour at time zone z.zone) - k.week * interval '7 days') at time zone z.zone
              order by k.week) as weeks,
       ((select coalesce(sum(r.amount), 0) from tidemark.rollups r where r.name = s.signal and r.minute >= l.hour + interval '1 hour')
      + (select coalesce(sum(d.amount), 0) from tidemark.deltas d where d.name = s.signal and d.at >= l.hour + interval '1 hour'))::bigint as since
  from jsonb_array_elements_text(:signals::jsonb) as s (signal)
 cross join (select coalesce((select value #>> '{}' from tidemark.settings where key = 'schedules.time_zone'), 'UTC') as zone) z
 cross join lateral (
       select h.hour, h.amount from tidemark.hours h
        where h.signal = s.signal and h.hour >= app_now() - interval '8 days' order by h.hour desc limit 2) l
 order by s.signal collate "C", l.hour;

-- name: schedules
-- Schedules that call the source, and how many calls a fire of each took lately.
select s.name, s.function, s.arguments, s.cron, coalesce(s.time_zone, (select value #>> '{}' from tidemark.settings where key = 'schedules.time_zone'), 'UTC'),
       nullif(s.next_slot, 'infinity'), s.last_slot,
       (select avg(coalesce(r.pages, (select sum(t.calls) from tidemark.statistics t where t.plan = f.plan_id), 0))
          from (select f.plan_id from tidemark.fires f
                 where f.schedule = s.name and f.state = 'done' and f.plan_id is not null order by f.slot desc limit 5) f
          left join public.tds_sync_runs r on r.id = f.plan_id)::float8 as calls
  from tidemark.schedules s
 where s.function in ('sync', 'reconcile') and s.enabled and s.paused_at is null
 order by s.name
 limit 100;

-- name: late
-- Entities of which a scheduled sync was due since they were last in step, and how long ago the first and the second one was. Not
-- those that a sync is at which has not taken too long yet, and not slots that nobody could keep.
select c.entity_type::text, c.last_sync_at, c.last_sync_status::text, extract(epoch from app_now() - min(l.slots[1]))::float8 as first,
       extract(epoch from app_now() - min(l.slots[2]))::float8 as second
  from public.tds_sync_cursors c
  join jsonb_to_recordset(:covers::jsonb) as v (schedule text, entity text) on v.entity = c.entity_type::text
 cross join lateral (
       select array(select f.slot from tidemark.fires f
                     where f.schedule = v.schedule and f.slot > c.last_sync_at and f.kind = 'slot' and f.state <> 'missed'
                     order by f.slot limit 2) as slots) l
 where c.source_type = 'zoho' and cardinality(l.slots) > 0
   and not exists (select from public.tds_sync_runs r
                    where r.completed_at is null and r.entity_type = c.entity_type
                      and r.started_at > app_now() - make_interval(secs => coalesce((:slos::jsonb ->> r.mode)::float8, 0)))
 group by c.entity_type, c.last_sync_at, c.last_sync_status
 order by c.entity_type;

-- name: full_pages
-- How many pages the last full list of each entity had.
select c.entity_type::text, l.pages
  from public.tds_sync_cursors c
 cross join lateral (
       select r.pages from public.tds_sync_runs r
        where r.entity_type = c.entity_type and r.mode = 'full' and r.status = 'completed' order by r.started_at desc limit 1) l
 where c.source_type = 'zoho';

-- name: under_way
-- Scheduled syncs that go on: the slot they were started for, when their schedule is due next, and the pages they have read and have left.
select f.schedule, f.plan_id::text, f.slot, case when s.last_slot > f.slot then s.last_slot else nullif(s.next_slot, 'infinity') end as following,
       max(r.mode) as mode, coalesce(sum(r.pages), 0)::bigint as pages, coalesce(sum(greatest(e.pages - r.pages, 0)) filter (where r.completed_at is null), 0)::bigint as left_pages,
       extract(epoch from app_now() - min(r.started_at))::float8 as seconds
  from tidemark.schedules s
  join tidemark.fires f on f.schedule = s.name and f.state = 'started' and f.plan_id is not null
  join tidemark.plans p on p.id = f.plan_id and p.finished_at is null
  join public.tds_sync_runs r on r.plan_id = f.plan_id and r.entity_type is not null
  left join lateral (
       select l.pages from public.tds_sync_runs l
        where l.entity_type = r.entity_type and l.mode = 'full' and l.status = 'completed' and r.mode = 'full' order by l.started_at desc limit 1) e on true
 where s.function = 'sync' and s.enabled and s.paused_at is null
 group by f.schedule, f.plan_id, f.slot, s.last_slot, s.next_slot
 order by f.slot, f.schedule
 limit 20;
