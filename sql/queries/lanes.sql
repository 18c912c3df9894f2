-- Lanes: slices of an open stage's shards. A worker holds one under a lease and a token, and every write carries the token.

-- name: take
-- Take a lane that nobody works on, with its first chunk. One that lapsed begins again at what was reported, shard by shard.
with permits as materialized (
    select plan, kind from tidemark.permits
), per_plan as materialized (
    select plan, count(*) as used from permits group by plan
), per_kind as materialized (
    select p.kind, p.used, (g.value ->> p.kind)::integer as most, c.most as adaptive
      from (select kind, count(*) as used from permits group by kind) p
      join tidemark.settings g on g.key = 'plans.concurrency'
      left join tidemark.concurrency c on c.kind = p.kind and :adaptive
), candidate as (
    select l.plan, l.stage, l.no, l.done < l.hi as is_begun, l.leased_until is not null as has_lapsed, s.chunk
      from tidemark.lanes l
      join tidemark.stages s on s.plan = l.plan and s.no = l.stage
      join tidemark.plans p on p.id = l.plan
      left join per_plan u on u.plan = p.id
      left join per_kind k on k.kind = s.kind
     cross join lateral (select tidemark.urgency(p.priority, app_now() - greatest(l.served_at, l.ready_at, s.opened_at)) as urgency) w
     where p.status = 'running' and p.deadline_at > app_now() and s.status = 'open'
       and (l.done < l.hi or (s.is_open_ended and s.last is null and (s.released = 0 or s.has_more)))
       and (l.leased_until is null or l.leased_until < app_now())
       and l.ready_at <= app_now()
       and (:kinds = '[]' or s.kind in (select jsonb_array_elements_text(:kinds::jsonb)))
       and coalesce(u.used, 0) < p.max_concurrency
       and (k.most is null or k.used < k.most)
       and (k.adaptive is null or k.used < coalesce(tidemark.room(k.adaptive, w.urgency), 2147483647))
     order by w.urgency, coalesce(u.used, 0), l.served_at, l.plan, l.stage, l.no
     limit 1
       for update of l skip locked
), growing as (
    -- Whoever has locked the stage may be ending it, and would wait for the lane that we have locked: leave it to them.
    select s.plan, s.no
      from tidemark.stages s join candidate c on s.plan = c.plan and s.no = c.stage
     where not c.is_begun and s.status = 'open' and s.last is null
       for no key update of s skip locked
), opened as (
    -- An open-ended stage grows by one shard for a lane that has none.
    update tidemark.stages s set released = s.released + 1
      from growing g
     where s.plan = g.plan and s.no = g.no
    returning s.released - 1 as shard
)
update tidemark.lanes l
   set token = nextval('tidemark.token'), holder = :holder, leased_until = app_now() + :lease, served_at = app_now(),
       lo = coalesce(o.shard, l.lo), done = coalesce(o.shard, l.done), hi = coalesce(o.shard + 1, l.hi),
       busy = least(coalesce(o.shard, l.done) + case when c.has_lapsed then 1 else c.chunk end, coalesce(o.shard + 1, l.hi)),
       lapses = case when c.has_lapsed and c.is_begun then l.lapses + 1 else l.lapses end
  from candidate c left join opened o on true
 where l.plan = c.plan and l.stage = c.stage and l.no = c.no and (c.is_begun or o.shard is not null)
returning l.plan::text, l.stage, l.no, l.token, l.done, l.busy, l.hi, l.lapses, l.checkpoint;

-- name: steal
-- Take the upper half of what the longest lane has not begun into a lane of the same stage that is finished.
with permits as materialized (
    select plan, kind from tidemark.permits
), per_kind as materialized (
    select p.kind, p.used, (g.value ->> p.kind)::integer as most, c.most as adaptive
      from (select kind, count(*) as used from permits group by kind) p
      join tidemark.settings g on g.key = 'plans.concurrency'
      left join tidemark.concurrency c on c.kind = p.kind and :adaptive
), victim as (
    select l.plan, l.stage, l.no, l.hi, (l.busy + l.hi + 1) / 2 as middle, s.chunk
      from tidemark.lanes l
      join tidemark.stages s on s.plan = l.plan and s.no = l.stage
      join tidemark.plans p on p.id = l.plan
      left join per_kind k on k.kind = s.kind
     where p.status = 'running' and p.deadline_at > app_now() and s.status = 'open' and not s.is_open_ended
       and l.hi - l.busy >= greatest(2, s.chunk)
       and (:kinds = '[]' or s.kind in (select jsonb_array_elements_text(:kinds::jsonb)))
       and (select count(*) from permits x where x.plan = p.id) < p.max_concurrency
       and (k.most is null or k.used < k.most)
       and (k.adaptive is null or k.used < coalesce(tidemark.room(k.adaptive, p.priority), 2147483647))
     order by p.priority, l.hi - l.busy desc, l.plan, l.stage, l.no
     limit 1
       for update of l skip locked
), slot as (
    select f.no, v.middle, v.hi, v.plan, v.stage, v.no as victim, v.chunk
      from tidemark.lanes f join victim v on f.plan = v.plan and f.stage = v.stage
     where f.done = f.hi and f.leased_until is null
     order by f.no
     limit 1
       for update of f skip locked
), cut as (
    update tidemark.lanes l set hi = s.middle
      from slot s
     where l.plan = s.plan and l.stage = s.stage and l.no = s.victim and l.busy <= s.middle
    returning l.no
)
update tidemark.lanes l
   set lo = s.middle, done = s.middle, busy = least(s.middle + s.chunk, s.hi), hi = s.hi, token = nextval('tidemark.token'),
       holder = :holder, leased_until = app_now() + :lease, served_at = app_now(), ready_at = '-infinity', lapses = 0, checkpoint = null
  from slot s join cut on cut.no = s.victim
 where l.plan = s.plan and l.stage = s.stage and l.no = s.no
