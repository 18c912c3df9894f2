-- What the engine tells on the bus: written with what it tells of, by whoever does that. Nothing is told of a chunk that went well.

-- Shards that failed, once for each chunk; one that was only put aside to be split has not failed.
create or replace function tidemark.tell_of_failures() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
begin
    insert into tidemark.notices (topic, source, kind, correlation_id, payload)
    select 'hxo.shard.failed', 'engine', 'fact', f.plan::text, jsonb_build_object(
           'plan_id', f.plan, 'stage_id', s.id, 'count', count(*),
           'shards', (array_agg(f.shard order by f.shard))[1:10], 'codes', (array_agg(distinct left(f.code, 100)))[1:5],
           'error', left((array_agg(f.message order by f.shard))[1], 500))
      from fresh f join tidemark.stages s on s.plan = f.plan and s.no = f.stage
     where f.shard >= 0 and f.code <> 'slow'
     group by f.plan, s.id;
    return null;
end $$;

-- What was done about shards that failed, once for each thing done.
create or replace function tidemark.tell_of_healing() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
begin
    insert into tidemark.notices (topic, source, kind, correlation_id, payload)
    select case when a.action in ('retry', 'split', 'rehydrate') then 'hxo.heal.trigger' else 'hxo.heal.complete' end, 'engine', 'heal',
           a.plan::text, jsonb_build_object(
           'plan_id', a.plan, 'stage_id', s.id, 'action', a.action, 'count', count(*), 'success', a.action in ('retry', 'split', 'rehydrate', 'healed'),
           'shards', coalesce((array_agg(a.shard order by a.shard) filter (where a.shard is not null))[1:10], '{}'),
           'heal_depth', max(a.depth), 'failure_reason', left(min(a.reason), 500))
      from fresh a left join tidemark.stages s on s.plan = a.plan and s.no = a.stage
     where a.action <> 'halt'  -- an alert says that
     group by a.plan, s.id, a.action;
    return null;
end $$;

-- A plan that ended otherwise than well, that is halted, or whose tree of results is closed: what the notice of it has led to.
create or replace function tidemark.tell_of_plan() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
declare
    v_said jsonb := jsonb_build_object('plan_id', new.id, 'plan_name', new.name, 'status', new.status);
    v_topic text;
begin
    if new.status = 'halted' and old.status <> 'halted' then
        v_topic := 'hxo.alert';
        v_said := v_said || jsonb_build_object('type', 'guardian.halt', 'severity', 'error',
                                               'message', coalesce(left(new.reason, 2000), 'the plan was halted'));
    elsif new.finished_at is not null and old.finished_at is null and new.status <> 'succeeded' then
        v_topic := 'hxo.aggregate.failed';
        v_said := v_said || jsonb_build_object('reason', left(new.reason, 2000));
    elsif new.root is not null and new.root is distinct from old.root and new.status = 'succeeded' then
        v_topic := 'hxo.aggregate.ready';
        v_said := v_said || (select jsonb_build_object('merkle_root', encode(new.root, 'hex'), 'hash', new.hash,
                                                       'total_shards', coalesce(sum(s.shards), 0), 'stages', count(*))
                               from tidemark.stages s where s.plan = new.id);
    else
        return null;
    end if;
    insert into tidemark.notices (topic, source, kind, correlation_id, causation_id, depth, payload)
    select v_topic, 'engine', 'fact', new.id::text, c.id, least(coalesce(c.depth + 1, 0), 10), v_said
      from (values (1)) as one left join lateral (
           select n.id, n.depth from tidemark.notices n where n.topic = 'hxo.plan' and n.correlation_id = new.id::text
            order by n.seq limit 1) c on true;
    return null;
end $$;

create or replace trigger failures_told_of after insert on tidemark.shard_failures
    referencing new table as fresh for each statement execute function tidemark.tell_of_failures();
create or replace trigger healing_told_of after insert on tidemark.heal_actions
    referencing new table as fresh for each statement execute function tidemark.tell_of_healing();
create or replace trigger plan_told_of after update of status, finished_at, root on tidemark.plans
    for each row when (new.status is distinct from old.status or new.root is distinct from old.root)
    execute function tidemark.tell_of_plan();

revoke all on function tidemark.tell_of_failures(), tidemark.tell_of_healing(), tidemark.tell_of_plan() from public;
