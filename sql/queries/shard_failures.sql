-- Shards whose run failed; each has a life of its own from then on.

-- name: add
-- Write down failures of a chunk, and what is done about each: [{shard, code, message, remedy, attempts, wait}]. A split is told of when it is made.
with added as (
    insert into tidemark.shard_failures (plan, stage, shard, status, action, attempts, code, message, ready_at)
    select :plan, :stage, f.shard, case when f.remedy = 'quarantine' then 'dead' else 'retry' end, case when f.remedy = 'split' then 'split' else 'retry' end,
           f.attempts, f.code, f.message, app_now() + make_interval(secs => f.wait)
      from jsonb_to_recordset(:failures::jsonb) as f (shard bigint, code text, message text, remedy text, attempts integer, wait float8)
     order by f.shard
    on conflict (plan, stage, shard) do nothing
    returning shard, status, action, code, message
)
insert into tidemark.heal_actions (plan, stage, shard, action, reason)
select :plan, :stage, a.shard, case when a.status = 'dead' then 'quarantine' else 'retry' end, left(a.code || ': ' || a.message, 500)
  from added a where a.action = 'retry' order by a.shard;

-- name: take
-- Take a failed shard whose time has come, under the same permits as lanes. One whose worker died has spent that attempt.
with permits as materialized (
    select plan, kind from tidemark.permits
), candidate as (
    select f.plan, f.stage, f.shard, f.leased_until is not null as has_lapsed
      from tidemark.shard_failures f
      join tidemark.stages s on s.plan = f.plan and s.no = f.stage
      join tidemark.plans p on p.id = f.plan
     where f.status = 'retry' and f.ready_at <= app_now() and (f.leased_until is null or f.leased_until < app_now())
       and p.status = 'running' and p.deadline_at > app_now() and s.status = 'open'
       and (:kinds = '[]' or s.kind in (select jsonb_array_elements_text(:kinds::jsonb)))
       and (select count(*) from permits x where x.plan = p.id) < p.max_concurrency
       and (select count(*) from permits x where x.kind = s.kind)
           < least(coalesce((select (g.value ->> s.kind)::bigint from tidemark.settings g where g.key = 'plans.concurrency'), 2147483647),
                   (select tidemark.room(c.most, tidemark.urgency(p.priority, app_now() - f.ready_at)) from tidemark.concurrency c where c.kind = s.kind and :adaptive))
     order by tidemark.urgency(p.priority, app_now() - f.ready_at), f.ready_at, f.plan, f.stage, f.shard
     limit 1
       for update of f skip locked
)
update tidemark.shard_failures f
   set token = nextval('tidemark.token'), leased_until = app_now() + :lease, attempts = f.attempts + c.has_lapsed::integer,
       heal_depth = f.heal_depth + (f.action = 'retry')::integer
  from candidate c
 where f.plan = c.plan and f.stage = c.stage and f.shard = c.shard
returning f.plan::text, f.stage, f.shard, f.token, f.attempts, f.heal_depth, f.action, f.level, f.parent, coalesce(f.origin, f.shard), f.piece;

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
with healed as (
    update tidemark.shard_failures
       set status = 'healed', digest = decode(:digest, 'hex'), leased_until = null
     where plan = :plan and stage = :stage and shard = :shard and token = :token and leased_until is not null
    returning plan, stage, shard, origin, heal_depth, level, attempts
)
insert into tidemark.heal_actions (plan, stage, shard, piece, depth, action, reason)
select h.plan, h.stage, coalesce(h.origin, h.shard), case when h.origin is not null then -h.shard end, h.heal_depth + h.level, 'healed',
       'it went well at attempt ' || h.attempts + 1
  from healed h;

-- name: fail
-- It failed again: what is to be done about it now; dead when that is quarantine, or the plan's retry budget is spent.
with budget as (
    update tidemark.plans set retries = retries + 1 where id = :plan returning retries > retry_budget as is_spent
), failed as (
    update tidemark.shard_failures f
       set attempts = f.attempts + 1, code = :code, message = :message, leased_until = null, ready_at = app_now() + :wait, failed_at = app_now(),
           status = case when :remedy = 'quarantine' or b.is_spent then 'dead' else 'retry' end, action = case when :remedy = 'split' then 'split' else 'retry' end
      from budget b
     where f.plan = :plan and f.stage = :stage and f.shard = :shard and f.token = :token and f.leased_until is not null
    returning f.*, b.is_spent
), told as (
    insert into tidemark.heal_actions (plan, stage, shard, piece, depth, action, reason)
    select f.plan, f.stage, coalesce(f.origin, f.shard), case when f.origin is not null then -f.shard end, f.heal_depth + f.level,
           case when f.status = 'dead' then 'quarantine' else 'retry' end,
           left(case when f.is_spent then 'the retry budget of the plan is spent; ' else '' end || f.code || ': ' || f.message, 500)
      from failed f where f.status = 'dead' or f.action = 'retry'
)
select f.status from failed f;

