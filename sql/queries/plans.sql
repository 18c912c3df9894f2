-- Plans and their stages. Locks are taken in the order lanes, stage, plan.

-- name: add
-- A new plan; no row when its idempotency key is taken.
insert into tidemark.plans (id, name, priority, definition, max_concurrency, shard_timeout, retry_budget, hash, seed, undoes, idempotency_key,
       request_hash, submitted_by, deadline_at)
values (coalesce(:id::uuid, gen_random_uuid()), :name, :priority, :definition::jsonb, :max_concurrency, :shard_timeout, :retry_budget, :hash, :seed, :undoes, :idempotency_key,
       :request_hash, :submitted_by, app_now() + :timebox)
on conflict (idempotency_key) do nothing
returning id::text;

-- name: add_stages
-- The stages of a plan, in order.
insert into tidemark.stages (plan, no, id, kind, config, needs, concurrency, slo, timebox, shards, waves, ranges, scheduler)
select :plan, s.no, s.id, s.kind, s.config, array(select jsonb_array_elements_text(s.needs)::integer), s.concurrency,
       make_interval(secs => s.slo_seconds), make_interval(secs => s.timebox_seconds), s.shards,
       case when s.waves is not null then array(select jsonb_array_elements_text(s.waves)::integer) end, s.ranges, s.scheduler
  from jsonb_to_recordset(:stages::jsonb) as s (no integer, id text, kind text, config jsonb, needs jsonb, concurrency integer,
       slo_seconds float8, timebox_seconds float8, shards bigint, waves jsonb, ranges jsonb, scheduler text);

-- name: by_key
-- The plan that was submitted under an idempotency key.
select id::text, request_hash from tidemark.plans where idempotency_key = :key;

-- name: openable
-- Stages that wait for nothing any more. The caller has locked the plan.
select s.no, s.id, s.kind, s.config, s.shards, s.concurrency, s.waves, s.ranges, s.scheduler
  from tidemark.stages s
 where s.plan = :plan and s.status = 'waiting'
   and not exists (select from tidemark.stages n where n.plan = s.plan and n.no = any (s.needs) and n.status <> 'succeeded')
 order by s.no;

-- name: open
-- A stage is open, with its first shards released.
update tidemark.stages
   set status = 'open', opened_at = coalesce(opened_at, app_now()), deadline_at = app_now() + timebox, shards = :shards, released = :released,
       is_open_ended = :is_open_ended, last = null
 where plan = :plan and no = :no;

-- name: release
-- The next wave of a stage may begin.
update tidemark.stages set released = :released where plan = :plan and no = :no;

-- name: lock_stage
-- A stage, locked, as long as it is open.
select s.no, s.id, s.kind, s.config, s.shards, s.concurrency, s.waves, s.released, s.is_open_ended and s.last is null as goes_on,
       s.deadline_at is not null and s.deadline_at <= app_now() as is_overdue, extract(epoch from s.timebox)::float8 as timebox_seconds
  from tidemark.stages s
 where s.plan = :plan and s.no = :no and s.status = 'open'
   for no key update;

-- name: lock_open
-- The open stages of a plan, locked in order. Those that wait are opened by whoever has locked the plan, and by nobody else.
select no from tidemark.stages where plan = :plan and status = 'open' order by no for no key update;

-- name: goes_on
-- Open-ended: a shard that failed, and said there was nothing beyond it, went well and says that there is.
update tidemark.stages set last = null, has_more = true where plan = :plan and no = :no and is_open_ended and last <= :shard;

-- name: is_worked_on
-- Whether shards of a stage are yet to be done.
select exists (select from tidemark.lanes where plan = :plan and stage = :no and done < hi);

-- name: end_stage
-- A stage is over.
update tidemark.stages
   set status = case when :ok then 'succeeded' else 'failed' end, reason = :reason, shards = coalesce(shards, released), finished_at = app_now(),
       unreported = (select coalesce(sum(l.hi - l.done), 0) from tidemark.lanes l where l.plan = :plan and l.stage = :no)
 where plan = :plan and no = :no;

-- name: learn
-- How many shards make a chunk of about a second, and how long they took in the last ones.
update tidemark.stages
   set chunk = :chunk,
       took = (select coalesce(jsonb_agg(t.seconds order by t.n), '[]')
                 from (select u.seconds, u.n from jsonb_array_elements(:took::jsonb || took) with ordinality u (seconds, n) order by u.n limit :kept) t)
 where plan = :plan and no = :no;

