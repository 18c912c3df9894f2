-- Metrics: every number that is shown has one source, is read without counting anything large, and says what the rows say.

-- Readers want the minutes of the last hour; the key begins with the name.
create index if not exists rollups_minute on tidemark.rollups (minute);
create index if not exists tds_alerts_resolved on public.tds_alerts (resolved_at) where resolved;

-- What has been counted under every name since the beginning, folded or not yet, in one pass over what is not.
create or replace view tidemark.counters as
select c.name, sum(c.amount)::bigint as amount
  from (select name, amount from tidemark.totals union all select name, amount from tidemark.deltas) c
 group by c.name;

-- What was counted in each of the last sixty minutes, this one included. Whole minutes, so that folding changes nothing.
create or replace view tidemark.last_minutes as
select name, minute, amount from tidemark.rollups where minute > date_trunc('minute', app_now()) - interval '1 hour'
union all
select name, date_trunc('minute', at), amount from tidemark.deltas
 where at >= date_trunc('minute', app_now()) - interval '59 minutes';

create or replace view tidemark.last_hour as
select name, amount from tidemark.last_minutes;

-- The histogram's bucket for a time of so many microseconds, as the end of its counter's name: the least bound that it does
-- not exceed. The bounds are those of common/rules/latency.py.
create or replace function tidemark.latency_le(p_us bigint) returns text language sql immutable parallel safe as $$
    select ('{0.1,0.25,0.5,1,2.5,5,10,30,60,300,3600,inf}'::text[])[1 + width_bucket(
           p_us - 1, '{100000,250000,500000,1000000,2500000,5000000,10000000,30000000,60000000,300000000,3600000000}'::bigint[])]
$$;

-- How many events are in each state, and since when the oldest waits; nothing large is counted. The oldest that waits is
-- looked for among the first two hundred in the order of claims: with more before it, it is at most 4.5 minutes older.
create or replace function public.tds_get_queue_stats()
returns table (status text, events bigint, oldest_at timestamptz) language sql stable as $$
    with counted as (
        select coalesce(sum(c.amount) filter (where c.name = 'waiting'), 0)::bigint as waiting,
               coalesce(sum(c.amount) filter (where c.name = 'completed'), 0)::bigint as completed
          from (select name, amount from tidemark.totals where name in ('waiting', 'completed')
                union all
                select name, amount from tidemark.deltas where name in ('waiting', 'completed')) c
    ), ended as (
        select count(*) filter (where q.status = 'failed') as failed, min(q.created_at) filter (where q.status = 'failed') as failed_at,
               count(*) filter (where q.status = 'dead_letter') as dead, min(q.created_at) filter (where q.status = 'dead_letter') as dead_at
          from public.tds_sync_queue q where q.status in ('failed', 'dead_letter')
    )
    select 'pending', c.waiting + (select count(*) from public.tds_sync_queue q where q.status in ('pending', 'retry')),
           least((select min(i.received_at)
                    from (select r.id from tidemark.ready_events r order by r.rank limit 200) first join public.tds_inbox_events i on i.id = first.id),
                 (select min(first.created_at)
                    from (select q.created_at from public.tds_sync_queue q where q.status in ('pending', 'retry') order by q.rank limit 200) first))
      from counted c
    union all
    select 'processing', count(*), min(q.started_at) from public.tds_sync_queue q where q.status = 'processing'
    union all
    select 'completed', c.completed, null from counted c
    union all
    select 'failed', e.failed, e.failed_at from ended e
    union all
    select 'dead_letter', e.dead, e.dead_at from ended e
$$;

-- The whole system in one row.
create or replace function public.tds_get_health_summary()
returns table (queue jsonb, received bigint, duplicates bigint, quarantined bigint, active_alerts bigint, unresolved_dead_letters bigint)
language sql stable as $$
    select (select jsonb_object_agg(s.status, s.events) from public.tds_get_queue_stats() s),
           coalesce(sum(c.amount) filter (where c.name = 'received'), 0)::bigint,
           coalesce(sum(c.amount) filter (where c.name = 'duplicate'), 0)::bigint,
           coalesce(sum(c.amount) filter (where c.name = 'quarantined'), 0)::bigint,
           (select count(*) from public.tds_alerts a where not a.resolved),
           (select count(*) from public.tds_dead_letter_queue d where not d.resolved)
      from tidemark.counters c
$$;

