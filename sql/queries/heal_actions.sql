-- Heal actions: what was done about shards that failed. Insert-only; most are written with the failure itself.

-- name: add
-- Write down what was done, and why.
insert into tidemark.heal_actions (plan, stage, shard, piece, depth, action, reason)
values (:plan, :stage, :shard, :piece, :depth, :action, :reason);

-- name: of_plan
-- What was done about a plan, in order, after an action on.
select a.id, s.id as stage_id, a.shard, a.piece, a.depth, a.action, a.reason, a.at
  from tidemark.heal_actions a left join tidemark.stages s on s.plan = a.plan and s.no = a.stage
 where a.plan = :plan and a.id > :after
 order by a.id
 limit :limit;

-- name: counts
-- How often each was done about a plan.
select action, count(*) from tidemark.heal_actions where plan = :plan group by action order by action;