-- name: add_pieces
-- Count new pieces of split shards; no row when the plan would have more shards than it may. The caller has locked the plan.
update tidemark.stages s set pieces = s.pieces + :count
  from tidemark.plans p
 where s.plan = :plan and s.no = :no and p.id = s.plan
   and (select sum(coalesce(x.shards, x.released) + x.pieces) from tidemark.stages x where x.plan = :plan) + :count
       <= least(:most, coalesce((p.definition #>> '{constraints,max_shards}')::bigint, :most))
returning s.pieces - :count;

-- name: overdue_stages
-- Open stages whose time limit is over.
select s.plan::text, s.no
  from tidemark.stages s join tidemark.plans p on p.id = s.plan
 where s.status = 'open' and s.deadline_at <= app_now() and p.finished_at is null
 order by s.deadline_at, s.plan, s.no
 limit :limit;

-- name: lock
-- A plan, locked.
select id::text, name, status, definition, undoes::text, (select count(*) from tidemark.stages s where s.plan = p.id and s.status = 'open'),
       (select count(*) from tidemark.stages s where s.plan = p.id and s.status = 'failed'),
       (select count(*) from tidemark.stages s where s.plan = p.id and s.status = 'waiting'),
       (select string_agg(s.reason, '; ' order by s.no) from tidemark.stages s where s.plan = p.id and s.status = 'failed')
  from tidemark.plans p where id = :plan for no key update;

-- name: work
-- What a worker needs to know of a stage.
select s.id, s.kind, s.config, s.shards, s.is_open_ended, s.chunk, p.hash, p.shard_timeout, p.undoes is not null, s.took,
       extract(epoch from s.deadline_at - app_now())::float8
  from tidemark.stages s join tidemark.plans p on p.id = s.plan
 where s.plan = :plan and s.no = :no;

-- name: set_status
-- A plan stands elsewhere now, and why.
update tidemark.plans
   set status = :status, reason = :reason,
       finished_at = case when :status in ('cancelled', 'aborted', 'failed', 'succeeded') then coalesce(finished_at, app_now()) end,
       deadline_at = case when :timebox::interval is null then deadline_at else app_now() + :timebox end,
       root = case when :status = 'running' then null else root end
 where id = :plan;

-- name: reopen
-- Stages that failed are open again: what failed in them is tried once more.
update tidemark.stages
   set status = 'open', finished_at = null, root = null, reason = null, unreported = 0, deadline_at = app_now() + timebox,
       shards = case when is_open_ended then null else shards end
 where plan = :plan and status = 'failed';

-- name: overdue
-- Plans whose timebox is over.
select id::text from tidemark.plans where finished_at is null and deadline_at <= app_now() order by id limit :limit;

-- name: is_overdue
-- Whether the timebox of a plan is over, and the plan is not.
select exists (select from tidemark.plans where id = :plan and finished_at is null and deadline_at <= app_now());

-- name: stranded
-- Open stages in which nobody has anything left to do: whoever was to end them died before.
select s.plan::text, s.no
  from tidemark.stages s join tidemark.plans p on p.id = s.plan
 where p.finished_at is null and p.status = 'running' and s.status = 'open' and not (s.is_open_ended and s.last is null)
   and not exists (select from tidemark.lanes l where l.plan = s.plan and l.stage = s.no and l.done < l.hi)
   and not exists (select from tidemark.shard_failures f where f.plan = s.plan and f.stage = s.no and f.status = 'retry')
 limit :limit;

-- name: slow
-- Open stages that have taken longer than they should.
select s.plan::text, p.name, s.id, extract(epoch from app_now() - s.opened_at)::float8, extract(epoch from s.slo)::float8
  from tidemark.stages s join tidemark.plans p on p.id = s.plan
 where p.finished_at is null and s.status = 'open' and s.opened_at + s.slo < app_now()
 order by s.opened_at
 limit :limit;

-- name: record
-- What became of a chunk.
insert into tidemark.leaves (plan, stage, lo, hi, digests, peaks, parity) values (:plan, :stage, :lo, :hi, :digests, :peaks, :parity);

-- name: unsealed
-- Plans that are over and whose tree of results has no root yet.
select id::text from tidemark.plans where finished_at is not null and root is null order by finished_at limit :limit;

-- name: sealed_stages
-- The stages of a plan that is over, with the hash their trees are made with.
select s.no, s.released, p.hash, p.seed, p.finished_at from tidemark.stages s join tidemark.plans p on p.id = s.plan
 where p.id = :plan and p.finished_at is not null order by s.no;

-- name: chunks
-- The chunks of a stage in shard order, from a shard on; with their leaves where a failed shard went well later.
select l.lo, l.hi, l.peaks, case when h.shard is not null then l.digests end
  from tidemark.leaves l
  left join lateral (select f.shard from tidemark.shard_failures f
                      where f.plan = l.plan and f.stage = l.stage and f.shard >= l.lo and f.shard < l.hi and f.status = 'healed' limit 1) h on true
 where l.plan = :plan and l.stage = :stage and l.lo >= :lo
 order by l.lo
 limit :limit;

-- name: healed
-- The digests of shards that went well later.
select shard, digest from tidemark.shard_failures
 where plan = :plan and stage = :stage and shard >= :lo and shard < :hi and status = 'healed' order by shard;

-- name: seal_stage
-- The root over a stage.
update tidemark.stages set root = :root where plan = :plan and no = :no;

-- name: seal
-- The root over a plan, unless somebody has tried its failures again since it was computed.
update tidemark.plans set root = :root where id = :plan and finished_at = :finished_at;

-- name: progress
-- How far the stages of plans have come, from their lanes; of the newest plans, or of one.
select p.id::text as plan, p.name, p.status as plan_status, p.priority, p.reason, p.submitted_by, p.submitted_at, p.deadline_at,
       p.finished_at as plan_finished_at, p.hash, p.seed,
       encode(p.root, 'hex'), p.retries, p.retry_budget, p.undoes::text, s.no, s.id, s.kind, s.status, s.shards, s.is_open_ended, s.released, s.opened_at, s.finished_at,
       s.chunk, s.slo, s.config, encode(s.root, 'hex'), l.lanes, l.held, l.running, case when s.status = 'open' then l.left else s.unreported end, f.retry, f.dead, f.healed, f.split, s.pieces, s.reason as stage_reason, s.deadline_at as stage_deadline_at, array(select n.id from tidemark.stages n where n.plan = s.plan and n.no = any (s.needs)), app_now()
  from (select * from tidemark.plans
         where (:plan::uuid is null or id = :plan) and (not :unfinished or finished_at is null)
         order by submitted_at desc limit :limit) p
  join tidemark.stages s on s.plan = p.id
  cross join lateral (
       select count(*) as lanes, count(*) filter (where leased_until >= app_now()) as held,
              coalesce(sum(busy - done) filter (where leased_until >= app_now()), 0)::bigint as running, coalesce(sum(hi - done), 0)::bigint as left
         from tidemark.lanes where plan = s.plan and stage = s.no) l
  cross join lateral (
       select count(*) filter (where status = 'retry') as retry, count(*) filter (where status = 'dead') as dead, count(*) filter (where status = 'healed') as healed,
              count(*) filter (where status = 'retry' and (pieces is not null or code = 'slow')) as split
         from tidemark.shard_failures where plan = s.plan and stage = s.no and shard >= 0) f
 order by p.submitted_at desc, p.id, s.no;

-- name: definition
-- What was submitted, and under which name and priority.
select name, priority, definition, status, undoes::text from tidemark.plans where id = :plan;

-- name: is_taken_back
-- Whether another plan takes back what this one did, or has done so.
select exists (select from tidemark.plans where undoes = :plan and status not in ('cancelled', 'aborted', 'failed'));

-- name: is_superseded
-- Whether a later plan of the same name has succeeded.
select exists (select from tidemark.plans n join tidemark.plans p on p.id = :plan
                where n.name = p.name and n.status = 'succeeded' and n.submitted_at > p.submitted_at and n.id <> p.id);

-- name: adrift
-- Running plans none of whose stages is open: whoever was to open the next one, or to end the plan, died before.
select p.id::text from tidemark.plans p
 where p.finished_at is null and p.status = 'running' and p.deadline_at > app_now()
   and not exists (select from tidemark.stages s where s.plan = p.id and s.status = 'open')
 order by p.id
 limit :limit;

-- name: laneless
-- Open-ended stages that go on, without a lane to ask for the next shard.
select s.plan::text, s.no
  from tidemark.stages s join tidemark.plans p on p.id = s.plan
 where p.finished_at is null and p.status = 'running' and s.status = 'open' and s.is_open_ended and s.last is null
   and not exists (select from tidemark.lanes l where l.plan = s.plan and l.stage = s.no)
   and not exists (select from tidemark.shard_failures f where f.plan = s.plan and f.stage = s.no and f.status = 'retry')
 limit :limit;

-- name: stuck
-- Running plans in which something is ready to be worked on and has been for so long, but nobody comes.
select p.id::text, p.name, min(s.kind), extract(epoch from app_now() - max(w.since))::float8
  from tidemark.plans p
  join tidemark.stages s on s.plan = p.id and s.status = 'open'
 cross join lateral (
       select greatest(s.opened_at, max(l.served_at), max(l.ready_at)) as since, coalesce(bool_or(l.leased_until >= app_now()), false) as is_held
         from tidemark.lanes l where l.plan = s.plan and l.stage = s.no and (l.done < l.hi or s.is_open_ended)
       union all
       select max(greatest(f.ready_at, f.failed_at)), coalesce(bool_or(f.leased_until >= app_now()), false)
         from tidemark.shard_failures f where f.plan = s.plan and f.stage = s.no and f.status = 'retry' and f.pieces is null) w
 where p.finished_at is null and p.status = 'running' and p.deadline_at > app_now()
 group by p.id, p.name
having not bool_or(w.is_held) and max(w.since) < app_now() - :age::interval
 order by p.id
 limit :limit;

-- name: are_watched
-- Whether any plan is not over, or an alert says so of one that is.
select exists (select from tidemark.plans where finished_at is null)
    or exists (select from public.tds_alerts where alert_type = 'stage_over_slo' and not resolved);