-- Why each event that receive() did not store was not stored, by position. As before, but one that is kept beside another of
-- its delivery id is counted as what it is: an event more, in quarantine, and no duplicate.
create or replace function tidemark.not_stored(p_events jsonb, p_stored uuid[], p_expired text[]) returns jsonb
language plpgsql set search_path = pg_catalog, public, tidemark, pg_temp as $$
declare
    v_odd jsonb;
    v_kept integer;
begin
    with given as (
        select e.position - 1 as position, e.event ->> 'key' as key, (e.event ->> 'id')::uuid as id, e.event ->> 'hash' as hash,
               (e.event ->> 'entity')::tds_entity_type as entity, e.event ->> 'entity_id' as entity_id,
               e.event ->> 'organization' as organization, coalesce((e.event ->> 'hint')::boolean, false) as hint, e.event, (e.event ->> 'rank')::integer as rank,
               coalesce(e.event ->> 'signed_by' = any (p_expired), false) as expired,
               row_number() over (partition by e.event ->> 'key' order by e.position) as copy,
               row_number() over (partition by e.event ->> 'key', e.event ->> 'hash' order by e.position) as twin
          from jsonb_array_elements(p_events) with ordinality as e (event, position)
    ), known as (
        select g.*, case when g.expired then 'expired' when i.content_hash is distinct from g.hash then 'conflict' else 'duplicate' end as odd
          from given g left join tds_inbox_events i on i.idempotency_key = g.key
         where g.expired or g.copy > 1 or g.id <> all (coalesce(p_stored, '{}'))
    ), conflicting as (
        insert into tds_inbox_events (
               id, idempotency_key, source_type, entity_type, source_entity_id, signature_verified, signed_by, content_hash,
               validation_errors, processed_at, raw_payload, raw_body)
        select gen_random_uuid(), key || '-' || left(hash, 16), 'zoho', entity, entity_id, true, event ->> 'signed_by', hash,
               '[{"pointer": "", "message": "the same delivery id came before with another content"}]', app_now(),
               'null', coalesce(convert_to(event ->> 'body', 'UTF8'), decode(event ->> 'body64', 'base64'))
          from known where odd = 'conflict' order by key collate "C", hash
        on conflict (idempotency_key) do nothing
        returning entity_type, idempotency_key
    ), counted as (
        insert into tidemark.duplicates (event_id)
        select k.id from known k
         where k.odd = 'duplicate'
            or k.odd = 'conflict' and (k.twin > 1 or not exists (
               select from conflicting c where c.idempotency_key = k.key || '-' || left(k.hash, 16)))
    ), hinted as (
        -- Without a version, the same content again may be a genuine change back: only the source can tell.
        insert into tidemark.refetches (organization_id, entity_type, source_entity_id, reason)
        select coalesce(organization, ''), entity, entity_id, 'hint' from known where hint and odd = 'duplicate'
         group by 1, 2, 3 order by min(rank), entity_id collate "C"  -- as those who apply events go
        on conflict (organization_id, entity_type, source_entity_id) do update set requests = refetches.requests + 1
    ), alerted as (
        insert into tds_alerts (alert_type, severity, title, message, entity_type, affected_count)
        select 'delivery_id_conflict', 'warning', 'A delivery id was used for two contents',
               'The later one is in quarantine; ask the sender which one is meant.', entity_type, count(*) from conflicting group by entity_type
        order by entity_type
        on conflict (alert_type, entity_type) where not resolved
        do update set affected_count = tds_alerts.affected_count + excluded.affected_count
    )
    select coalesce(jsonb_object_agg(position, odd), '{}'), (select count(*) from conflicting) into v_odd, v_kept from known;
    if v_kept > 0 then
        -- receive() counts all of these as duplicates.
        insert into tidemark.deltas (name, amount) values ('received', v_kept), ('quarantined', v_kept), ('duplicate', -v_kept);
    end if;
    return v_odd;
end $$;

-- How far the events have been looked at for what no foreign key holds together.
insert into tidemark.heartbeats (function, seen_at) values ('lost_rows', '-infinity') on conflict do nothing;
grant select (id) on public.tds_sync_logs to tidemark_worker;

revoke all on function tidemark.latency_le(bigint) from public;
grant execute on function tidemark.latency_le(bigint) to tidemark_worker, tidemark_status;
grant execute on function public.tds_get_queue_stats(), public.tds_get_health_summary() to tidemark_worker;
grant select on tidemark.counters, tidemark.last_minutes to tidemark_worker, tidemark_status;
grant select on tidemark.last_hour to tidemark_worker;
grant insert on public.tds_metrics to tidemark_worker;
