-- Enforcement: time limits of stages, slow shards in pieces, what was done to heal, and how many lanes a kind may have.
-- Both tables are small, and were never larger: what locks them for a scan does so for milliseconds.
-- squawk-ignore-file require-concurrent-index-creation, ban-drop-constraint, constraint-missing-not-valid

-- A stage over its time limit fails, and so does its plan.
alter table tidemark.stages add column if not exists timebox interval;                    -- null: no limit of its own
alter table tidemark.stages add column if not exists deadline_at timestamptz;             -- of its time limit, from when it opened
alter table tidemark.stages add column if not exists reason text;                         -- why it failed, for people
alter table tidemark.stages add column if not exists unreported bigint not null default 0;  -- of its shards, when it ended before its time
alter table tidemark.stages add column if not exists took jsonb not null default '[]';    -- seconds a shard of the last chunks, newest first
alter table tidemark.stages add column if not exists pieces integer not null default 0;    -- that shards of it were split into
create index if not exists stages_with_a_deadline on tidemark.stages (deadline_at) where status = 'open' and deadline_at is not null;

-- A shard that is split is done in pieces. Each is a row of its own with a number below zero; the shard waits for the last of them.
alter table tidemark.shard_failures add column if not exists action text not null default 'retry';  -- what is due when its time comes
alter table tidemark.shard_failures add column if not exists pieces integer;               -- how many it was split into; null: it was not
alter table tidemark.shard_failures add column if not exists parent bigint;               -- of a piece: the shard, or the piece, that was split
alter table tidemark.shard_failures add column if not exists origin bigint;               -- of a piece: the shard of the stage that it belongs to
alter table tidemark.shard_failures add column if not exists piece jsonb;                  -- of a piece: what of it, as its kind says
alter table tidemark.shard_failures add column if not exists level integer not null default 0;      -- of a piece: how many times it was split
alter table tidemark.shard_failures drop constraint if exists failure_action_is_known;
alter table tidemark.shard_failures add constraint failure_action_is_known check (action in ('retry', 'split'));
alter table tidemark.shard_failures drop constraint if exists pieces_belong_to_a_shard;
alter table tidemark.shard_failures add constraint pieces_belong_to_a_shard
    check ((shard < 0) = (parent is not null) and (parent is null) = (origin is null) and (parent is null) = (piece is null));
create index if not exists shard_failures_pieces on tidemark.shard_failures (plan, stage, parent) where parent is not null;

-- What was done about shards that failed, and why. Append-only.
create table if not exists tidemark.heal_actions (
    id bigint generated always as identity primary key,
    plan uuid not null,
    stage integer,
    shard bigint,                              -- null: it was done about the whole stage, or the plan
    piece bigint,                               -- of that shard, counted within its stage
    depth integer not null default 0,          -- how often it was tried again, or split, before
    action text not null,
    reason text not null,
    at timestamptz not null default app_now(),
    constraint heal_action_is_known check (action in ('retry', 'split', 'quarantine', 'escalate', 'halt', 'healed', 'rehydrate'))
);
create index if not exists heal_actions_of_plan on tidemark.heal_actions (plan, id);
create or replace trigger heal_actions_is_append_only before update or delete or truncate on tidemark.heal_actions
    for each statement execute function tidemark.refuse_change();

-- How many lanes of a shard kind may be out: fewer when its shards take much longer than they used to (rules/aimd.py).
create table if not exists tidemark.concurrency (
    kind text primary key,
    most integer,                              -- null: as many as plans may have
    latency_seconds float8 not null,           -- of one shard, lately
    usual_seconds float8 not null,             -- of one shard, when all is well
    samples bigint not null default 1,
    changed_at timestamptz not null,           -- when `most` last went up or down
    constraint one_lane_is_always_left check (most >= 1)
) with (fillfactor = 50);

-- How far running plans were, about once a minute: what their end is forecast from.
create table if not exists tidemark.progress_samples (
    plan uuid not null references tidemark.plans on delete cascade,
    at timestamptz not null,
    done bigint not null,
    primary key (plan, at)
);

-- How urgent a lane is: its plan's priority, one step more for each 30 s that it waited. Nobody waits into the first class.
create or replace function tidemark.urgency(p_priority integer, p_waited interval) returns integer
language sql immutable parallel safe as $$
    select case when p_priority <= 2 then p_priority
                else greatest(3, p_priority - floor(least(extract(epoch from p_waited), 300) / 30)::integer) end
$$;

-- How many lanes of its kind may be out for one of this urgency to be taken: null, as many as there are. As rules/aimd.py has it.
create or replace function tidemark.room(p_most integer, p_urgency integer) returns integer
language sql immutable parallel safe as $$
    select case when p_urgency <= 2 then null
                when p_urgency <= 5 then p_most
                when p_urgency <= 8 then greatest(1, p_most * 3 / 4)
                else p_most / 2 end
$$;
revoke all on function tidemark.urgency(integer, interval), tidemark.room(integer, integer) from public;
grant execute on function tidemark.urgency(integer, interval), tidemark.room(integer, integer) to tidemark_worker, tidemark_status;

grant select, insert on tidemark.heal_actions to tidemark_worker;
grant select, insert, update on tidemark.concurrency to tidemark_worker;
grant select, insert, delete on tidemark.progress_samples to tidemark_worker;
grant select on tidemark.heal_actions, tidemark.concurrency, tidemark.progress_samples to tidemark_status;
