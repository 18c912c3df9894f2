-- Deployments: what was asked to run where, how far that is, and what stood there before.

-- name: add
-- A new deployment; no row when its idempotency key is taken.
insert into tidemark.deployments (kind, status, commit, artifact, definition, definition_hash, strategy, gates, background_work, rolls_back,
       schema_version, requested_by, approvals_needed, idempotency_key, request_hash, reason)
values (:kind, :status, :commit, :artifact, :definition::jsonb, :definition_hash, :strategy::jsonb, :gates::jsonb, :background_work::jsonb, :rolls_back,
       (select coalesce(max(version), 0) from public.tds_schema_versions), :requested_by, :approvals_needed, :idempotency_key, :request_hash, :reason)
on conflict (idempotency_key) do nothing
returning id::text;

-- name: add_targets
-- Its targets: [{target, no, wave, key, previous}]. One that is being deployed to already refuses all of them.
insert into tidemark.deployment_targets (deployment, target, no, wave, key, previous)
select :deployment, t.target, t.no, t.wave, t.key, t.previous
  from jsonb_to_recordset(:targets::jsonb) as t (target text, no integer, wave integer, key text, previous jsonb)
 order by t.target;

-- name: busy
-- Those of these targets that a deployment is at, or takes the traffic from, and which one.
with held as (
    select t.target, t.deployment from tidemark.deployment_targets t where t.released_at is null
    union
    select r.value, d.id from tidemark.deployments d, jsonb_each_text(coalesce(d.strategy -> 'replaces', '{}')) r where d.ended_at is null
)
select h.target, h.deployment::text, d.status from held h join tidemark.deployments d on d.id = h.deployment
 where h.target in (select jsonb_array_elements_text(:targets::jsonb)) order by h.target, d.created_at;

-- name: by_key
-- The deployment that an idempotency key stands for.
select id::text, plan::text, request_hash from tidemark.deployments where idempotency_key = :key;

-- name: plan_is
-- Which plans carry it out.
update tidemark.deployments set plan = :plan, background = :background where id = :id;

-- name: get
-- One deployment.
select id::text, kind, status, commit, artifact, definition_hash, strategy, gates, plan::text, background::text, rolls_back::text, rolled_back_by::text,
       schema_version, requested_by, approvals_needed, approved_by, held_for, reason, created_at, live_at, ended_at
  from tidemark.deployments where id = :id;

-- name: lock
-- One deployment, locked: after its plan.
select id::text, kind, status, commit, artifact, definition_hash, strategy, gates, plan::text, background::text, rolls_back::text, rolled_back_by::text,
       schema_version, requested_by, approvals_needed, approved_by, held_for, reason, created_at, live_at, ended_at
  from tidemark.deployments where id = :id for no key update;

-- name: of_plan
-- The deployment that a plan carries out, locked.
select id::text, kind, status, commit, artifact, definition_hash, strategy, gates, plan::text, background::text, rolls_back::text, rolled_back_by::text,
       schema_version, requested_by, approvals_needed, approved_by, held_for, reason, created_at, live_at, ended_at
  from tidemark.deployments where plan = :plan for no key update;

-- name: newest
-- Deployments, the newest first.
select id::text, kind, status, commit, artifact, definition_hash, strategy, gates, plan::text, background::text, rolls_back::text, rolled_back_by::text,
       schema_version, requested_by, approvals_needed, approved_by, held_for, reason, created_at, live_at, ended_at
  from tidemark.deployments
 where :before::timestamptz is null or created_at < :before
 order by created_at desc, id limit :limit;

-- name: set_status
-- It stands elsewhere now, and why.
update tidemark.deployments
   set status = :status, reason = :reason, held_for = null,
       live_at = case when :status = 'live' then coalesce(live_at, app_now()) else live_at end,
       ended_at = case when :status in ('waiting', 'running', 'rolling_back') then null else coalesce(ended_at, app_now()) end
 where id = :id;

-- name: hold
-- Somebody must decide before it goes on.
update tidemark.deployments set held_for = :held_for where id = :id and held_for is distinct from :held_for;

-- name: approve
-- One more who approves; nobody twice.
update tidemark.deployments set approved_by = approved_by || :by::text, held_for = null
 where id = :id and not (:by = any (approved_by) and held_for is null);

-- name: rolled_back_by
-- Which deployment takes it back.
update tidemark.deployments set rolled_back_by = :by where id = :id;

-- name: targets
-- The targets of a deployment, in order.
select t.target, t.no, t.wave, t.state, t.key, t.intended_at, t.provider_id, t.previous, t.config_hash, t.serving, t.verified_at, t.promoted_at,
       t.released_at, t.gates, t.reason, t.updated_at, g.provider, g.is_frozen
  from tidemark.deployment_targets t join tidemark.targets g on g.name = t.target
 where t.deployment = :deployment order by t.no;

