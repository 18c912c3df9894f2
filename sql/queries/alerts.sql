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
-- Open an alert, or bring the open one of its type and entity up to date; none while an operator has silenced it.
insert into public.tds_alerts as a (alert_type, severity, title, message, entity_type, affected_count, alert_metadata)
select :alert_type::text, :severity::public.tds_alert_severity, :title::text, :message::text, :entity::public.tds_entity_type, :affected::integer, :metadata::jsonb
 where not exists (select from tidemark.conditions c
                    where c.alert_type = :alert_type::text and c.entity_type is not distinct from :entity::public.tds_entity_type and c.muted_until > app_now())
on conflict (alert_type, entity_type) where not resolved
do update set severity = excluded.severity, title = excluded.title, message = excluded.message,
       affected_count = excluded.affected_count, alert_metadata = excluded.alert_metadata;

-- name: resolve
-- The condition is over, and so is an operator's wish not to hear of it.
with heard as (
    delete from tidemark.conditions
     where alert_type = :alert_type and entity_type is not distinct from :entity::public.tds_entity_type and muted_until is not null
)
update public.tds_alerts
   set resolved = true, is_active = false, resolved_at = app_now(), resolved_by = 'tidemark'
 where alert_type = :alert_type and entity_type is not distinct from :entity::public.tds_entity_type and not resolved;

-- name: conditions
-- What is remembered of each condition of these types, and whether its alert is open.
select coalesce(a.alert_type, c.alert_type)::text, coalesce(a.entity_type, c.entity_type)::text, a.alert_type is not null,
       c.minute, coalesce(c.over, 0), coalesce(c.calm, 0), c.over_at, c.closed_at, coalesce(c.flaps, 0), c.muted_until
  from (select * from tidemark.conditions where alert_type in (select jsonb_array_elements_text(:kinds::jsonb))) c
  full join (select alert_type, entity_type from public.tds_alerts
              where not resolved and alert_type in (select jsonb_array_elements_text(:kinds::jsonb))) a
    on a.alert_type = c.alert_type and coalesce(a.entity_type::text, '') = coalesce(c.entity_type::text, '')
 order by 1, 2;

-- name: remember
-- Keep what is to be known of conditions at the next look.
insert into tidemark.conditions as c (alert_type, entity_type, minute, over, calm, over_at, closed_at, flaps, muted_until)
select r.alert_type, r.entity::public.tds_entity_type, r.minute, r.over, r.calm, r.over_at, r.closed_at, r.flaps, r.muted_until
  from jsonb_to_recordset(:rows::jsonb) as r (alert_type text, entity text, minute timestamptz, over integer, calm integer,
       over_at timestamptz, closed_at timestamptz, flaps integer, muted_until timestamptz)
 order by r.alert_type collate "C", r.entity collate "C"
on conflict (alert_type, entity_type)
do update set minute = excluded.minute, over = excluded.over, calm = excluded.calm, over_at = excluded.over_at, closed_at = excluded.closed_at,
       flaps = excluded.flaps, muted_until = excluded.muted_until;

-- name: forget
-- Nothing of these conditions matters any more.
delete from tidemark.conditions c using jsonb_to_recordset(:keys::jsonb) as k (alert_type text, entity text)
 where c.alert_type = k.alert_type and c.entity_type is not distinct from k.entity::public.tds_entity_type;

-- name: reopen
-- The trouble that an alert told of is back: the same alert is open again, and nobody has seen it yet.
update public.tds_alerts a
   set resolved = false, is_active = true, resolved_at = null, resolved_by = null, resolution_notes = null,
       acknowledged = false, acknowledged_at = null, acknowledged_by = null, acknowledgement_note = null
  from (select l.id
          from jsonb_to_recordset(:keys::jsonb) as k (alert_type text, entity text)
         cross join lateral (select b.id, b.resolved from public.tds_alerts b
                              where b.alert_type = k.alert_type and b.entity_type is not distinct from k.entity::public.tds_entity_type
                              order by b.triggered_at desc, b.id desc limit 1) l
         where l.resolved) last
 where a.id = last.id;

-- name: tell
-- Open alerts, and bring those that are open up to date. One that got worse has not been seen yet; none gets better before it is over.
insert into public.tds_alerts as a (alert_type, severity, title, message, entity_type, affected_count, threshold_value, actual_value, alert_metadata)
select r.alert_type, r.severity::public.tds_alert_severity, left(r.title, 255), r.message, r.entity::public.tds_entity_type, r.affected,
       to_jsonb(r.threshold), to_jsonb(r.value), r.metadata
  from jsonb_to_recordset(:rows::jsonb) as r (alert_type text, entity text, severity text, title text, message text, affected integer,
       threshold numeric, value numeric, metadata jsonb)
 order by r.alert_type collate "C", r.entity collate "C"
