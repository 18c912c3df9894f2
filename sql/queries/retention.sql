-- Retention: what is old enough goes, a bounded number at a time. What is unresolved, and the audit trail, never does.

-- name: events
-- Events that have ended, with their queue rows.
select public.tds_cleanup_old_inbox_events(:days, :limit);

-- name: logs
-- The log of attempts.
select public.tds_cleanup_old_sync_logs(:days, :limit);

-- name: metrics
-- Numbers over time.
with gone as (
    delete from public.tds_metrics
     where ctid = any (array(select ctid from public.tds_metrics
                              where recorded_at < app_now() - make_interval(days => greatest(:days, 1)) order by recorded_at limit :limit))
    returning 1
)
select count(*)::integer from gone;

-- name: rollups
-- Counts by the minute; the totals stay.
with gone as (
    delete from tidemark.rollups
     where ctid = any (array(select ctid from tidemark.rollups
                              where minute < app_now() - make_interval(days => greatest(:days, 1)) order by minute limit :limit))
    returning 1
)
select count(*)::integer from gone;

-- name: duplicates
-- That a delivery came twice.
with gone as (
    delete from tidemark.duplicates
     where ctid = any (array(select ctid from tidemark.duplicates
                              where received_at < app_now() - make_interval(days => greatest(:days, 1)) order by received_at limit :limit))
    returning 1
)
select count(*)::integer from gone;

-- name: replays
-- Replays that are over, with their letters.
with gone as (
    delete from tidemark.replays
     where id = any (array(select id from tidemark.replays
                            where finished_at < app_now() - make_interval(days => greatest(:days, 1)) order by finished_at limit least(:limit::integer, 10)))
    returning 1
)
select count(*)::integer from gone;
