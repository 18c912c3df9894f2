-- Parts: what each shard of a stage works on, what undoing it needs to know, and what came of it.

-- name: forget
-- The parts of a stage that opens again are found anew.
delete from tidemark.parts where plan = :plan and stage = :stage;

-- name: put
-- The parts of a stage, in order.
insert into tidemark.parts (plan, stage, shard, part, weight, grouped)
select :plan, :stage, p.no - 1, p.part -> 0, (p.part ->> 1)::bigint, p.part ->> 2
  from jsonb_array_elements(:parts::jsonb) with ordinality as p (part, no);

-- name: of
-- The parts of some shards, in order.
select shard, part, kept, output from tidemark.parts
 where plan = :plan and stage = :stage and shard >= :lo and shard < :hi order by shard;

-- name: units
-- What schedulers know of the parts of a stage.
select weight, grouped from tidemark.parts where plan = :plan and stage = :stage order by shard;

-- name: renumber
-- The parts in another order: the first number of the list becomes shard 0, and so on.
update tidemark.parts p set shard = n.no - 1
  from jsonb_array_elements_text(:numbers::jsonb) with ordinality as n (shard, no)
 where p.plan = :plan and p.stage = :stage and p.shard = n.shard::bigint;

-- name: intend
-- What undoing a part will need to know: the first who says so is right, since whoever comes later sees what the first has done.
update tidemark.parts set kept = coalesce(kept, :kept::jsonb)
 where plan = :plan and stage = :stage and shard = :shard
returning kept;

-- name: keep
-- What came of parts.
update tidemark.parts p set output = o.output
  from jsonb_to_recordset(:outputs::jsonb) as o (shard bigint, output jsonb)
 where p.plan = :plan and p.stage = :stage and p.shard = o.shard;

-- name: lock
-- A part that is done at most once: locked, with what came of it.
select shard, part, kept, output from tidemark.parts where plan = :plan and stage = :stage and shard = :shard for update;

-- name: copy
-- The parts of a stage of the plan that this one takes back, with what came of them.
insert into tidemark.parts (plan, stage, shard, part, weight, grouped, kept, output)
select :plan, :stage, p.shard, p.part || jsonb_build_object('of', jsonb_build_array(p.plan, p.stage)), p.weight, p.grouped, p.kept, p.output
  from tidemark.parts p join tidemark.stages s on s.plan = p.plan and s.no = p.stage
 where s.plan = :undoes and s.id = :id;

-- name: count
-- How many parts a stage has.
select count(*) from tidemark.parts where plan = :plan and stage = :stage;

-- name: below
-- Of the shards before one: how many are not done, and how many of those have failed for good.
select count(*) filter (where p.output is null), count(*) filter (where f.status = 'dead')
  from tidemark.parts p
  left join tidemark.shard_failures f on f.plan = p.plan and f.stage = p.stage and f.shard = p.shard
 where p.plan = :plan and p.stage = :stage and p.shard < :shard;

-- name: conclude
-- What a whole stage came to.
insert into tidemark.stage_results (plan, stage, kind, name, digest, document)
values (:plan, :stage, :kind, :name, :digest, :document::jsonb)
on conflict (plan, stage) do nothing;

-- name: unconclude
-- A stage is taken back.
delete from tidemark.stage_results where plan = :plan and stage = :stage;

-- name: by_digest
-- The newest result of a kind with this digest.
select plan::text, stage, name, digest, document, made_at, made_at > app_now() - interval '1 day' from tidemark.stage_results
 where kind = :kind and digest = :digest order by made_at desc limit 1;

-- name: by_name
-- The newest results of a kind with this name.
select plan::text, stage, name, digest, document, made_at, made_at > app_now() - interval '1 day' from tidemark.stage_results
 where kind = :kind and name = :name order by made_at desc, plan limit :limit;

-- name: results
-- What the stages of a plan came to.
select stage, kind, name, digest, document, made_at from tidemark.stage_results where plan = :plan order by stage;

-- name: outputs
-- What the shards of a plan say, in order, from one on.
select p.stage, s.id, p.shard, p.output
  from tidemark.parts p join tidemark.stages s on s.plan = p.plan and s.no = p.stage
 where p.plan = :plan and p.output is not null and (p.stage, p.shard) > (:stage, :shard)
 order by p.stage, p.shard
 limit :limit;
