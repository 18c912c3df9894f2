-- Source tokens: the access token of a source, refreshed by one at a time.

-- name: read
-- The token as it stands.
select case when credentials = :credentials then access_token end as access_token, api_domain,
       greatest(0, extract(epoch from expires_at - app_now()))::float8 as left_, token is not null as is_refreshing,
       coalesce(extract(epoch from not_before - app_now()), 0)::float8 as pause,
       case when credentials = :credentials then refused end as refused,
       (select count(*) from unnest(refreshes) at where at > app_now() - :window::interval)::integer as recent,
       coalesce((select extract(epoch from min(at) + :window::interval - app_now())
                   from unnest(refreshes) at where at > app_now() - :window::interval), 0)::float8 as opens_in
  from tidemark.source_tokens where source = :source;

-- name: claim
-- The right to refresh a token that is about to end, for one at a time and :most in a :window; its fence.
insert into tidemark.source_tokens as t (source, credentials, token, not_before, refreshes)
values (:source, :credentials, nextval('tidemark.token'), app_now() + :lease::interval, array[app_now()])
on conflict (source) do update
   set token = nextval('tidemark.token'), not_before = excluded.not_before, credentials = excluded.credentials,
       refreshes = array(select at from unnest(t.refreshes) at where at > app_now() - :window::interval) || app_now(),
       access_token = case when t.credentials = excluded.credentials then t.access_token end,
       expires_at = case when t.credentials = excluded.credentials then t.expires_at end
 where (t.credentials <> excluded.credentials
        or (coalesce(t.expires_at, '-infinity') <= app_now() + :early::interval and coalesce(t.not_before, '-infinity') <= app_now()))
   and (select count(*) from unnest(t.refreshes) at where at > app_now() - :window::interval) < :most
returning token;

-- name: store
-- A new token, from the refresh that still holds its fence.
update tidemark.source_tokens
   set access_token = :access_token, api_domain = :api_domain, expires_at = app_now() + make_interval(secs => :seconds),
       token = null, not_before = null, refused = null
 where source = :source and token = :token;

-- name: fail
-- A refresh that brought nothing: the next one begins after a pause.
update tidemark.source_tokens
   set token = null, not_before = app_now() + make_interval(secs => :pause), refused = :refused
 where source = :source and token = :token;

-- name: invalidate
-- This very token counts no more; not when refreshing has not helped lately, as a few must be left for true ends.
update tidemark.source_tokens
   set expires_at = app_now()
 where source = :source and access_token = :access_token and expires_at > app_now()
   and (select count(*) from unnest(refreshes) at where at > app_now() - :window::interval) < :most;

-- name: is_ending
-- Whether there is a token that is about to end, and whose refresh is not on its way or put off.
select exists (select from tidemark.source_tokens
                where source = :source and access_token is not null and expires_at <= app_now() + :early::interval
                  and coalesce(not_before, '-infinity') <= app_now());
