"""What a campaign has its database write down beside its work, without a key of any kind, so that nothing done twice can hide."""

from __future__ import annotations

from common import db
from tests.chaos import check

# Who was given what, in the order in which it happened to each: the row is locked when its trigger runs.
RECORDS = """
    create table recorder.grants (n bigserial, resource text not null, token bigint, attempt integer, at timestamptz default clock_timestamp());
    create table recorder.starts (schedule text, slot timestamptz, at timestamptz default clock_timestamp());
    create table recorder.shards (plan uuid, stage integer, shard bigint, at timestamptz default clock_timestamp());
    create table recorder.set_back (event uuid, was integer, became integer);
    grant insert on recorder.grants, recorder.starts, recorder.shards, recorder.set_back to public;
    grant usage on all sequences in schema recorder to public;

    create function recorder.granted() returns trigger language plpgsql as $$
    declare
        v_row jsonb := to_jsonb(new);
        v_key text;
    begin
        if new.token is null then
            return null;
        end if;
        v_key := case tg_table_name
                 when 'tds_sync_queue' then 'event ' || (v_row ->> 'id')
                 when 'lanes' then 'lane ' || (v_row ->> 'plan') || ' ' || (v_row ->> 'stage') || ' ' || (v_row ->> 'no')
                 when 'shard_failures' then 'shard ' || (v_row ->> 'plan') || ' ' || (v_row ->> 'stage') || ' ' || (v_row ->> 'shard')
                 when 'refetches' then 'refetch ' || (v_row ->> 'entity_type') || ' ' || (v_row ->> 'source_entity_id')
                 else tg_table_name end;
        insert into recorder.grants (resource, token, attempt) values (v_key, new.token, (v_row ->> 'attempt_count')::integer);
        return null;
    end $$;
    create trigger granted after update on public.tds_sync_queue for each row when (new.token is distinct from old.token)
        execute function recorder.granted();
    create trigger granted after update on tidemark.lanes for each row when (new.token is distinct from old.token)
        execute function recorder.granted();
    create trigger granted after update on tidemark.shard_failures for each row when (new.token is distinct from old.token)
        execute function recorder.granted();

    create function recorder.started() returns trigger language plpgsql as $$
    begin
        insert into recorder.starts (schedule, slot) values (new.schedule, new.slot);
        return null;
    end $$;
    create trigger started after update on tidemark.fires for each row
        when (new.state = 'started' and (old.state <> 'started' or new.started_at is distinct from old.started_at))
        execute function recorder.started();

    create function recorder.set_back() returns trigger language plpgsql as $$
    begin
        insert into recorder.set_back values (new.id, old.attempt_count, new.attempt_count);
        return null;
    end $$;
    create trigger set_back after update on public.tds_sync_queue for each row when (new.attempt_count < old.attempt_count)
        execute function recorder.set_back();
"""
# The source knows nothing of the records that a campaign invents: asked for them, it would say that they are gone.
STRANGERS = """
    create function recorder.not_asked_for() returns trigger language plpgsql as $$ begin return null; end $$;
    create trigger strangers before insert on tidemark.refetches for each row when (new.source_entity_id like 'own-%')
        execute function recorder.not_asked_for();
"""


def install(database_url: str) -> None:
    """Have it all written down from here on."""
    check.record_effects(database_url)
    connection = db.Connection(db.Address(database_url))
    try:
        connection.raw.settimeout(30)
        connection.script(RECORDS + STRANGERS)
    finally:
        connection.close()
