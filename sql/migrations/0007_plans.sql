-- Plans: long work as stages of numbered shards, which short functions work through between them.

-- One long job.
create table if not exists tidemark.plans (
    id uuid primary key default gen_random_uuid(),
    name text not null,
    status text not null default 'running',
    priority integer not null default 5,       -- 1 is first
    definition jsonb not null,                 -- as it was submitted
    max_concurrency integer not null,          -- lanes that may be worked on at once
    shard_timeout interval not null,
    retry_budget integer not null,             -- how many times, in all, a failed shard may be tried again
    retries integer not null default 0,
    hash text not null,                        -- of the tree of results: sha3_256 or sha256
    seed text not null,                        -- hex; what the tree begins from, so that two plans never share a root
    root bytea,
    undoes uuid references tidemark.plans,     -- this plan takes back what that one did
    reason text,                               -- why it stands as it does, for people
    idempotency_key text,
    request_hash text,
    submitted_by text not null,
    submitted_at timestamptz not null default app_now(),
    deadline_at timestamptz not null,          -- the end of its timebox
    finished_at timestamptz,
    constraint status_is_known check (status in ('running', 'paused', 'halted', 'cancelled', 'aborted', 'failed', 'succeeded')),
    constraint priority_is_between_1_and_10 check (priority between 1 and 10),
    constraint finished_plans_have_a_time check ((finished_at is not null) = (status in ('cancelled', 'aborted', 'failed', 'succeeded'))),
    constraint plans_key_is_unique unique (idempotency_key)
) with (fillfactor = 80);
create index if not exists plans_unfinished on tidemark.plans (submitted_at) where finished_at is null;
create index if not exists plans_unsealed on tidemark.plans (finished_at) where root is null;
create index if not exists plans_submitted on tidemark.plans (submitted_at desc);

-- An ordered step of a plan. Open-ended: how many shards it has is found on the way.
create table if not exists tidemark.stages (
    plan uuid not null references tidemark.plans on delete cascade,
    no integer not null,
    id text not null,                          -- the submitter's own name for it
    kind text not null,
    config jsonb not null,
    needs integer[] not null default '{}',     -- stages that must succeed first
    status text not null default 'waiting',
    concurrency integer not null,
    slo interval not null,                     -- longer than this raises an alert
    shards bigint,                             -- null until known
    released bigint not null default 0,        -- shards below this are cut into lanes: all of them, or the waves so far
    waves integer[],                           -- percentages, each begun when the one before is over
    ranges jsonb,                              -- how the submitter wants it cut
    is_open_ended boolean not null default false,
    has_more boolean not null default false,   -- open-ended: some shard said that it is not the last, so others may be tried ahead
    last bigint,                               -- open-ended: the shard that said there is no more
    chunk integer not null default 1,          -- shards worked on between two writes, learned to last about a second
    opened_at timestamptz,
    finished_at timestamptz,
    root bytea,
    primary key (plan, no),
    constraint stage_status_is_known check (status in ('waiting', 'open', 'failed', 'succeeded')),
    constraint stage_ids_are_unique unique (plan, id),
    constraint open_ended_means_unknown check (not is_open_ended or shards is null or status in ('failed', 'succeeded'))
) with (fillfactor = 70);

-- A slice [lo, hi) of an open stage's shards that one worker at a time goes through: done up to `done`, busy up to `busy`.
-- Like the two tables below it has no foreign key: checking one would write a lock into the stage's row with every chunk.
create table if not exists tidemark.lanes (
    plan uuid not null,
    stage integer not null,
    no integer not null,
    lo bigint not null,
    done bigint not null,
    busy bigint not null,
    hi bigint not null,
    token bigint,
    leased_until timestamptz,                  -- null: nobody is at it
    holder text,
    ready_at timestamptz not null default '-infinity',
    served_at timestamptz not null default '-infinity',
    lapses integer not null default 0,         -- workers in a row that died here
    checkpoint jsonb,                          -- where inside its chunk the worker is
    primary key (plan, stage, no),
    constraint lane_is_in_order check (lo <= done and done <= busy and busy <= hi)
) with (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);

-- Shards whose run failed; each has a life of its own from here on.
create table if not exists tidemark.shard_failures (
    plan uuid not null,
    stage integer not null,
    shard bigint not null,
    status text not null,
    attempts integer not null default 1,
    heal_depth integer not null default 0,     -- how often it was tried again, for whatever reason
    code text not null,
    message text not null,
    ready_at timestamptz not null,
    token bigint,
    leased_until timestamptz,
    digest bytea,                              -- once healed: stands in the tree in place of the failure
    failed_at timestamptz not null default app_now(),
    primary key (plan, stage, shard),
    constraint failure_status_is_known check (status in ('retry', 'dead', 'healed')),
    constraint healed_has_a_digest check ((status = 'healed') = (digest is not null))
);
create index if not exists shard_failures_ready on tidemark.shard_failures (ready_at) where status = 'retry';
create index if not exists shard_failures_open on tidemark.shard_failures (plan, stage) where status <> 'healed';

-- One row per completed chunk: the digest of each shard's outcome, and the tree nodes that cover the chunk. Insert-only.
create table if not exists tidemark.leaves (
    plan uuid not null,
    stage integer not null,
    lo bigint not null,
    hi bigint not null,
    digests bytea not null,                    -- 32 bytes a shard
    peaks bytea not null,                      -- 32 bytes for each aligned power of two that [lo, hi) falls into
    primary key (plan, stage, lo)
);
alter table tidemark.leaves alter column digests set storage external, alter column peaks set storage external;

-- What is being worked on now, one row per worker: a lane, or a shard that failed and is tried again.
create or replace view tidemark.permits as
select l.plan, l.stage, s.kind
  from tidemark.lanes l join tidemark.stages s on s.plan = l.plan and s.no = l.stage
 where l.leased_until >= app_now()
union all
select f.plan, f.stage, s.kind
  from tidemark.shard_failures f join tidemark.stages s on s.plan = f.plan and s.no = f.stage
 where f.status = 'retry' and f.leased_until >= app_now();

-- Settings of the engine.
insert into tidemark.settings (key, value, value_type, description) values
    ('plans.concurrency', '{}', 'json', 'Lanes at once for a shard kind over all plans, such as {"sync.pages": 4}; absent: no limit of its own')
on conflict do nothing;

grant select, insert, update on tidemark.plans, tidemark.stages, tidemark.shard_failures to tidemark_worker;
grant select, insert, update, delete on tidemark.lanes to tidemark_worker;
grant select, insert on tidemark.leaves to tidemark_worker;
grant select on tidemark.permits to tidemark_worker, tidemark_status;
grant select on tidemark.plans, tidemark.stages, tidemark.lanes, tidemark.shard_failures, tidemark.leaves to tidemark_status;
