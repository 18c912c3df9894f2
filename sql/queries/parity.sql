-- Parity: what the last deploys wanted, and what is served. Reads only.

-- name: required
-- The stages of the last deploy of a release that must have succeeded before it is ready. Deploys that wait to be approved have not
-- begun; of those that were cancelled or taken back nothing is wanted any more; a release that is not known may be any of them.
select s.id, s.kind, s.status, d.id::text as deployment
  from (select d.id, d.plan
          from tidemark.deployments d
         where d.kind = 'deploy' and d.status not in ('waiting', 'cancelled', 'rolled_back')
           and exists (select from tidemark.stages x where x.plan = d.plan and x.kind in ('deploy.bootstrap', 'deploy.runtime'))
           and (:release = '' or d.artifact = :release or lower(d.commit) = lower(:release)
                or (length(:release) >= 7 and starts_with(lower(d.commit), lower(:release)))
                or (length(d.commit) >= 7 and starts_with(lower(:release), lower(d.commit))))
         order by d.created_at desc, d.id
         limit 1) d
  join tidemark.stages s on s.plan = d.plan
 where s.kind in ('deploy.bootstrap', 'deploy.runtime')
 order by s.no;

-- name: newest
-- The last deploy, how its shards stand, and its work in the background. A stage that it does not have is null.
select d.id::text, d.status, d.commit, d.artifact,
       (select bool_and(s.status = 'succeeded') from tidemark.stages s where s.plan = d.plan and s.kind = 'deploy.bootstrap') as bootstrap,
       (select bool_and(s.status = 'succeeded') from tidemark.stages s where s.plan = d.plan and s.kind = 'deploy.runtime') as runtime,
       (select bool_and(s.status = 'succeeded') from tidemark.stages s where s.plan in (d.plan, d.background) and s.kind = 'deploy.diagnostics')
           as diagnostics,
       (select p.status from tidemark.plans p where p.id = d.background) as background
  from tidemark.deployments d
 where d.kind = 'deploy'
 order by d.created_at desc, d.id
 limit 1;

-- name: depth
-- How many shards of a deployment's background plan are not done, and whether that is all of them: a stage may not know its own yet.
select coalesce(sum(case s.status
                    when 'waiting' then s.shards
                    when 'open' then coalesce(s.shards - s.released, 0)
                         + (select coalesce(sum(l.hi - l.done), 0) from tidemark.lanes l where l.plan = s.plan and l.stage = s.no)
                         + (select count(*) from tidemark.shard_failures f where f.plan = s.plan and f.stage = s.no and f.status = 'retry')
                    end), 0)::bigint as depth,
       coalesce(bool_and(s.shards is not null or s.status in ('failed', 'succeeded')), true) as is_whole
  from tidemark.deployments d
  join tidemark.plans p on p.id = d.background and p.finished_at is null
  join tidemark.stages s on s.plan = p.id
 where d.id = :deployment;

-- name: targets
-- Every target that was deployed to, with what its last deployment wanted there, and what was read back. What was taken back
-- wants what stood there before.
select t.name, t.provider, t.config, t.is_frozen, last.deployment, last.wanted_commit, last.wanted_artifact, last.config_hash, last.serving,
       last.updated_at, last.schema_version
  from tidemark.targets t
 cross join lateral (
       select d.id::text as deployment, p.serving, p.updated_at, d.schema_version,
              case when w.is_back then p.previous ->> 'commit' else d.commit end as wanted_commit,
              case when w.is_back then p.previous ->> 'artifact' else d.artifact end as wanted_artifact,
              case when not w.is_back then p.config_hash end as config_hash
         from tidemark.deployment_targets p
         join tidemark.deployments d on d.id = p.deployment
        cross join lateral (select d.kind = 'rollback' or d.status in ('rolling_back', 'rolled_back', 'not_rolled_back') as is_back) w
        where p.target = t.name and d.status not in ('waiting', 'cancelled')
        order by d.created_at desc, d.id
        limit 1) last
 order by t.name collate "C"
 limit :limit;
