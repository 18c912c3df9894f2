-- Releases: which code serves, what of it is being drained, when nothing new is begun, and which migrations took something away.

-- A migration that contracts takes away what older code uses; code that knows it by its number only can tell by this.
alter table public.tds_schema_versions add column if not exists is_contract boolean not null default false;

-- Code that was at work: each of its instances says so once a minute at most.
create table if not exists tidemark.releases (
    deployment text not null,
    release text not null,                     -- RELEASE, or the version of the package
    schema_version integer not null,           -- the newest migration that this code knows: two codes may bear one name
    first_seen_at timestamptz not null default app_now(),
    last_seen_at timestamptz not null default app_now(),
    primary key (deployment, release, schema_version),
    constraint a_release_is_seen_first_before_it_is_seen_last check (first_seen_at <= last_seen_at)
) with (fillfactor = 50);

-- Releases that take nothing new any more. A newer release has another name, and is not meant.
create table if not exists tidemark.drains (
    deployment text not null,
    release text not null,
    asked_at timestamptz not null default app_now(),
    asked_by text not null,
    deadline_at timestamptz not null,          -- what is not finished by then is taken from it
    idle_at timestamptz,                       -- it was seen to hold nothing any more
    ended_at timestamptz,                      -- it was told to go on after all
    primary key (deployment, release),
    constraint a_deadline_is_not_before_it_was_asked_for check (deadline_at >= asked_at)
);

-- While a migration runs nobody begins anything. It ends by itself, so that whoever dies in it stops nobody for long.
create table if not exists tidemark.pauses (
    name text primary key,
    paused_by text not null,                   -- deployment/release
    begun_at timestamptz not null default app_now(),
    until timestamptz not null,
    besides text[] not null,                   -- shard kinds that are begun all the same: those that migrate
    constraint a_pause_ends_after_it_began check (until > begun_at)
);

insert into tidemark.settings (key, value, value_type, description) values
    ('releases.serving_seconds', '300', 'integer', 'Seconds for which a release counts as serving after it was last heard of; more than the longest call takes, and a minute')
on conflict do nothing;

grant select, insert, update, delete on tidemark.releases, tidemark.pauses to tidemark_worker;
grant select, update (idle_at) on tidemark.drains to tidemark_worker;
grant select, insert, update on tidemark.drains to tidemark_operator;
grant select on tidemark.releases to tidemark_operator;
grant select on tidemark.releases, tidemark.drains, tidemark.pauses to tidemark_status;
