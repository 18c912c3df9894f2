-- Calling the source: its limited rate, shared by everybody who calls, and the access token they all use.

-- The rate of each organization. Logged, so that a crash does not forget what has been used; every write is a short
-- transaction of its own, and all times are clock_timestamp(): the source's limits know nothing of our transactions.
create table if not exists tidemark.source_limits (
    source text not null,
    organization_id text not null,
    free_at timestamptz not null default '-infinity',  -- the next slot that nobody has
    slowdown numeric not null default 1,  -- by what a slot is longer than the settings say, since the source complained
    clean integer not null default 0,  -- answers without a complaint since the slowdown last changed
    blocked_until timestamptz not null default '-infinity',
    blocked_reason text,
    used integer not null default 0,  -- slots given since the source's day began
    day_limit integer,  -- as the source says; null: it has not said
    resets_at timestamptz,  -- when its day ends; null: not a call has been made
    primary key (source, organization_id),
    constraint slowdown_only_slows check (slowdown >= 1)
) with (fillfactor = 50);

-- The slot that a call at p_at would get. A limiter that stood idle gives p_burst calls at once and one more; so in any
-- window there begin at most 1 + p_burst + window / p_gap.
create or replace function tidemark.next_slot(
    p_free_at timestamptz, p_blocked_until timestamptz, p_at timestamptz, p_gap interval, p_burst integer
) returns timestamptz language sql immutable parallel safe as $$
    select greatest(p_free_at, p_blocked_until, p_at - p_burst * p_gap)
$$;

-- Access tokens. They are not encrypted: they live for an hour, and a key to them would lie in the same environment as the
-- refresh token that makes new ones. Instead only the role that calls the source may read the table.
create table if not exists tidemark.source_tokens (
    source text primary key,
    credentials text not null,  -- fingerprint of what the access token is got with: other credentials, another token
    access_token text,
    api_domain text,
    expires_at timestamptz,
    token bigint,  -- fences the refresh that is on its way; null: none is
    not_before timestamptz,  -- the next refresh: while one is on its way the end of its lease, else of the pause after one that failed
    refreshes timestamptz[] not null default '{}',  -- those begun lately: the source allows ten in ten minutes
    refused text,  -- why the source gave none the last time
    constraint a_token_has_an_end check ((access_token is null) = (expires_at is null)),
    constraint a_refresh_has_a_lease check (token is null or not_before is not null)
);

revoke all on function tidemark.next_slot(timestamptz, timestamptz, timestamptz, interval, integer) from public;
grant execute on function tidemark.next_slot(timestamptz, timestamptz, timestamptz, interval, integer) to tidemark_worker, tidemark_status;
grant select, insert, update on tidemark.source_limits, tidemark.source_tokens to tidemark_worker;
grant select on tidemark.source_limits to tidemark_status;

insert into tidemark.settings (key, value, value_type, description) values
    ('zoho.calls_per_minute', '95', 'integer', 'Calls to Zoho in a minute; it allows 100 and blocks the organization above'),
    ('zoho.burst', '2', 'integer', 'Calls that may begin at once after a rest, besides the first'),
    ('zoho.calls_per_day', '10000', 'integer', 'Calls to Zoho in a day; what Zoho itself says counts when it is less'),
    ('zoho.reserve.interactive', '0', 'number', 'Share of the day''s calls that calls somebody waits for must leave to the more urgent'),
    ('zoho.reserve.stock', '0.03', 'number', 'Share of the day''s calls that the stock sync must leave to the more urgent'),
    ('zoho.reserve.incremental', '0.06', 'number', 'Share of the day''s calls that an incremental sync must leave to the more urgent'),
    ('zoho.reserve.bulk', '0.15', 'number', 'Share of the day''s calls that a full sync must leave to the more urgent'),
    ('zoho.reserve.repair', '0.2', 'number', 'Share of the day''s calls that repairs must leave to the more urgent')
on conflict do nothing;
