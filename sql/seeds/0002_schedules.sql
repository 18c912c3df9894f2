-- The five schedules that users know. An operator's change is never overwritten; their first slot is computed by the next tick.
insert into tidemark.settings (key, value, value_type, description) values
    ('schedules.time_zone', '"UTC"', 'string', 'Time zone of every schedule that names none of its own')
on conflict do nothing;

insert into tidemark.schedules (name, cron, function, arguments, enabled, created_by, updated_by)
select s.name, coalesce(c.config_value #>> '{}', s.cron), s.function, s.arguments::jsonb, coalesce(e.config_value #>> '{}', 'true') = 'true',
       'seed', 'seed'
  from (values
        ('daily_full_sync', '0 2 * * *', 'sync', '{"mode": "full"}'),
        ('hourly_incremental_sync', '0 * * * *', 'sync', '{"mode": "incremental"}'),
        ('stock_sync_15min', '*/15 * * * *', 'sync', '{"mode": "stock"}'),
        ('auto_healing', '*/15 * * * *', 'heal', '{}'),
        ('daily_statistics', '0 3 * * *', 'reconcile', '{}')
       ) s (name, cron, function, arguments)
  left join public.tds_configuration c on s.name = 'daily_full_sync' and c.config_key = 'reconciliation.schedule_cron'
  left join public.tds_configuration e on s.name = 'daily_full_sync' and e.config_key = 'reconciliation.enabled'
on conflict do nothing;
