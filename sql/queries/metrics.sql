-- Metrics: the numbers that are watched, read from counters and small tables.

-- name: minutes
-- What was counted in each of the last sixty minutes under some names; ago 0 is this minute.
select m.name, (extract(epoch from date_trunc('minute', app_now()) - m.minute) / 60)::integer as ago, sum(m.amount)::bigint as amount
  from tidemark.last_minutes m
 where m.name in (select jsonb_array_elements_text(:names::jsonb))
 group by 1, 2;

-- name: alerts
-- Open alerts by severity, and how many of them somebody knows of.
select a.severity::text, count(*), count(*) filter (where a.acknowledged)
  from public.tds_alerts a where not a.resolved group by a.severity order by a.severity;

-- name: lateness
-- Seconds since the oldest slot came that nobody has begun; 0 when none waits.
select greatest(0, extract(epoch from app_now() - least(
       (select min(s.next_slot) from tidemark.schedules s where s.enabled and s.paused_at is null),
       (select min(f.slot) from tidemark.fires f where f.state = 'due' and f.ready_at < 'infinity' and f.kind = 'slot'))))::float8;

-- name: record
-- Write down this minute's numbers, once, whoever comes first: their ids follow from the name and the minute.
insert into public.tds_metrics (id, metric_name, metric_type, value, unit, tags)
select md5(r.name || coalesce(r.tags::text, '') || date_trunc('minute', app_now()))::uuid, r.name, r.type, r.value, r.unit, r.tags
  from jsonb_to_recordset(:rows::jsonb) as r (name text, type text, value jsonb, unit text, tags jsonb)
on conflict do nothing;