returning l.plan::text, l.stage, l.no, l.token, l.done, l.busy, l.hi, l.lapses, l.checkpoint;

-- name: advance
-- Report the chunk and take the next of :next shards, none if the plan does not run any more. No row: the lane was lost.
with going as (
    select p.status = 'running' and p.deadline_at > app_now() and :next > 0 as on from tidemark.plans p where p.id = :plan
)
update tidemark.lanes l
   set done = l.busy, busy = case when g.on then least(l.busy + :next, l.hi) else l.busy end,
       leased_until = case when g.on and l.busy < l.hi then app_now() + :lease end,
       lapses = 0, checkpoint = null
  from going g
 where l.plan = :plan and l.stage = :stage and l.no = :no and l.token = :token and l.leased_until is not null
returning l.done, l.busy, l.hi;

-- name: extend
-- Open-ended: write down what the shard said of those beyond it, and take the next one if there may be more.
with was as (
    select s.last, s.released from tidemark.stages s where s.plan = :plan and s.no = :stage for no key update
), said as (
    -- A later shard that has more after all corrects an earlier one that said it was the last.
    select case when :more then case when :shard > w.last then null else w.last end else greatest(w.last, :shard) end as last from was w
), going as (
    select s.last is null and :next > 0 and p.status = 'running' and p.deadline_at > app_now() as on
      from said s, tidemark.plans p where p.id = :plan
), stage as (
    update tidemark.stages s set last = d.last, released = s.released + g.on::integer, has_more = s.has_more or :more
      from said d, going g
     where s.plan = :plan and s.no = :stage
    returning s.released - 1 as shard
)
update tidemark.lanes l
   set lo = s.shard, done = s.shard, busy = s.shard + 1, hi = s.shard + 1, leased_until = app_now() + :lease
  from stage s, going g
 where g.on and l.plan = :plan and l.stage = :stage and l.no = :no and l.token = :token
returning l.done, l.busy, l.hi;

-- name: give_back
-- Let go of a lane, with the chunk undone, for others to take after a wait.
update tidemark.lanes
   set busy = done, leased_until = null, ready_at = app_now() + :wait, lapses = 0 -- who gives it back has not died at it
 where plan = :plan and stage = :stage and no = :no and token = :token and leased_until is not null;

-- name: beat
-- Keep the lease, and remember how far inside the chunk the work is. No row: the lane was lost, or the plan does not run.
update tidemark.lanes l
   set leased_until = app_now() + :lease, checkpoint = coalesce(:checkpoint::jsonb, l.checkpoint)
  from tidemark.plans p
 where l.plan = :plan and l.stage = :stage and l.no = :no and l.token = :token and l.leased_until is not null
   and p.id = l.plan and p.status = 'running'
returning l.no;

-- name: cut
-- Make the lanes of a stage, in place of those it had: [[lo, hi], ...].
with gone as (
    delete from tidemark.lanes where plan = :plan and stage = :stage and no >= jsonb_array_length(:ranges::jsonb)
)
insert into tidemark.lanes (plan, stage, no, lo, done, busy, hi)
select :plan, :stage, r.no - 1, (r.range ->> 0)::bigint, (r.range ->> 0)::bigint, (r.range ->> 0)::bigint, (r.range ->> 1)::bigint
  from jsonb_array_elements(:ranges::jsonb) with ordinality r (range, no)
 order by r.no
on conflict (plan, stage, no) do update set lo = excluded.lo, done = excluded.done, busy = excluded.busy, hi = excluded.hi,
       leased_until = null, lapses = 0, checkpoint = null, ready_at = '-infinity';

