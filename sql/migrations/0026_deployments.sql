-- Deployments: what was asked to run where, how far that is, and what stood there before.

create table if not exists tidemark.deployments (
    id uuid primary key default gen_random_uuid(),
    kind text not null default 'deploy',
    status text not null,
    commit text,                               -- what is to run: a commit,
    artifact text,                             -- or something built before
    definition jsonb not null,                 -- as it was asked for
    definition_hash text not null,             -- what an approval confirms
    strategy jsonb not null,                   -- as it was understood, defaults filled in
    gates jsonb not null,
    background_work jsonb not null default '{}',
    plan uuid references tidemark.plans,       -- the deploy itself
    background uuid references tidemark.plans, -- what goes on beside it, and is not waited for
    rolls_back uuid references tidemark.deployments,
    rolled_back_by uuid references tidemark.deployments,
    schema_version integer not null,           -- when it began
    requested_by text not null,
    approvals_needed integer not null default 0,
    approved_by text[] not null default '{}',
    held_for text,                             -- what a person must decide before it goes on
    reason text,                               -- why it stands as it does, for people
    idempotency_key text,
    request_hash text,
    created_at timestamptz not null default app_now(),
    live_at timestamptz,                       -- every target verified and promoted
    ended_at timestamptz,
    constraint deployment_kind_is_known check (kind in ('deploy', 'rollback')),
    constraint deployment_status_is_known check (status in ('waiting', 'running', 'live', 'failed', 'cancelled', 'rolling_back', 'rolled_back', 'not_rolled_back')),
    constraint rollbacks_say_of_what check ((kind = 'rollback') = (rolls_back is not null)),
    constraint ended_deployments_have_a_time check ((ended_at is not null) = (status not in ('waiting', 'running', 'rolling_back'))),
    constraint something_is_wanted check (kind = 'rollback' or num_nonnulls(commit, artifact) = 1),
    constraint deployments_key_is_unique unique (idempotency_key)
) with (fillfactor = 80);
create index if not exists deployments_newest on tidemark.deployments (created_at desc);
create index if not exists deployments_of_plan on tidemark.deployments (plan);
create index if not exists deployments_unfinished on tidemark.deployments (created_at) where ended_at is null;

-- One target of a deployment. What is done to its provider is written down before it is done, under a key to find it by.
create table if not exists tidemark.deployment_targets (
    deployment uuid not null references tidemark.deployments on delete cascade,
    target text not null references tidemark.targets,
    no integer not null,                       -- in the order asked for
    wave integer not null,
    state text not null default 'queued',      -- as in rules/deploys.py
    key text not null,                         -- the mark of this intent at the provider
    intended_at timestamptz,                   -- the provider is, or may have been, asked
    provider_id text,                          -- of the deploy that this made there
    previous jsonb,                            -- {id, commit, artifact}: what was live before, and can be put back
    config_hash text,                          -- of the variables that it was deployed with, salted
    serving jsonb,                             -- {id, commit, artifact}: as it was last read back
    verified_at timestamptz,                   -- what is served is what was wanted, and it is well
    promoted_at timestamptz,
    released_at timestamptz,                   -- nothing more is done there: others may deploy to it
    gates jsonb not null default '{}',         -- by name: outcome, what was measured and how often
    reason text,
    updated_at timestamptz not null default app_now(),
    primary key (deployment, target)
) with (fillfactor = 70);
-- The deploy lock: one deployment at a time for each target.
create unique index if not exists one_deployment_per_target on tidemark.deployment_targets (target) where released_at is null;

insert into tidemark.settings (key, value, value_type, description) values
    ('deploy.poll_seconds', '5', 'number', 'How often a provider is asked how far a deploy is'),
    ('deploy.freeze_windows', '[]', 'json', 'When nothing is deployed: [{"from": "2026-12-24T00:00:00Z", "to": "2026-12-27T00:00:00Z", "reason": "holidays"}]'),
    ('deploy.approvals', '0', 'number', 'How many owners must approve a deploy, besides whoever asks for it')
on conflict do nothing;

grant select, insert, update on tidemark.deployments, tidemark.deployment_targets to tidemark_worker;
grant select on tidemark.deployments, tidemark.deployment_targets to tidemark_status;
