-- Page: what the static page shows, a few rows of everything.

-- name: entities
-- The entities that a sync has been at: how far each is, and its last run.
select e.label::text, c.last_sync_at, extract(epoch from app_now() - c.last_sync_at)::float8 as lag_seconds, r.status::text, r.at
  from unnest(enum_range(null::public.tds_entity_type)) as e (label)
  left join public.tds_sync_cursors c on c.source_type = 'zoho' and c.entity_type = e.label
  left join lateral (
       select l.status, coalesce(l.completed_at, l.started_at) as at
         from unnest(enum_range(null::public.tds_source_type)) as t (type)
        cross join lateral (select s.status, s.started_at, s.completed_at from public.tds_sync_runs s
                             where s.run_type = t.type and s.entity_type = e.label order by s.started_at desc limit 1) l
        order by l.started_at desc limit 1) r on true
 where c.id is not null or r.at is not null
 order by e.label;

-- name: schedules
-- The schedules that are seeded and those that are due next: when each runs, when it did, and what it missed.
select s.name, case when s.enabled and s.paused_at is null then s.next_slot end, s.last_slot, s.missed,
       greatest(s.last_slot, s.updated_at) as changed_at
  from ((select n.name from tidemark.schedules n where n.created_by = 'seed' order by n.name limit :limit)
        union
        (select n.name from tidemark.schedules n where n.enabled and n.paused_at is null order by n.next_slot limit :limit)) chosen
  join tidemark.shown_schedules s using (name)
 order by 2 nulls last, s.name
 limit :limit;

-- name: alerts
-- Open alerts, the worst and latest first.
select a.severity::text, a.alert_type, a.title, a.entity_type::text, a.acknowledged, a.triggered_at,
       greatest(a.triggered_at, a.acknowledged_at)
  from public.tds_alerts a where not a.resolved order by a.severity desc, a.triggered_at desc limit :limit;

-- name: sizes
-- How many there are of what is cut short.
select (select count(*) from tidemark.schedules) as schedules, (select count(*) from tidemark.plans where finished_at is null) as plans,
       (select count(*) from public.tds_alerts where not resolved) as alerts;

-- name: notable
-- What happened since a moment that people want to know of, latest first.
(select a.triggered_at as at, 'alert opened' as what, a.alert_type as name from public.tds_alerts a
  where a.triggered_at >= :since and not a.resolved order by 1 desc limit :limit)
union all
(select a.resolved_at, 'alert resolved', a.alert_type from public.tds_alerts a
  where a.resolved and a.resolved_at >= :since order by 1 desc limit :limit)
union all
(select p.finished_at, 'plan ' || p.status, p.name
   from (select * from tidemark.plans order by submitted_at desc limit 100) p
  where p.finished_at >= :since order by 1 desc limit :limit)
union all
(select f.finished_at, 'slot ' || f.state, f.schedule from tidemark.fires f
  where f.finished_at is not null and f.finished_at >= :since and f.state in ('missed', 'failed') order by 1 desc limit :limit)
order by at desc
limit :limit;