-- name: give_back
-- The source was in trouble, not the shard: no attempt is spent.
update tidemark.shard_failures
   set leased_until = null, ready_at = app_now() + :wait, heal_depth = heal_depth - (action = 'retry')::integer
 where plan = :plan and stage = :stage and shard = :shard and token = :token and leased_until is not null;

-- name: counts
-- How many failed shards of a stage wait for another attempt, how many are dead, and how many of both were merely slow.
select count(*) filter (where status = 'retry'), count(*) filter (where status = 'dead'), count(*) filter (where code = 'slow')
  from tidemark.shard_failures where plan = :plan and stage = :stage and status <> 'healed' and shard >= 0;

-- name: split
-- The shard is done in pieces from now on, [document, ...], numbered downwards from :first. No row: it was lost.
with was as (
    update tidemark.shard_failures f
       set pieces = jsonb_array_length(:pieces::jsonb), action = 'retry', leased_until = null, ready_at = 'infinity', token = nextval('tidemark.token')
     where f.plan = :plan and f.stage = :stage and f.shard = :shard and f.token = :token and f.leased_until is not null
    returning f.*
), added as (
    insert into tidemark.shard_failures (plan, stage, shard, status, attempts, heal_depth, code, message, ready_at, parent, origin, piece, level)
    select w.plan, w.stage, :first - (p.n - 1), 'retry', 0, -1, w.code, w.message, app_now(), w.shard, coalesce(w.origin, w.shard), p.piece, w.level + 1
      from was w, jsonb_array_elements(:pieces::jsonb) with ordinality p (piece, n)
)
insert into tidemark.heal_actions (plan, stage, shard, piece, depth, action, reason)
select w.plan, w.stage, coalesce(w.origin, w.shard), case when w.origin is not null then -w.shard end, w.heal_depth + w.level, 'split',
       left('into ' || w.pieces || ' pieces; ' || w.code || ': ' || w.message, 500)
  from was w;

-- name: lock_parent
-- What a piece is a piece of, locked.
select shard, parent, origin, heal_depth + level from tidemark.shard_failures where plan = :plan and stage = :stage and shard = :shard for update;

-- name: gathered
-- What became of the pieces of a shard, with their digests in order.
select count(*) filter (where status = 'retry'), count(*) filter (where status = 'dead'), string_agg(digest, '' order by shard desc)
  from tidemark.shard_failures where plan = :plan and stage = :stage and parent = :parent;

-- name: end_parent
-- All pieces of a shard have ended, and so has the shard: well, if there is a digest.
update tidemark.shard_failures
   set status = case when :digest::text is null then 'dead' else 'healed' end, digest = decode(:digest, 'hex'), failed_at = app_now(),
       code = case when :digest::text is null then 'piece-failed' else code end, message = case when :digest::text is null then :message else message end
 where plan = :plan and stage = :stage and shard = :shard;

-- name: revive
-- Give every dead shard of a plan another life.
update tidemark.shard_failures
   set status = 'retry', action = 'retry', attempts = 0, ready_at = case when pieces is null then app_now() else 'infinity' end,
       token = nextval('tidemark.token'), leased_until = null
 where plan = :plan and status = 'dead';

-- name: revoke
-- Take failed shards from whoever is at them.
update tidemark.shard_failures set token = nextval('tidemark.token'), leased_until = null
 where plan = :plan and leased_until is not null and (:stage::integer is null or stage = :stage);

-- name: all
-- The failures of a plan, worst first.
select s.id, coalesce(f.origin, f.shard), case when f.origin is not null then -f.shard end, f.status, f.attempts, f.heal_depth, f.code, f.message, f.failed_at
  from tidemark.shard_failures f join tidemark.stages s on s.plan = f.plan and s.no = f.stage
 where f.plan = :plan
 order by f.status = 'healed', f.stage, f.shard
 limit :limit;
