-- Subscriptions: who outside is told of notices. Each is delivered to by one at a time, under a token.

-- name: add
-- A new one, which is told of what comes after a cursor.
insert into tidemark.subscriptions (topics, url, xid, seq, created_by)
select :topics::jsonb, :url, :xid::text::xid8, :seq, :created_by
 where (select count(*) from tidemark.subscriptions where state = 'live') < :most::bigint
returning id::text;

-- name: delete
-- It is told of nothing any more; what is on its way may still arrive.
delete from tidemark.subscriptions where id = :id;

-- name: listed
-- All of them, or one, with how many notices each is behind.
select s.id::text, s.topics, s.url, s.state, s.reason, s.xid::text::bigint, s.seq, s.lost,
       (select count(*) from tidemark.notices n where s.state = 'live' and (n.xid, n.seq) > (s.xid, s.seq) and tidemark.is_on(n.topic, s.topics)) as lag,
       s.told, s.told_at, s.attempts, s.ready_at, s.last_error, s.created_at, s.created_by
  from tidemark.subscriptions s where :id::uuid is null or s.id = :id
 order by s.created_at, s.id limit :limit;

-- name: are_behind
-- Whether anybody is to be told of something now.
select exists (
       select from tidemark.subscriptions s
        where s.state = 'live' and s.ready_at <= app_now() and coalesce(s.leased_until, '-infinity') <= app_now()
          and (s.lost > 0 or exists (select from tidemark.notices n
                                      where (n.xid, n.seq) > (s.xid, s.seq) and n.xid < pg_snapshot_xmin(pg_current_snapshot()))));

-- name: take
-- The right to deliver to one that is behind, whoever has waited longest first; an attempt is counted before it is made.
with due as (
    select s.id from tidemark.subscriptions s
     where s.state = 'live' and s.ready_at <= app_now() and coalesce(s.leased_until, '-infinity') <= app_now()
       and (s.lost > 0 or exists (select from tidemark.notices n
                                   where (n.xid, n.seq) > (s.xid, s.seq) and n.xid < pg_snapshot_xmin(pg_current_snapshot())))
     order by s.ready_at, s.id limit 1 for update skip locked
)
update tidemark.subscriptions s
   set token = nextval('tidemark.token'), leased_until = app_now() + :lease::interval, attempts = s.attempts + 1
  from due d where s.id = d.id
returning s.id::text, s.topics, s.url, s.xid::text::bigint, s.seq, s.lost, s.lost_xid::text::bigint, s.lost_seq, s.attempts, s.token, s.created_at;

-- name: has_lost
-- Whether more was trimmed than so many notices before it could be told.
select exists (select from tidemark.subscriptions where id = :id and lost > :lost::bigint);

-- name: advance
-- It was told up to here, :lost: of them only that they are gone. No row: somebody else delivers to it now, or it is gone.
update tidemark.subscriptions s
   set xid = :xid::text::xid8, seq = :seq::bigint, attempts = 1, leased_until = app_now() + :lease::interval, last_error = null,
       told = s.told + 1, told_at = app_now(),
       lost = case when (s.lost_xid, s.lost_seq) > (:xid::text::xid8, :seq::bigint) then s.lost - :lost::bigint else 0 end,
       lost_xid = case when (s.lost_xid, s.lost_seq) > (:xid::text::xid8, :seq::bigint) then s.lost_xid end,
       lost_seq = case when (s.lost_xid, s.lost_seq) > (:xid::text::xid8, :seq::bigint) then s.lost_seq end
 where s.id = :id and s.token = :token and (s.xid, s.seq) <= (:xid::text::xid8, :seq::bigint);

-- name: give_back
-- Nothing more is delivered to it now; up to here there was nothing else for it.
update tidemark.subscriptions s
   set xid = :xid::text::xid8, seq = :seq::bigint, token = null, leased_until = null, attempts = 0, ready_at = app_now(),
       lost = case when (s.lost_xid, s.lost_seq) > (:xid::text::xid8, :seq::bigint) then s.lost else 0 end,
       lost_xid = case when (s.lost_xid, s.lost_seq) > (:xid::text::xid8, :seq::bigint) then s.lost_xid end,
       lost_seq = case when (s.lost_xid, s.lost_seq) > (:xid::text::xid8, :seq::bigint) then s.lost_seq end
 where s.id = :id and s.token = :token and (s.xid, s.seq) <= (:xid::text::xid8, :seq::bigint);

-- name: put_off
-- It did not take a notice: it is tried again after a wait.
update tidemark.subscriptions
   set token = null, leased_until = null, ready_at = app_now() + :wait::interval, last_error = :error
 where id = :id and token = :token;

-- name: close
-- It is delivered to no more.
update tidemark.subscriptions
   set state = 'closed', reason = :reason, token = null, leased_until = null, last_error = coalesce(:error, last_error)
 where id = :id and token = :token;

-- name: standing
-- How many there are, how many are in trouble, and how many are closed.
select count(*) filter (where state = 'live') as live, count(*) filter (where state = 'live' and last_error is not null) as failing,
       count(*) filter (where state = 'closed') as closed from tidemark.subscriptions;
