-- Leases: who may act where only one may. Taken and kept by one statement, given away by time alone, never by idleness.

create table if not exists tidemark.leases (
    name text primary key,                     -- active: schedules, plans, deploys and calls to others; migrate: the schema
    holder text not null,                      -- a deployment, all instances of it
    holder_pid integer not null,               -- of the process that last took or kept it
    token bigint not null,                     -- new each time it is taken; every write under the lease shows it
    acquired_at timestamptz not null,
    heartbeat_at timestamptz not null,
    expires_at timestamptz not null,
    released_at timestamptz,                   -- handed over by a person: the holder leaves it to others for a while
    released_by text,
    takeover jsonb,                            -- the last time that another holder came: from, to, at, token, expired_for_seconds
    constraint holder_is_the_name_of_a_deployment check (holder ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    constraint holder_pid_is_above_0 check (holder_pid > 0),
    constraint heartbeat_does_not_come_before_it_was_acquired check (heartbeat_at >= acquired_at),
    constraint lease_does_not_end_before_its_heartbeat check (expires_at >= heartbeat_at),
    constraint released_means_that_it_has_expired check (released_at is null or expires_at <= released_at),
    constraint released_means_by_somebody check ((released_at is null) = (released_by is null))
) with (fillfactor = 50);

-- Every time that a lease was taken; the newest thousand of each.
create table if not exists tidemark.lease_history (
    name text not null,
    token bigint not null,
    holder text not null,
    holder_pid integer not null,
    acquired_at timestamptz not null,
    former_holder text,
    former_expires_at timestamptz,             -- before acquired_at, or two would have held it
    primary key (name, token),
    constraint former_holder_had_expired check (former_expires_at <= acquired_at)
);

-- A lease is kept before it has expired, taken only after, and each time with a higher token.
create or replace function tidemark.check_lease() returns trigger language plpgsql as $$
begin
    if new.token < old.token then
        raise check_violation using constraint = 'tokens_of_a_lease_only_grow', message = 'the token of a lease went back';
    end if;
    if new.token = old.token and new.holder <> old.holder then
        raise check_violation using constraint = 'another_holder_has_another_token', message = 'a lease changed hands under one token';
    end if;
    if new.token = old.token and new.expires_at > old.expires_at and old.expires_at <= app_now() then
        raise check_violation using constraint = 'an_expired_lease_is_not_renewed', message = 'an expired lease was renewed';
    end if;
    if new.token <> old.token and old.expires_at > app_now() then
        raise check_violation using constraint = 'a_lease_is_taken_when_it_has_expired', message = 'a lease was taken that had not expired';
    end if;
    if new.holder <> old.holder then
        new.takeover := jsonb_build_object(
            'from', old.holder, 'to', new.holder, 'at', to_char(app_now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'token', new.token, 'expired_for_seconds', extract(epoch from app_now() - old.expires_at));
    end if;
    return new;
end $$;

create or replace function tidemark.keep_lease_history() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        insert into lease_history (name, token, holder, holder_pid, acquired_at)
        values (new.name, new.token, new.holder, new.holder_pid, new.acquired_at);
    else
        insert into lease_history (name, token, holder, holder_pid, acquired_at, former_holder, former_expires_at)
        values (new.name, new.token, new.holder, new.holder_pid, new.acquired_at, old.holder, old.expires_at);
    end if;
    delete from lease_history h
     where h.name = new.name
       and h.token <= (select k.token from lease_history k where k.name = new.name order by k.token desc offset 1000 limit 1);
    return null;
end $$;

create or replace trigger lease_checked before update on tidemark.leases
    for each row execute function tidemark.check_lease();
create or replace trigger lease_taken_first after insert on tidemark.leases
    for each row execute function tidemark.keep_lease_history();
create or replace trigger lease_taken after update on tidemark.leases
    for each row when (new.token <> old.token) execute function tidemark.keep_lease_history();

insert into tidemark.settings (key, value, value_type, description) values
    ('lease.seconds', '150', 'integer', 'Seconds after which another deployment may take over from one that is not heard of; ticks come every 60')
on conflict do nothing;

revoke all on function tidemark.check_lease(), tidemark.keep_lease_history() from public;
grant select, insert, update on tidemark.leases to tidemark_worker;
grant select, update (expires_at, released_at, released_by) on tidemark.leases to tidemark_operator;
grant select on tidemark.leases, tidemark.lease_history to tidemark_status;