on conflict (alert_type, entity_type) where not resolved
do update set severity = greatest(a.severity, excluded.severity), title = excluded.title, message = excluded.message,
       affected_count = excluded.affected_count, threshold_value = excluded.threshold_value, actual_value = excluded.actual_value,
       alert_metadata = excluded.alert_metadata,
       acknowledged = a.acknowledged and excluded.severity <= a.severity,
       acknowledged_at = case when excluded.severity <= a.severity then a.acknowledged_at end,
       acknowledged_by = case when excluded.severity <= a.severity then a.acknowledged_by end,
       acknowledgement_note = case when excluded.severity <= a.severity then a.acknowledgement_note end
 where excluded.severity > a.severity
    or (a.title, a.message, a.affected_count, a.threshold_value, a.actual_value, a.alert_metadata)
       is distinct from (excluded.title, excluded.message, excluded.affected_count, excluded.threshold_value, excluded.actual_value, excluded.alert_metadata);

-- name: close
-- What these alerts told of is over.
update public.tds_alerts a
   set resolved = true, is_active = false, resolved_at = app_now(), resolved_by = 'tidemark'
  from jsonb_to_recordset(:keys::jsonb) as k (alert_type text, entity text)
 where not a.resolved and a.alert_type = k.alert_type and a.entity_type is not distinct from k.entity::public.tds_entity_type;

-- name: settle
-- Close alerts of others whose cause is gone: no schedule is stopped any more, no plan is halted.
update public.tds_alerts a
   set resolved = true, is_active = false, resolved_at = app_now(), resolved_by = 'tidemark'
 where not a.resolved
   and (a.alert_type = 'schedule_stopped' and not exists (select from tidemark.schedules where paused_by = 'tick')
     or a.alert_type = 'guardian.halt' and not exists (select from tidemark.plans where finished_at is null and status = 'halted'));

-- name: page
-- Alerts, the latest first: those that are open, acknowledged (and open), resolved, or all; after one, to read on.
select a.id, a.alert_type, a.severity::text, a.title, a.message, a.entity_type::text, a.affected_count, a.threshold_value, a.actual_value, a.triggered_at,
       a.acknowledged, a.acknowledged_at, a.acknowledged_by, a.acknowledgement_note, a.resolved, a.resolved_at, a.resolved_by, a.resolution_notes,
       a.alert_metadata as metadata
  from public.tds_alerts a
 where (:state = 'all' or a.resolved = (:state = 'resolved')) and (:state <> 'acknowledged' or a.acknowledged)
   and (:severity::text is null or a.severity = :severity::public.tds_alert_severity)
   and (:entity::text is null or a.entity_type = :entity::public.tds_entity_type)
   and (:after::uuid is null or (a.triggered_at, a.id) < (select b.triggered_at, b.id from public.tds_alerts b where b.id = :after::uuid))
 order by a.triggered_at desc, a.id desc
 limit :limit;

-- name: find
-- One alert.
select a.id, a.alert_type, a.severity::text, a.title, a.message, a.entity_type::text, a.affected_count, a.threshold_value, a.actual_value, a.triggered_at,
       a.acknowledged, a.acknowledged_at, a.acknowledged_by, a.acknowledgement_note, a.resolved, a.resolved_at, a.resolved_by, a.resolution_notes,
       a.alert_metadata as metadata
  from public.tds_alerts a where a.id = :id;

-- name: acknowledge
-- Somebody has seen an open alert; who was first, and when, stays.
update public.tds_alerts
   set acknowledged = true, acknowledged_at = coalesce(acknowledged_at, app_now()), acknowledged_by = coalesce(acknowledged_by, :actor),
       acknowledgement_note = coalesce(:note, acknowledgement_note)
 where id = :id and not resolved;

-- name: settle_by_hand
-- Somebody says that an open alert is over.
update public.tds_alerts
   set resolved = true, is_active = false, resolved_at = app_now(), resolved_by = :actor, resolution_notes = :note
 where id = :id and not resolved;

-- name: mute
-- Let the condition of an alert be quiet until it was false once, or for as long as the settings say.
insert into tidemark.conditions as c (alert_type, entity_type, muted_until)
select a.alert_type, a.entity_type, app_now() + make_interval(mins => (select (value #>> '{}')::numeric::integer from tidemark.settings where key = 'alerts.mute_minutes'))
  from public.tds_alerts a where a.id = :id
on conflict (alert_type, entity_type)
do update set muted_until = excluded.muted_until, over = 0, calm = 0, flaps = 0, closed_at = null;
