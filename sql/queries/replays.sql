-- Replays: many letters tried again in steps, each of which begins when the one before ended well.

-- name: add
-- A new replay.
insert into tidemark.replays (filter, total, requested_by) values (:filter::jsonb, :total, :actor) returning id;

-- name: fill
-- The letters of a replay: those that its filter means and no other replay is at, the oldest first; as one digest of their ids.
with filled as (
    insert into tidemark.replay_items (replay, position, letter, kind, event_id, fingerprint)
    select :replay::uuid, row_number() over (order by l.at, l.id), l.id, l.kind, l.event_id, l.fingerprint
      from tidemark.open_letters l
     where (:fingerprint::text is null or l.fingerprint = :fingerprint) and (:entity::text is null or l.entity_type = :entity::public.tds_entity_type)
       and (:kind::text is null or l.kind = :kind) and (:code::text is null or l.error_code = :code)
       and (:before::timestamptz is null or l.at < :before::timestamptz)
       and (:ids::jsonb is null or l.id in (select jsonb_array_elements_text(:ids::jsonb)::uuid))
     order by l.id
    on conflict do nothing
    returning letter
)
select count(*) as letters, encode(sha256(convert_to(coalesce(string_agg(f.letter::text, ',' order by f.letter), ''), 'UTF8')), 'hex') as digest,
       array_agg(f.letter order by f.n) filter (where f.n <= 10) as sample
  from (select letter, row_number() over (order by letter) as n from filled) f;

-- name: running
-- Replays that are not over, the oldest first.
select id from tidemark.replays where state = 'running' order by requested_at limit 20;

-- name: lock
-- A replay that is not over, locked; none when it is, or when somebody else is at it.
select step, requested_by from tidemark.replays where id = :id and state = 'running' for update skip locked;

-- name: judge
-- Write down how those ended that were tried again.
with ends as (
    select x.position,
           case when d.id is not null then 'again'
                when q.status = 'completed' then 'done'
                when q.status = 'failed' or i.resolved_at is not null then 'gone'
                when q.id is null and i.validation_errors is not null then 'again'
                when q.id is null and i.id is null then 'gone' end as state,
           left(coalesce(d.failure_reason, i.validation_errors #>> '{0,message}'), 500) as said, coalesce(d.fingerprint, i.fingerprint) as met
      from tidemark.replay_items x
      left join public.tds_sync_queue q on q.id = x.event_id
      left join public.tds_dead_letter_queue d on d.sync_queue_id = x.event_id and not d.resolved
      left join public.tds_inbox_events i on i.id = x.event_id
     where x.replay = :id and x.state = 'revived'
)
update tidemark.replay_items x
   set state = e.state, ended_at = app_now(), said = case when e.state = 'again' then e.said end, met = case when e.state = 'again' then e.met end
  from ends e
 where x.replay = :id and x.position = e.position and e.state is not null;

-- name: standing
-- How far a replay is: how many are on their way, how many wait, and how many failed again, with what the first of them said.
select count(*) filter (where state = 'revived') as under_way, count(*) filter (where state = 'waiting') as waiting,
       count(*) filter (where state = 'again') as again, (array_agg(said order by position) filter (where state = 'again'))[1] as said,
       coalesce(bool_or(state = 'again' and met = fingerprint), false) as is_same
  from tidemark.replay_items where replay = :id;

-- name: begin_step
-- The next letters of a replay are to be tried again now.
with next as (
    select position from tidemark.replay_items where replay = :id and state = 'waiting' order by position limit :limit
), begun as (
    update tidemark.replays set step = step + 1 where id = :id returning step
)
update tidemark.replay_items x set state = 'revived', revived_at = app_now(), step = b.step
  from next n, begun b
 where x.replay = :id and x.position = n.position
returning x.letter, x.kind, x.event_id;

-- name: revive
-- One more attempt for the dead letters of a step; those that somebody else has dealt with meanwhile are no part of it any more.
with letters as (
    select d.id from public.tds_dead_letter_queue d
      join tidemark.replay_items x on x.letter = d.id and x.replay = :id and x.kind = 'dead_letter' and x.state = 'revived' and x.step = :step
     where not d.resolved order by d.id for update of d
), tried as (
    update public.tds_dead_letter_queue d
       set resolved = true, resolved_at = app_now(), resolved_by = :actor, resolution_notes = 'replayed by ' || :id::text
      from letters l where d.id = l.id and not d.resolved
    returning d.id, d.sync_queue_id
), revived as (
    update public.tds_sync_queue q
       set status = 'retry', next_retry_at = app_now(), rank = app_now() + q.priority * interval '30 s', max_retry_attempts = q.attempt_count + 1
      from tried t where q.id = t.sync_queue_id and q.status = 'dead_letter'
    returning q.id
), counted as (
    insert into tidemark.deltas (name, amount)
    select name, count(*) from revived cross join (values ('revived'), ('replayed')) names (name) group by name
), lost as (
    update tidemark.replay_items x set state = 'gone', ended_at = app_now()
     where x.replay = :id and x.kind = 'dead_letter' and x.state = 'revived' and x.step = :step and x.event_id not in (select id from revived)
)
select count(*) from revived;

-- name: end_again
-- A quarantined event was read again and is still wrong.
update tidemark.replay_items x
   set state = 'again', ended_at = app_now(), said = left(:said, 500),
       met = (select i.fingerprint from public.tds_inbox_events i where i.id = x.event_id)
 where x.replay = :replay and x.letter = :letter and x.state = 'revived';

-- name: end_gone
-- Somebody else has dealt with this one.
update tidemark.replay_items set state = 'gone', ended_at = app_now() where replay = :replay and letter = :letter and state = 'revived';

-- name: count_replayed
-- So many quarantined events went back into the inbox.
insert into tidemark.deltas (name, amount) values ('replayed', :amount);

-- name: finish
-- A replay is over; what it did not come to is left as it is.
with ended as (
    update tidemark.replays set state = :state, finished_at = app_now(), message = :message where id = :id and state = 'running' returning id
)
update tidemark.replay_items x set state = 'left', ended_at = app_now()
  from ended e where x.replay = e.id and x.state = 'waiting';

-- name: listed
-- Replays, the latest first; or one.
select r.id, r.state, r.filter, r.total, r.step, r.requested_by, r.requested_at, r.finished_at, r.message
  from tidemark.replays r where (:id::uuid is null or r.id = :id::uuid) order by r.requested_at desc, r.id limit :limit;

-- name: steps
-- The steps of a replay, and what became of the letters of each; null: those no step has come to.
select x.step, count(*) as letters, count(*) filter (where x.state = 'done') as done, count(*) filter (where x.state = 'again') as again,
       count(*) filter (where x.state = 'revived') as under_way, count(*) filter (where x.state = 'gone') as gone,
       min(x.revived_at) as began_at, max(x.ended_at) as ended_at
  from tidemark.replay_items x where x.replay = :id group by x.step order by x.step nulls last;

-- name: failed
-- The letters of a replay that failed again.
select x.letter, x.kind, x.event_id, x.step, x.said, coalesce(x.met = x.fingerprint, false) as is_same
  from tidemark.replay_items x where x.replay = :id and x.state = 'again' order by x.position limit :limit;
