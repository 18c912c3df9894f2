-- Leaves of the tree of results, chunk by chunk, for those who look at them again.

-- name: head
-- What the tree of a plan is made with, and its stages.
select p.id::text as plan, p.name, p.status as plan_status, p.hash, p.seed, p.root as plan_root, p.finished_at, s.no, s.id, s.kind, s.config, s.status, s.released, s.root
  from tidemark.plans p join tidemark.stages s on s.plan = p.id
 where p.id = :plan order by s.no;

-- name: page
-- Chunks of a stage from a shard on, as many as have so many shards together, one at least.
select l.lo, l.hi, l.digests, l.peaks, l.parity, h.peaks as tree_peaks, h.parity as tree_parity,
       exists (select from tidemark.shard_failures f
                where f.plan = l.plan and f.stage = l.stage and f.shard >= l.lo and f.shard < l.hi and f.status = 'healed')
  from (select lo as at, sum(hi - lo) over (order by lo) - (hi - lo) as before
          from (select lo, hi from tidemark.leaves where plan = :plan and stage = :stage and lo >= :lo order by lo limit 2000) n) c
  join tidemark.leaves l on l.plan = :plan and l.stage = :stage and l.lo = c.at
  left join tidemark.healed_chunks h on h.plan = l.plan and h.stage = l.stage and h.lo = l.lo
 where c.before < :shards
 order by l.lo;

-- name: nodes
-- The nodes over the chunks of a stage from a shard on, as they were written; those of healed ones as the tree has them.
select l.lo, l.hi, coalesce(h.peaks, l.peaks)
  from tidemark.leaves l
  left join tidemark.healed_chunks h on h.plan = l.plan and h.stage = l.stage and h.lo = l.lo
 where l.plan = :plan and l.stage = :stage and l.lo >= :lo
 order by l.lo
 limit :limit;

-- name: holding
-- Where the chunk begins that holds a shard.
select max(lo) from tidemark.leaves where plan = :plan and stage = :stage and lo <= :shard;

-- name: size
-- How many shards of a stage stand in the tree, if nothing is missing between them.
select coalesce(max(hi), 0) from tidemark.leaves where plan = :plan and stage = :stage;

-- name: keep_healed
-- What the tree holds of a chunk in which failed shards went well later.
insert into tidemark.healed_chunks (plan, stage, lo, peaks, parity) values (:plan, :stage, :lo, :peaks, :parity)
on conflict (plan, stage, lo) do update set peaks = excluded.peaks, parity = excluded.parity;

-- name: counts
-- How many shards a plan has leaves of, and what became of those that failed.
select (select coalesce(sum(hi - lo), 0)::bigint from tidemark.leaves where plan = :plan) as recorded,
       (select coalesce(sum(released), 0)::bigint from tidemark.stages where plan = :plan) as expected,
       count(*) filter (where status = 'healed') as healed, count(*) filter (where is_quarantined) as quarantined,
       count(*) filter (where status <> 'healed' and not is_quarantined) as failed
  from (select f.status, f.status = 'dead' and exists (select from tidemark.heal_actions a
                           where a.plan = f.plan and a.stage = f.stage and a.shard = f.shard and a.action = 'quarantine') as is_quarantined
          from tidemark.shard_failures f where f.plan = :plan and f.shard >= 0) f;
