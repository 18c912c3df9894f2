-- The one thing the ingest role may do.

-- Store a group of events and say, in one answer, what became of each.
--
-- p_events is an array of objects with: id, key, entity, entity_id, operation, stamp, hash, organization, body (text) or
-- body64, payload (text; absent: body is the JSON), path, flags, errors, method, query, ip, traceparent, headers,
-- signed_by, priority, rank, hint. p_refused counts requests that were turned away since the last call.
--
-- The answer: at (the clock), ring (nobody is at work, so ring now), and odd: by position, what was not simply stored:
-- duplicate (known already), conflict (known under the same delivery id with another content: kept, in quarantine) or
-- expired (its secret does not count now: nothing was stored).
--
-- Keys are inserted in one order: groups that overlap would deadlock otherwise.
create or replace function tidemark.receive(p_events jsonb, p_refused integer default 0) returns jsonb
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
declare
    v_at timestamptz := app_now();
    v_stored uuid[];
    v_ready integer;
    v_odd jsonb := '{}';
    v_expired text[];
    v_ring boolean := false;
begin
    select array_agg(fingerprint) into v_expired from tidemark.webhook_secrets where not v_at between not_before and not_after;

    with incoming as (
        select distinct on (e.key) e.*
          from jsonb_to_recordset(p_events) as e (
               id uuid, key text collate "C", entity tds_entity_type, entity_id text, operation tds_operation_type, stamp timestamptz, hash text,
               organization text, body text, body64 text, payload text, path text[], flags text[], errors jsonb, method text,
               query text, ip text, traceparent text, headers jsonb, signed_by text, priority integer)
         where v_expired is null or e.signed_by <> all (v_expired)
         order by e.key
    ), stored as (
        insert into tds_inbox_events (
               id, idempotency_key, source_type, entity_type, source_entity_id, operation_type, received_at, source_modified_at,
               rank, signature_verified, signed_by, organization_id, content_hash, payload_path, flags, validation_errors,
               processed_at, method, query, ip_address, traceparent, webhook_headers, raw_payload, raw_body)
        select id, key, 'zoho', entity, entity_id, operation, v_at, stamp, v_at + priority * interval '30 s', true, signed_by,
               coalesce(organization, ''), hash, coalesce(path, '{}'), coalesce(flags, '{}'), errors,
               case when errors is not null then v_at end, method, query, ip, traceparent, headers,
               case when errors is null or payload is not null then coalesce(payload, body)::jsonb else 'null' end,
               coalesce(convert_to(body, 'UTF8'), decode(body64, 'base64'))
          from incoming
        on conflict do nothing  -- of any kind: two at the same moment meet at the id first, which follows from the key
        returning id, rank, validation_errors
    ), ready as (
        insert into tidemark.ready_events (id, rank) select id, rank from stored where validation_errors is null returning 1
    )
    select array_agg(stored.id), (select count(*) from ready) into v_stored, v_ready from stored;

    if coalesce(cardinality(v_stored), 0) < jsonb_array_length(p_events) then
        v_odd := tidemark.not_stored(p_events, v_stored, v_expired);
    end if;

    insert into tidemark.deltas (name, amount)
    select name, amount from (values
        ('received', cardinality(v_stored)),
        ('refused', p_refused),
        ('waiting', v_ready),
        ('quarantined', cardinality(v_stored) - v_ready),
        ('duplicate', (select count(*) from jsonb_each_text(v_odd) where value <> 'expired'))
    ) as counted (name, amount) where amount > 0;

    if v_ready > 0 then
        -- Nobody waits for this row: whoever finds it locked leaves the bell to the one who is ringing it.
        update tidemark.bells b set rung_at = v_at
          from (select function from tidemark.bells
                 where function = 'process' and (rung_at is null or rung_at < v_at - interval '30 s')
                   for update skip locked) silent
         where b.function = silent.function;
        v_ring := found;
    end if;
    return jsonb_build_object('at', extract(epoch from v_at), 'ring', v_ring, 'odd', v_odd);
end $$;

-- Why each event that receive() did not store was not stored, by position.
create or replace function tidemark.not_stored(p_events jsonb, p_stored uuid[], p_expired text[]) returns jsonb
language plpgsql set search_path = pg_catalog, public, tidemark, pg_temp as $$
declare
    v_odd jsonb;
begin
    with given as (
        select e.position - 1 as position, e.event ->> 'key' as key, (e.event ->> 'id')::uuid as id, e.event ->> 'hash' as hash,
               (e.event ->> 'entity')::tds_entity_type as entity, e.event ->> 'entity_id' as entity_id,
               e.event ->> 'organization' as organization, coalesce((e.event ->> 'hint')::boolean, false) as hint, e.event, (e.event ->> 'rank')::integer as rank,
               coalesce(e.event ->> 'signed_by' = any (p_expired), false) as expired,
               row_number() over (partition by e.event ->> 'key' order by e.position) as copy
          from jsonb_array_elements(p_events) with ordinality as e (event, position)
    ), known as (
        select g.*, case when g.expired then 'expired' when i.content_hash is distinct from g.hash then 'conflict' else 'duplicate' end as odd
          from given g left join tds_inbox_events i on i.idempotency_key = g.key
         where g.expired or g.copy > 1 or g.id <> all (coalesce(p_stored, '{}'))
    ), counted as (
        insert into tidemark.duplicates (event_id) select id from known where odd <> 'expired'
    ), hinted as (
        -- Without a version, the same content again may be a genuine change back: only the source can tell.
        insert into tidemark.refetches (organization_id, entity_type, source_entity_id, reason)
        select coalesce(organization, ''), entity, entity_id, 'hint' from known where hint and odd = 'duplicate'
         group by 1, 2, 3 order by min(rank), entity_id collate "C"  -- as those who apply events go
        on conflict (organization_id, entity_type, source_entity_id) do update set requests = refetches.requests + 1
    ), conflicting as (
        insert into tds_inbox_events (
               id, idempotency_key, source_type, entity_type, source_entity_id, signature_verified, signed_by, content_hash,
               validation_errors, processed_at, raw_payload, raw_body)
        select gen_random_uuid(), key || '-' || left(hash, 16), 'zoho', entity, entity_id, true, event ->> 'signed_by', hash,
               '[{"pointer": "", "message": "the same delivery id came before with another content"}]', app_now(),
               'null', coalesce(convert_to(event ->> 'body', 'UTF8'), decode(event ->> 'body64', 'base64'))
          from known where odd = 'conflict' order by key collate "C", hash
        on conflict (idempotency_key) do nothing
        returning entity_type
    ), alerted as (
        insert into tds_alerts (alert_type, severity, title, message, entity_type, affected_count)
        select 'delivery_id_conflict', 'warning', 'A delivery id was used for two contents',
               'The later one is in quarantine; ask the sender which one is meant.', entity_type, count(*) from conflicting group by entity_type
        order by entity_type
        on conflict (alert_type, entity_type) where not resolved
        do update set affected_count = tds_alerts.affected_count + excluded.affected_count
    )
    select coalesce(jsonb_object_agg(position, odd), '{}') into v_odd from known;
    return v_odd;
end $$;
