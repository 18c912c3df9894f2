-- Counters: appended by whoever did something, folded by tick.

-- name: fold
-- Fold the deltas into minutes and totals; how many. Readers see either all of a delta in one place or in the other.
with taken as (
    delete from tidemark.deltas
     where ctid = any (array(select ctid from tidemark.deltas limit :limit))
    returning name, at, amount
), minutes as (
    insert into tidemark.rollups as r (name, minute, amount)
    select name, date_trunc('minute', at), sum(amount) from taken group by 1, 2 order by 1, 2
    on conflict (name, minute) do update set amount = r.amount + excluded.amount
), sums as (
    insert into tidemark.totals as t (name, amount)
    select name, sum(amount) from taken group by 1 order by 1
    on conflict (name) do update set amount = t.amount + excluded.amount
)
select count(*) from taken;

-- name: repair_waiting
-- Make up for what the counter of waiting events is off, seen in one snapshot; not while too many wait to be counted.
with seen as materialized (
    select (select count(*) from (select from tidemark.ready_events limit :most + 1) r) as there, tidemark.total('waiting') as counted
), repaired as (
    insert into tidemark.deltas (name, amount)
    select 'waiting', s.there - s.counted from seen s where s.there <= :most and s.there <> s.counted
    returning amount
)
select coalesce((select amount from repaired), 0);
