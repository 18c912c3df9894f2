-- Circuit breakers: whether a dependency may be called at all, one row for everybody who calls it from wherever.

create table if not exists tidemark.breakers (
    name text primary key,                     -- of the dependency
    state text not null default 'closed',
    failures integer not null default 0,       -- in a row, while it is closed
    successes integer not null default 0,      -- of probes, while it is half open
    token bigint not null default 0,           -- fences what is told: another one with each state and with each probe
    is_probing boolean not null default false, -- one call is on its way to find out, until next_probe_at at most
    opened_at timestamptz,                     -- since when it has not been closed
    next_probe_at timestamptz,                 -- from when on the next call is let through as a probe
    successful bigint not null default 0,      -- as told so far: an instance tells of calls that went well a second late
    failed bigint not null default 0,
    rejected bigint not null default 0,
    state_changes bigint not null default 0,
    last_failure text,
    last_failure_at timestamptz,
    reset_at timestamptz,
    reset_by text,
    constraint state_is_known check (state in ('closed', 'open', 'half_open')),
    constraint only_the_closed_wait_for_no_probe check ((state = 'closed') = (next_probe_at is null)),
    constraint only_the_closed_have_not_opened check ((state = 'closed') = (opened_at is null)),
    constraint only_the_half_open_probe check (state = 'half_open' or not is_probing),
    constraint failures_are_counted_while_closed check (failures = 0 or state = 'closed'),
    constraint successes_are_counted_while_half_open check (successes = 0 or state = 'half_open'),
    constraint who_reset_it_is_known check ((reset_at is null) = (reset_by is null))
) with (fillfactor = 50);

insert into tidemark.breakers (name) values ('zoho'), ('zoho_accounts'), ('alert_webhook'), ('smtp') on conflict do nothing;

grant select, insert, update on tidemark.breakers to tidemark_worker;
grant select on tidemark.breakers to tidemark_status, tidemark_operator;
grant update (state, failures, successes, token, is_probing, opened_at, next_probe_at, state_changes, reset_at, reset_by)
   on tidemark.breakers to tidemark_operator;
-- Who resets a breaker takes a token, and closes its alert with it.
grant usage on sequence tidemark.token to tidemark_operator;
grant update (is_active, resolved, resolved_at, resolved_by) on public.tds_alerts to tidemark_operator;

insert into tidemark.settings (key, value, value_type, description) values
    ('breaker.failures', '5', 'integer', 'Failures in a row after which a dependency is not called any more'),
    ('breaker.successes', '2', 'integer', 'Probes that must go well before it is called as usual again'),
    ('breaker.open_seconds', '60', 'integer', 'Seconds for which it is not called before the first probe, and after one that failed'),
    ('breaker.successes.zoho_accounts', '1', 'integer', 'As breaker.successes: one token lasts an hour, so a second probe would come an hour late'),
    ('breaker.successes.alert_webhook', '1', 'integer', 'As breaker.successes: alerts are rare'),
    ('breaker.successes.smtp', '1', 'integer', 'As breaker.successes: alerts are rare'),
    ('breaker.unprobed_minutes', '90', 'integer', 'Minutes after which a breaker that nobody has probed, though it was time, is told of')
on conflict do nothing;
