-- Releases: which code was at work lately.

-- name: tell
-- Say that this code is at work; what was not heard of for a season is forgotten.
with forgotten as (
    delete from tidemark.releases where last_seen_at < app_now() - interval '90 days'
)
insert into tidemark.releases as r (deployment, release, schema_version)
values (:deployment, :release, :schema_version)
on conflict (deployment, release, schema_version) do update set last_seen_at = greatest(r.last_seen_at, app_now());

-- name: hold_still
-- Nobody says anything until the transaction ends: what is read now of who serves stays true.
lock table tidemark.releases in share mode;

-- name: serving
-- Every code that was heard of lately, the last heard of first.
select r.deployment, r.release, r.schema_version, r.last_seen_at, extract(epoch from app_now() - r.last_seen_at)::float8 as age,
       s.seconds as counts_for
  from tidemark.releases r,
       (select (value #>> '{}')::float8 as seconds from tidemark.settings where key = 'releases.serving_seconds') s
 where r.last_seen_at > app_now() - make_interval(secs => s.seconds)
 order by r.last_seen_at desc, r.deployment, r.release, r.schema_version;
