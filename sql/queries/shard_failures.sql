-- Shards whose run failed; each has a life of its own from then on.

-- name: add
-- Write down failures of a chunk: [{shard, code, message, is_final, wait}].
insert into tidemark.shard_failures (plan, stage, shard, status, code, message, ready_at)
select :plan, :stage, f.shard, case when f.is_final then 'dead' else 'retry' end, f.code, f.message, app_now() + make_interval(secs => f.wait)
  from jsonb_to_recordset(:failures::jsonb) as f (shard bigint, code text, message text, is_final boolean, wait float8)
 order by f.shard
on conflict (plan, stage, shard) do nothing;

-- name: take
-- Take a failed shard whose time has come, under the same permits as lanes. One whose worker died has spent that attempt.
with permits as materialized (
    select plan, kind from tidemark.permits
), candidate as (
    select f.plan, f.stage, f.shard
      from tidemark.shard_failures f
      join tidemark.stages s on s.plan = f.plan and s.no = f.stage
      join tidemark.plans p on p.id = f.plan
     where f.status = 'retry' and f.ready_at <= app_now() and (f.leased_until is null or f.leased_until < app_now())
       and p.status = 'running' and p.deadline_at > app_now() and s.status = 'open'
       and (:kinds = '[]' or s.kind in (select jsonb_array_elements_text(:kinds::jsonb)))
       and (select count(*) from permits x where x.plan = p.id) < p.max_concurrency
       and (select count(*) from permits x where x.kind = s.kind)
           < coalesce((select (g.value ->> s.kind)::bigint from tidemark.settings g where g.key = 'plans.concurrency'), 2147483647)
     order by p.priority, f.ready_at, f.plan, f.stage, f.shard
     limit 1
       for update of f skip locked
)
update tidemark.shard_failures f
   set token = nextval('tidemark.token'), leased_until = app_now() + :lease, heal_depth = f.heal_depth + 1,
       attempts = f.attempts + (f.leased_until is not null)::integer
  from candidate c
 where f.plan = c.plan and f.stage = c.stage and f.shard = c.shard
returning f.plan::text, f.stage, f.shard, f.token, f.attempts, f.heal_depth;

-- name: beat
-- Keep the lease on a failed shard. No row: it was lost, or the plan does not run.
update tidemark.shard_failures f set leased_until = app_now() + :lease
  from tidemark.plans p
 where f.plan = :plan and f.stage = :stage and f.shard = :shard and f.token = :token and f.leased_until is not null
   and p.id = f.plan and p.status = 'running'
returning f.shard;

-- name: hold
-- Lock a failed shard that is ours, before its stage and its plan. No row: it was lost.
select shard from tidemark.shard_failures
 where plan = :plan and stage = :stage and shard = :shard and token = :token and leased_until is not null
   for update;

-- name: lock
-- Lock every failed shard of a plan, in order: after its lanes, before its stages and the plan itself.
select shard from tidemark.shard_failures where plan = :plan and status <> 'healed' order by stage, shard for update;

-- name: heal
-- The shard went well after all. No row: it was lost to another worker.
update tidemark.shard_failures
   set status = 'healed', digest = decode(:digest, 'hex'), leased_until = null
 where plan = :plan and stage = :stage and shard = :shard and token = :token and leased_until is not null
returning shard;

-- name: fail
-- It failed again: another attempt after a wait, or dead when its attempts or the plan's retry budget are spent.
with budget as (
    update tidemark.plans set retries = retries + 1 where id = :plan returning retries > retry_budget as is_spent
)
update tidemark.shard_failures f
   set attempts = f.attempts + 1, code = :code, message = :message, leased_until = null, ready_at = app_now() + :wait, failed_at = app_now(),
       status = case when :final or f.attempts + 1 >= :most or b.is_spent then 'dead' else 'retry' end
  from budget b
 where f.plan = :plan and f.stage = :stage and f.shard = :shard and f.token = :token and f.leased_until is not null
returning f.status;

-- name: give_back
-- The source was in trouble, not the shard: no attempt is spent.
update tidemark.shard_failures
   set leased_until = null, ready_at = app_now() + :wait, heal_depth = heal_depth - 1
 where plan = :plan and stage = :stage and shard = :shard and token = :token and leased_until is not null;

-- name: counts
-- How many failed shards of a stage wait for another attempt, and how many are dead.
select count(*) filter (where status = 'retry'), count(*) filter (where status = 'dead')
  from tidemark.shard_failures where plan = :plan and stage = :stage and status <> 'healed';

-- name: revive
-- Give every dead shard of a plan another life.
update tidemark.shard_failures
   set status = 'retry', attempts = 0, ready_at = app_now(), token = nextval('tidemark.token'), leased_until = null
 where plan = :plan and status = 'dead';

-- name: revoke
-- Take failed shards from whoever is at them.
update tidemark.shard_failures set token = nextval('tidemark.token'), leased_until = null where plan = :plan and leased_until is not null;

-- name: all
-- The failures of a plan, worst first.
select s.id, f.shard, f.status, f.attempts, f.heal_depth, f.code, f.message, f.failed_at
  from tidemark.shard_failures f join tidemark.stages s on s.plan = f.plan and s.no = f.stage
 where f.plan = :plan
 order by f.status = 'healed', f.stage, f.shard
 limit :limit;
