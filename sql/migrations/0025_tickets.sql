-- Tickets: what went wrong in deploys and in the system itself, once for each fault; and the journal of integrity scans.

create table if not exists tidemark.tickets (
    id bigint generated always as identity primary key,
    fingerprint text not null collate "C",     -- of the fault: its class, where it happened, what it said without its numbers
    kind text not null,                        -- where: the kind of the stage, or the part of the system
    title text not null,
    message text not null,                     -- as it was last said
    count bigint not null default 1,           -- how often it happened
    status text not null default 'open',
    first_at timestamptz not null default app_now(),
    last_at timestamptz not null default app_now(),
    deployment uuid,                           -- the last one that it happened in; no foreign key, a ticket outlives it
    plan uuid,
    target text,
    acknowledged_at timestamptz,
    acknowledged_by text,
    resolved_at timestamptz,
    resolved_by text,
    note text,
    constraint ticket_status_is_known check (status in ('open', 'acknowledged', 'resolved')),
    constraint acknowledged_tickets_say_by_whom check (status <> 'acknowledged' or (acknowledged_at is not null and acknowledged_by is not null)),
    constraint resolved_tickets_say_by_whom check ((status = 'resolved') = (resolved_at is not null and resolved_by is not null)),
    constraint a_ticket_happened check (count > 0 and last_at >= first_at)
) with (fillfactor = 70);
-- One ticket for each fault that is not resolved; one that comes back gets another.
create unique index if not exists one_ticket_per_fault on tidemark.tickets (fingerprint) where status <> 'resolved';
create index if not exists tickets_of_fault on tidemark.tickets (fingerprint, id);
create index if not exists tickets_unresolved on tidemark.tickets (last_at desc, id desc) where status <> 'resolved';
create index if not exists tickets_of_deployment on tidemark.tickets (deployment) where status <> 'resolved';

-- One look at a tree of source files for what should not be in it.
create table if not exists tidemark.arie_runs (
    id uuid primary key,
    at timestamptz not null default app_now(),
    policy text not null,
    dry_run boolean not null,
    source text not null,                      -- the folder
    deployment uuid,                           -- after which it was run; null: by hand
    requested_by text not null,
    summary jsonb not null,                    -- as it was answered
    constraint arie_policy_is_known check (policy in ('LINT_ONLY', 'SAFE_EDIT', 'REFACTOR', 'ARCHIVE'))
);
create index if not exists arie_runs_newest on tidemark.arie_runs (at desc, id desc);
create index if not exists arie_runs_of_deployment on tidemark.arie_runs (deployment) where deployment is not null;

-- A change to that tree, written down before it was made.
create table if not exists tidemark.arie_patches (
    id uuid primary key,
    run uuid not null,
    plan text not null,                        -- the hash of what was to be done
    source text not null,
    state text not null default 'intended',
    diff text not null,
    at timestamptz not null default app_now(),
    made_by text not null,
    applied_at timestamptz,
    rolled_back_at timestamptz,
    rolled_back_by text,
    constraint patch_state_is_known check (state in ('intended', 'applied', 'rolled_back')),
    constraint rolled_back_says_by_whom check ((state = 'rolled_back') = (rolled_back_at is not null and rolled_back_by is not null))
);
create index if not exists arie_patches_of_run on tidemark.arie_patches (run);

-- What stood in each file of a patch before, and after it.
create table if not exists tidemark.arie_files (
    patch uuid not null references tidemark.arie_patches,
    path text not null collate "C",
    mode integer not null,                     -- of the file, as chmod has it
    before bytea not null,
    after bytea,                               -- null: the file is gone
    primary key (patch, path)
);

grant select, insert, update on tidemark.tickets to tidemark_worker;
grant select, update (status, acknowledged_at, acknowledged_by, resolved_at, resolved_by, note) on tidemark.tickets to tidemark_operator;
grant select on tidemark.tickets, tidemark.arie_runs to tidemark_status;
grant select, insert on tidemark.arie_runs to tidemark_worker, tidemark_operator;
grant select, insert on tidemark.arie_patches, tidemark.arie_files to tidemark_operator;
grant update (state, applied_at, rolled_back_at, rolled_back_by) on tidemark.arie_patches to tidemark_operator;
