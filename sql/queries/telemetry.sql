-- Telemetry: where shards are, as far as lanes, failures and leaves tell.

-- name: lanes
-- The lanes of a plan, and whether somebody is at each.
select stage, done, busy, hi, coalesce(leased_until >= app_now(), false) as is_held from tidemark.lanes where plan = :plan and done < hi order by stage, done;

-- name: marks
-- Cells of :scale shards in which one failed, and how that stands: 1 healed, 4 to be tried again, 5 in quarantine; the worst of a cell.
select f.shard / :scale::bigint as cell, max(case f.status when 'healed' then 1 when 'dead' then 5 else 4 end) as state
  from tidemark.shard_failures f
 where f.plan = :plan and f.stage = :stage and f.shard >= 0 and (f.status <> 'retry' or (f.pieces is null and f.code <> 'slow'))
 group by 1;

-- name: in_pieces
-- Cells of :scale shards in which one is done in pieces, and did not fail yet.
select distinct f.shard / :scale::bigint as cell
  from tidemark.shard_failures f
 where f.plan = :plan and f.stage = :stage and f.shard >= 0 and f.status = 'retry' and (f.pieces is not null or f.code = 'slow');

-- name: gaps
-- What nobody reported of the released shards of a stage that is over.
select g.lo, g.hi
  from (select coalesce(lag(c.hi) over (order by c.lo, c.hi), 0) as lo, c.lo as hi
          from (select lo, hi from tidemark.leaves where plan = :plan and stage = :stage
                union all
                select s.released, s.released from tidemark.stages s where s.plan = :plan and s.no = :stage) c) g
 where g.lo < g.hi
 order by g.lo;

-- name: stuck
-- What stands still of running plans: lanes and failed shards whose worker died, and those that have been ready for :age and nobody takes.
select p.id::text as plan, p.name, s.id as stage, s.kind, w.lo, w.hi, w.why, w.lapses, extract(epoch from app_now() - w.since)::float8 as seconds
  from tidemark.plans p
  join tidemark.stages s on s.plan = p.id and s.status = 'open'
 cross join lateral (
       select l.done as lo, case when l.leased_until is null then l.hi else l.busy end as hi, case when l.leased_until is null then 'nobody comes' else 'its worker died' end as why,
              l.lapses, coalesce(l.leased_until, greatest(l.served_at, l.ready_at, s.opened_at)) as since
         from tidemark.lanes l
        where l.plan = s.plan and l.stage = s.no and l.done < l.hi
          and (l.leased_until < app_now() or (l.leased_until is null and greatest(l.served_at, l.ready_at, s.opened_at) < app_now() - :age::interval))
       union all
       select coalesce(f.origin, f.shard), coalesce(f.origin, f.shard) + 1, case when f.leased_until is null then 'nobody comes' else 'its worker died' end,
              f.attempts, coalesce(f.leased_until, f.ready_at)
         from tidemark.shard_failures f
        where f.plan = s.plan and f.stage = s.no and f.status = 'retry' and f.pieces is null
          and (f.leased_until < app_now() or (f.leased_until is null and f.ready_at < app_now() - :age::interval))) w
 where p.finished_at is null and p.status = 'running'
 order by w.since, p.id, s.no, w.lo
 limit :limit;

-- name: hurry
-- Let the failed shards of running plans that wait for their next attempt have it now, of one plan or of all; what is worked on is left alone.
with waiting as (
    select f.plan, f.stage, f.shard
      from tidemark.shard_failures f join tidemark.plans p on p.id = f.plan
     where p.status = 'running' and f.status = 'retry' and f.pieces is null and f.leased_until is null
       and f.ready_at > app_now() and (:plan::uuid is null or f.plan = :plan)
     order by f.plan, f.stage, f.shard
     limit :limit
       for update of f skip locked
), hurried as (
    update tidemark.shard_failures f set ready_at = app_now()
      from waiting w
     where f.plan = w.plan and f.stage = w.stage and f.shard = w.shard
    returning f.plan, f.stage, f.shard, f.origin, f.heal_depth + f.level as depth
)
insert into tidemark.heal_actions (plan, stage, shard, piece, depth, action, reason)
select h.plan, h.stage, coalesce(h.origin, h.shard), case when h.origin is not null then -h.shard end, h.depth, 'retry', :reason from hurried h;

-- name: incomplete
-- Plans that are not over, the oldest first, and what of them stands still.
select p.id::text as plan, p.name, p.status, p.reason, p.submitted_at, p.deadline_at, p.deadline_at <= app_now() as is_overdue,
       (select count(*) from tidemark.stages s where s.plan = p.id and s.status in ('waiting', 'open')) as stages_left,
       (select count(*) from tidemark.lanes l where l.plan = p.id and l.leased_until >= app_now()) as lanes_held,
       (select count(*) from tidemark.lanes l where l.plan = p.id and l.leased_until < app_now()) as lanes_lapsed,
       (select count(*) from tidemark.shard_failures f where f.plan = p.id and f.status = 'retry' and f.leased_until < app_now()) as failures_lapsed,
       (select count(*) from tidemark.stages s where s.plan = p.id and s.status = 'open' and not (s.is_open_ended and s.last is null)
           and not exists (select from tidemark.lanes l where l.plan = s.plan and l.stage = s.no and l.done < l.hi)
           and not exists (select from tidemark.shard_failures f where f.plan = s.plan and f.stage = s.no and f.status = 'retry')) as stages_stranded,
       not exists (select from tidemark.stages s where s.plan = p.id and s.status = 'open') as is_adrift
  from tidemark.plans p
 where p.finished_at is null and (:plan::uuid is null or p.id = :plan)
 order by p.submitted_at, p.id
 limit :limit;

-- name: kinds
-- Of each shard kind that is worked on: lanes, those that are held, the shortest and the longest rest of one, and how its chunks went.
select s.kind, count(distinct (s.plan, s.no)) as stages, count(l.no) as lanes, count(l.no) filter (where l.leased_until >= app_now()) as held,
       coalesce(min(l.hi - l.done) filter (where l.done < l.hi), 0) as shortest, coalesce(max(l.hi - l.done), 0) as longest,
       (select coalesce(jsonb_agg(t.value), '[]')
          from tidemark.stages o join tidemark.plans q on q.id = o.plan and q.finished_at is null, jsonb_array_elements(o.took) t (value)
         where o.kind = s.kind and o.status = 'open') as took
  from tidemark.stages s
  join tidemark.plans p on p.id = s.plan and p.finished_at is null
  left join tidemark.lanes l on l.plan = s.plan and l.stage = s.no
 where s.status = 'open'
 group by s.kind
 order by s.kind;