-- name: cut_again
-- Lanes for what nobody has reported of the failed stages of a plan, up to what was released. A lane of an open-ended stage
-- holds one shard at a time; where its end is not known, there is one that asks for the next.
insert into tidemark.lanes (plan, stage, no, lo, done, busy, hi)
select r.plan, r.no, row_number() over (partition by r.no order by r.lo) - 1, r.lo, r.lo, r.lo, r.hi
  from (
       select s.plan, s.no, coalesce(one.lo, g.lo) as lo, coalesce(one.lo + 1, g.hi) as hi
         from tidemark.stages s
        cross join lateral (
              select coalesce(lag(c.hi) over (order by c.lo, c.hi), 0) as lo, c.lo as hi
                from (select lo, hi from tidemark.leaves where plan = s.plan and stage = s.no
                      union all
                      select s.released, s.released) c) g
         left join lateral generate_series(g.lo, g.hi - 1) one (lo) on s.is_open_ended
        where s.plan = :plan and s.status = 'failed' and g.lo < g.hi
       union all
       select s.plan, s.no, s.released, s.released
         from tidemark.stages s
        where s.plan = :plan and s.status = 'failed' and s.is_open_ended and s.last is null
       ) r
on conflict do nothing;

-- name: add_one
-- Open-ended: a lane that asks for the next shard, if there is no other.
insert into tidemark.lanes (plan, stage, no, lo, done, busy, hi)
select s.plan, s.no, 0, s.released, s.released, s.released, s.released
  from tidemark.stages s
 where s.plan = :plan and s.no = :stage and not exists (select from tidemark.lanes l where l.plan = s.plan and l.stage = s.no)
on conflict do nothing;

-- name: lock
-- Lock every lane of a plan: before its stages and the plan itself, as workers do.
select no from tidemark.lanes where plan = :plan order by stage, no for update;

-- name: revoke
-- Take every lane from whoever holds it: what they are at is not theirs to report any more.
update tidemark.lanes
   set token = nextval('tidemark.token'), busy = done, leased_until = null
 where plan = :plan and leased_until is not null and (:stage::integer is null or stage = :stage);

-- name: drop
-- The lanes of a stage that is over.
delete from tidemark.lanes where plan = :plan and stage = :stage;

-- name: free
-- How many workers could begin at once, as far as there are permits, and when the next one could if none can now.
with permits as materialized (
    select plan, kind from tidemark.permits
), waiting as materialized (
    select l.plan, s.kind, l.ready_at, greatest(l.served_at, l.ready_at, s.opened_at) as since
      from tidemark.lanes l join tidemark.stages s on s.plan = l.plan and s.no = l.stage
     where s.status = 'open' and (l.done < l.hi or (s.is_open_ended and s.last is null and (s.released = 0 or s.has_more)))
       and (l.leased_until is null or l.leased_until < app_now())
    union all
    select f.plan, s.kind, f.ready_at, f.ready_at
      from tidemark.shard_failures f join tidemark.stages s on s.plan = f.plan and s.no = f.stage
     where f.status = 'retry' and f.pieces is null and (f.leased_until is null or f.leased_until < app_now()) and s.status = 'open'
), per_kind as materialized (
    select k.kind, (g.value ->> k.kind)::integer as most, c.most as adaptive, (select count(*) from permits x where x.kind = k.kind) as used
      from (select distinct kind from waiting) k
      join tidemark.settings g on g.key = 'plans.concurrency'
      left join tidemark.concurrency c on c.kind = k.kind and :adaptive
), allowed as (
    select w.kind, w.ready_at, w.ready_at <= app_now() as is_ready,
           row_number() over (partition by w.plan, w.ready_at <= app_now()) <= p.max_concurrency - (select count(*) from permits x where x.plan = w.plan)
           and (k.adaptive is null or row_number() over (partition by w.kind, w.ready_at <= app_now() order by u.urgency)
                <= coalesce(tidemark.room(k.adaptive, u.urgency), 2147483647) - k.used) as is_allowed
      from waiting w
      join tidemark.plans p on p.id = w.plan
      join per_kind k on k.kind = w.kind
     cross join lateral (select tidemark.urgency(p.priority, app_now() - w.since) as urgency) u
     where p.status = 'running' and p.deadline_at > app_now()
       and (:kinds = '[]' or w.kind in (select jsonb_array_elements_text(:kinds::jsonb)))
), counted as (
    select a.kind, count(*) filter (where a.is_ready and a.is_allowed) as now, min(a.ready_at) filter (where not a.is_ready) as next_at
      from allowed a group by a.kind
)
select coalesce(sum(greatest(0, least(c.now, k.most - k.used))), 0)::bigint, min(c.next_at)
  from counted c join per_kind k on k.kind = c.kind;

-- name: held
-- How many workers are at something, over all plans.
select count(*) from tidemark.permits;
