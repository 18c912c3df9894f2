-- Least privilege: each function runs as its role and can do no more than its work. Tests try every verb as every role.

-- Postgres lets everybody execute every function unless told otherwise.
revoke all on all functions in schema tidemark, erp from public;
revoke all on function public.app_now(), public.tds_update_timestamp(), public.tds_calculate_run_duration(),
      public.tds_cleanup_old_inbox_events(integer, integer), public.tds_cleanup_old_sync_logs(integer, integer),
      public.tds_get_queue_stats(), public.tds_get_health_summary() from public;
grant execute on function public.app_now() to tidemark_worker, tidemark_status, tidemark_operator, tidemark_migrate;
grant execute on function tidemark.total(text), public.tds_get_queue_stats(), public.tds_get_health_summary() to tidemark_status;

-- ingest: stores events, and nothing else
grant execute on function tidemark.receive(jsonb, integer) to tidemark_ingest;

-- worker: applies events
grant usage on sequence tidemark.token to tidemark_worker;
grant select, update (is_valid, moved_to_queue, processed_at, validation_errors) on public.tds_inbox_events to tidemark_worker;
grant select, insert, update, delete on public.tds_sync_queue to tidemark_worker;
grant insert on public.tds_sync_logs, public.tds_audit_trail to tidemark_worker;
grant select, insert, update on public.tds_dead_letter_queue, public.tds_alerts to tidemark_worker;
grant select on public.tds_configuration, tidemark.settings to tidemark_worker;
grant select, update, delete on tidemark.ready_events to tidemark_worker;
grant select, insert, update, delete on tidemark.receipts to tidemark_worker;
grant select, update on tidemark.bells to tidemark_worker;
grant select, insert, update on tidemark.refetches to tidemark_worker;
grant select, insert, delete on tidemark.deltas to tidemark_worker;
grant select, insert, update on tidemark.rollups, tidemark.totals to tidemark_worker;

-- status: reads, and never a secret
grant select on all tables in schema public to tidemark_status;
grant select on tidemark.ready_events, tidemark.receipts, tidemark.bells, tidemark.duplicates, tidemark.refetches,
      tidemark.deltas, tidemark.rollups, tidemark.totals, tidemark.last_hour, tidemark.webhook_secrets, tidemark.settings to tidemark_status;

-- operator: the verbs people have
grant select on all tables in schema public to tidemark_operator;
grant update (status, rank, next_retry_at, max_retry_attempts, lock_expires_at) on public.tds_sync_queue to tidemark_operator;
grant update (resolved, resolved_at, resolved_by, resolution_notes) on public.tds_dead_letter_queue to tidemark_operator;
grant select, insert, update on tidemark.operator_tokens, tidemark.rate_limits, tidemark.webhook_secrets to tidemark_operator;
grant select on tidemark.settings, tidemark.deltas, tidemark.totals to tidemark_operator;
grant insert on tidemark.deltas to tidemark_operator;

-- migrate: knows what has run
grant select on public.tds_schema_versions to tidemark_migrate, tidemark_worker;
