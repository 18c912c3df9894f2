-- Bells: who was rung and has not yet found the work exhausted.

-- name: silence
-- Say that nobody is at work any more. The worker then looks once more: what came before this is seen by that look,
-- and who comes after it rings.
update tidemark.bells set rung_at = null where function = :function;

-- name: is_needed
-- Whether work waits that nobody was rung for lately.
select exists (select from tidemark.ready_events r where r.rank < app_now() + interval '5 minutes'
                and r.id not in (select unnest(x.ids) from tidemark.receipts x))
    or exists (select from public.tds_sync_queue q
                where q.status in ('pending', 'retry') and coalesce(q.next_retry_at, q.created_at) <= app_now())
    or exists (select from tidemark.receipts x where x.leased_until < app_now())
    or exists (select from public.tds_sync_queue q where q.status = 'processing' and q.lock_expires_at < app_now());
