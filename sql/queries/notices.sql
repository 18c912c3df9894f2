-- Notices: what the bus tells. Each is written by the transaction that it tells of, and read in the order (xid, seq).

-- name: add
-- Tell of something, unless it was told before, or notices led to notices too often; the depth, and whether it was told now.
with cause as (
    select coalesce(max(depth) + 1, 0)::integer as depth from tidemark.notices where id = :causation_id::uuid
), told as (
    insert into tidemark.notices (topic, payload, source, kind, dedupe_key, correlation_id, causation_id, depth)
    select :topic, :payload::jsonb, :source, :kind, :dedupe_key, :correlation_id, :causation_id::uuid, depth from cause where depth <= :deepest
    on conflict (dedupe_key) do nothing
    returning seq
)
select cause.depth, exists (select from told) as is_told from cause;

-- name: count_refused
-- A notice was refused.
insert into tidemark.deltas (name, amount) values ('notices_refused', 1);

-- name: horizon
-- The last notice that is to be seen, or was before it was trimmed; and where trimming has come to.
select h.xid::text::bigint, h.seq, t.xid::text::bigint as trimmed_xid, t.seq as trimmed_seq
  from tidemark.trimmed t
 cross join lateral (
       select xid, seq from (
              (select xid, seq from tidemark.notices where xid < pg_snapshot_xmin(pg_current_snapshot()) order by xid desc, seq desc limit 1)
              union all select t.xid, t.seq) b
        order by xid desc, seq desc limit 1) h;

-- name: read
-- Notices after a cursor, up to the horizon, on some topics; in order.
select n.id::text, n.at, n.topic, n.source, n.kind, n.correlation_id, n.causation_id::text, n.payload, n.dedupe_key, n.xid::text::bigint, n.seq
  from tidemark.notices n
 where (n.xid, n.seq) > (:after_xid::text::xid8, :after_seq::bigint) and (n.xid, n.seq) <= (:upto_xid::text::xid8, :upto_seq::bigint)
   and tidemark.is_on(n.topic, :topics::jsonb)
 order by n.xid, n.seq limit :limit;

-- name: newest
-- The newest notices.
select n.id::text, n.at, n.topic, n.source, n.kind, n.correlation_id, n.causation_id::text, n.payload, n.dedupe_key, n.xid::text::bigint, n.seq
  from tidemark.notices n
 where n.xid < pg_snapshot_xmin(pg_current_snapshot()) and tidemark.is_on(n.topic, :topics::jsonb)
 order by n.xid desc, n.seq desc limit :limit;

-- name: counts
-- How many notices of each topic are kept.
select topic, count(*) as notices, min(at) as oldest_at, max(at) as newest_at from tidemark.notices group by topic order by topic;

-- name: sizes
-- How many notices there are, how many of them wait for a transaction that still runs, how many are gone, and how many were refused.
select (select count(*) from tidemark.notices) as kept,
       (select count(*) from tidemark.notices where xid >= pg_snapshot_xmin(pg_current_snapshot())) as held_back,
       t.notices as trimmed, t.at as trimmed_at, tidemark.total('notices_refused')::bigint as refused
  from tidemark.trimmed t;

-- name: are_from_elsewhere
-- Whether notices were told by transactions that this cluster has not begun yet: then the database was restored from another.
select exists (select from tidemark.trimmed where xid >= pg_snapshot_xmax(pg_current_snapshot()))
    or exists (select from (select xid from tidemark.notices order by xid desc, seq desc limit 1) n where n.xid >= pg_snapshot_xmax(pg_current_snapshot()));

-- name: renumber
-- Put what another cluster told before everything that this one tells, in the order of its own numbers, and every cursor with it.
with notices as (
    update tidemark.notices set xid = '1' where xid >= pg_snapshot_xmax(pg_current_snapshot()) returning seq
), subscriptions as (
    update tidemark.subscriptions
       set xid = '1', lost_xid = case when lost_xid is not null then '1'::xid8 end where xid >= pg_snapshot_xmax(pg_current_snapshot())
    returning id
), trimmed as (
    update tidemark.trimmed set xid = '1' where xid >= pg_snapshot_xmax(pg_current_snapshot()) returning seq
)
select (select count(*) from notices) + (select count(*) from subscriptions) + (select count(*) from trimmed);

-- name: may_be_trimmed
-- Whether there may be too many notices, or too old ones; an estimate that never says no wrongly.
select coalesce((select max(seq) - min(seq) >= :limit::bigint from tidemark.notices), false)
    or exists (select from (select at from tidemark.notices order by xid, seq limit 1) o
                where o.at < app_now() - make_interval(days => greatest(1, coalesce(
                      (select (s.value #>> '{}')::integer from tidemark.settings s where s.key = 'notices.keep_days'), 30))));

-- name: trim
-- Let the oldest go, beyond so many or too old, and mark up to where; a subscription that was not told of them yet will be told that.
with many as (
    select xid, seq from tidemark.notices where xid < pg_snapshot_xmin(pg_current_snapshot()) order by xid desc, seq desc offset :limit limit 1
), old as (
    select xid, seq from tidemark.notices
     where xid < pg_snapshot_xmin(pg_current_snapshot())
       and at < app_now() - make_interval(days => greatest(1, coalesce(
           (select (s.value #>> '{}')::integer from tidemark.settings s where s.key = 'notices.keep_days'), 30)))
     order by xid desc, seq desc limit 1
), cut as (
    select xid, seq from (select * from many union all select * from old) b order by xid desc, seq desc limit 1
), gone as (
    delete from tidemark.notices n using cut c where (n.xid, n.seq) <= (c.xid, c.seq) returning n.topic, n.xid, n.seq
), mark as (
    update tidemark.trimmed t set xid = c.xid, seq = c.seq, notices = t.notices + g.count, at = app_now()
      from cut c, (select count(*) from gone) g where g.count > 0
    returning t.xid, t.seq
), missed as (
    select s.id, count(*) as lost from tidemark.subscriptions s join gone g on (g.xid, g.seq) > (s.xid, s.seq)
     where s.state = 'live' and tidemark.is_on(g.topic, s.topics) group by s.id
), told as (
    update tidemark.subscriptions s set lost = s.lost + m.lost, lost_xid = k.xid, lost_seq = k.seq
      from missed m, mark k where s.id = m.id
    returning s.id
)
select (select count(*) from gone) as notices, (select count(*) from told) as subscriptions;
