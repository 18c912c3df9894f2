-- Targets: what is deployed to. Secrets stand here by the name of their variable, never by their value.

create table if not exists tidemark.targets (
    name text primary key,
    provider text not null,                    -- a file of common/targets
    config jsonb not null,
    version integer not null default 1,
    is_frozen boolean not null default false,  -- deploys that nobody here asked for are switched off, by us
    frozen_reason text,
    frozen_at timestamptz,
    updated_at timestamptz not null default app_now(),
    updated_by text not null,
    constraint target_name_is_a_slug check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$')
);

grant select, insert, update on tidemark.targets to tidemark_worker;
grant select, insert, update on tidemark.targets to tidemark_operator;
grant select on tidemark.targets to tidemark_status;
