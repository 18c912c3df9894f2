-- Notices: what the bus tells. Each is written by the transaction that it tells of.

-- name: add
-- Tell of something; no row when it was told before.
insert into tidemark.notices (topic, payload, source, kind, dedupe_key, correlation_id, causation_id)
values (:topic, :payload::jsonb, :source, :kind, :dedupe_key, :correlation_id, :causation_id)
on conflict (dedupe_key) do nothing;
