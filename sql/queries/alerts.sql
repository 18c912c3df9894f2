-- Alerts: one open row per condition.

-- name: open_for_future_stamps
-- Events whose time of change lies ahead of every clock went into quarantine lately: say so, once per entity while it is open.
insert into public.tds_alerts as a (alert_type, severity, title, message, entity_type, affected_count)
select 'source_time_in_future', 'warning', 'The source sent a time of change that is in the future',
       'Such an event would beat every true version, so it is in quarantine: look at /dashboard/dead-letter.', i.entity_type, count(*)
  from public.tds_inbox_events i
 where i.validation_errors is not null and i.received_at > app_now() - interval '2 minutes'
   and i.validation_errors::text ~ :marks
 group by i.entity_type
 order by i.entity_type
on conflict (alert_type, entity_type) where not resolved
do update set affected_count = greatest(a.affected_count, excluded.affected_count);

-- name: raise
-- Open an alert, or bring the open one of its type and entity up to date.
insert into public.tds_alerts as a (alert_type, severity, title, message, entity_type, affected_count, alert_metadata)
values (:alert_type, :severity::public.tds_alert_severity, :title, :message, :entity::public.tds_entity_type, :affected, :metadata::jsonb)
on conflict (alert_type, entity_type) where not resolved
do update set severity = excluded.severity, title = excluded.title, message = excluded.message,
       affected_count = excluded.affected_count, alert_metadata = excluded.alert_metadata;

-- name: resolve
-- The condition is over.
update public.tds_alerts
   set resolved = true, is_active = false, resolved_at = app_now(), resolved_by = 'tidemark'
 where alert_type = :alert_type and entity_type is not distinct from :entity::public.tds_entity_type and not resolved;