-- name: target
-- One target of a deployment.
select t.target, t.no, t.wave, t.state, t.key, t.intended_at, t.provider_id, t.previous, t.config_hash, t.serving, t.verified_at, t.promoted_at,
       t.released_at, t.gates, t.reason, t.updated_at, g.provider, g.is_frozen
  from tidemark.deployment_targets t join tidemark.targets g on g.name = t.target
 where t.deployment = :deployment and t.target = :target;

-- name: last_live
-- What the last live deployment at a target wanted there; a rollback wanted what was there before.
select d.id::text as deployment, case when d.kind = 'rollback' then t.previous ->> 'id' end as id,
       case when d.kind = 'rollback' then t.previous ->> 'commit' else d.commit end as commit,
       case when d.kind = 'rollback' then t.previous ->> 'artifact' else d.artifact end as artifact, d.gates, coalesce(t.intended_at, d.created_at) as since
  from tidemark.deployment_targets t join tidemark.deployments d on d.id = t.deployment
 where t.target = :target and d.status = 'live' order by d.created_at desc, d.id limit 1;

-- name: intend
-- The provider is about to be asked: from here on it may have been, whatever becomes of us. No row: it is written down already.
update tidemark.deployment_targets set intended_at = app_now(), updated_at = app_now()
 where deployment = :deployment and target = :target and intended_at is null
returning intended_at;

-- name: note
-- What has become known of a target; null leaves what stands there.
update tidemark.deployment_targets
   set state = coalesce(:state, state), provider_id = coalesce(:provider_id, provider_id), previous = coalesce(:previous::jsonb, previous),
       config_hash = coalesce(:config_hash, config_hash), serving = coalesce(:serving::jsonb, serving), gates = gates || coalesce(:gates::jsonb, '{}'),
       reason = coalesce(:reason, reason), updated_at = app_now()
 where deployment = :deployment and target = :target;

-- name: mark
-- A target has reached something: verified, promoted, or released for others.
update tidemark.deployment_targets
   set verified_at = case when :what = 'verified' then coalesce(verified_at, app_now()) else verified_at end,
       promoted_at = case when :what = 'promoted' then coalesce(promoted_at, app_now()) else promoted_at end,
       released_at = case when :what = 'released' then coalesce(released_at, app_now()) else released_at end,
       updated_at = app_now()
 where deployment = :deployment and target = :target;

-- name: release
-- Nothing more is done to the targets of a deployment: others may deploy to them.
update tidemark.deployment_targets set released_at = app_now(), updated_at = app_now() where deployment = :deployment and released_at is null;

-- name: acquire
-- Something more is done to the targets of a deployment.
update tidemark.deployment_targets set released_at = null, updated_at = app_now() where deployment = :deployment;

-- name: is_superseded
-- Whether one of its targets, or of those whose traffic it took, has been deployed to since, or has had its traffic taken, with success.
with touched as (
    select t.deployment, t.target from tidemark.deployment_targets t
    union
    select d.id, r.value from tidemark.deployments d, jsonb_each_text(coalesce(d.strategy -> 'replaces', '{}')) r
)
select exists (select from touched t
                 join touched n on n.target = t.target and n.deployment <> t.deployment
                 join tidemark.deployments d on d.id = t.deployment
                 join tidemark.deployments l on l.id = n.deployment and l.status = 'live' and l.kind = 'deploy' and l.created_at > d.created_at
                where t.deployment = :id);

-- name: now
-- What the database's clock says, and how long ago something was.
select app_now(), extract(epoch from app_now() - :since::timestamptz)::float8;

-- name: poll_seconds
-- How often a provider is asked how far it is.
select coalesce((select (value #>> '{}')::float8 from tidemark.settings where key = 'deploy.poll_seconds'), 5);

-- name: intend_again
-- The provider is asked once more: what it was asked before has not come to be seen. No row: somebody was faster.
update tidemark.deployment_targets set intended_at = app_now(), updated_at = app_now()
 where deployment = :deployment and target = :target and intended_at = :before and provider_id is null
returning intended_at;

-- name: freeze
-- The window in which nothing is deployed, if there is one now: its reason and end.
select w ->> 'reason', (w ->> 'to')::timestamptz
  from tidemark.settings s, jsonb_array_elements(case jsonb_typeof(s.value) when 'string' then (s.value #>> '{}')::jsonb else s.value end) w
 where s.key = 'deploy.freeze_windows' and app_now() >= (w ->> 'from')::timestamptz and app_now() < (w ->> 'to')::timestamptz
 limit 1;
