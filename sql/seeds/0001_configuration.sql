-- The eleven settings that users know, as the seed stores them: JSON strings, with the type to read them by.
insert into public.tds_configuration (config_key, config_value, value_type, category, description, validation_schema) values
    ('max_retry_attempts', '"3"', 'integer', 'retry', 'Attempts before an event becomes a dead letter', '{"type": "integer", "minimum": 1, "maximum": 10}'),
    ('retry_backoff_base_ms', '"1000"', 'integer', 'retry', 'Longest wait before the second attempt', '{"type": "integer", "minimum": 100, "maximum": 10000}'),
    ('retry_backoff_max_ms', '"60000"', 'integer', 'retry', 'Longest wait before any attempt', '{"type": "integer", "minimum": 1000, "maximum": 300000}'),
    ('batch_size', '"100"', 'integer', 'performance', 'Events applied in the first transaction; full batches double, up to 1,000', '{"type": "integer", "minimum": 10, "maximum": 1000}'),
    ('lock_timeout_seconds', '"300"', 'integer', 'performance', 'How long a lease on an event lasts', '{"type": "integer", "minimum": 30, "maximum": 3600}'),
    ('queue_poll_interval_ms', '"1000"', 'integer', 'performance', 'How long a late ring may wait', '{"type": "integer", "minimum": 100, "maximum": 10000}'),
    ('failure_rate_threshold', '"0.05"', 'number', 'alert', 'Share of failures that raises an alert', '{"type": "number", "minimum": 0, "maximum": 1}'),
    ('queue_backlog_threshold', '"1000"', 'integer', 'alert', 'Waiting events that raise an alert', '{"type": "integer", "minimum": 1}'),
    ('sync_lag_threshold_minutes', '"15"', 'integer', 'alert', 'Lag of a sync that raises an alert', '{"type": "integer", "minimum": 1}'),
    ('reconciliation.enabled', '"true"', 'boolean', 'reconciliation', 'Whether the nightly full sync runs', '{"type": "boolean"}'),
    ('reconciliation.schedule_cron', '"0 2 * * *"', 'string', 'reconciliation', 'When the nightly full sync runs', '{"type": "string"}')
on conflict do nothing;

insert into tidemark.settings (key, value, value_type, description) values
    ('operator.calls_per_minute', '60', 'integer', 'Calls that one operator token may make in a minute'),
    ('operator.calls_per_hour', '1000', 'integer', 'Calls that one operator token may make in an hour')
on conflict do nothing;
