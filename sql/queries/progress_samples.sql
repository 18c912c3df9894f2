-- Progress samples: how far running plans were, about once a minute.

-- name: record
-- Write down how far each running plan is of which that was not done in the last 50 s; older than a day is forgotten, and so are plans that are over.
with gone as (
    delete from tidemark.progress_samples o
     where o.at < app_now() - interval '1 day' or exists (select from tidemark.plans p where p.id = o.plan and p.finished_at is not null)
)
insert into tidemark.progress_samples (plan, at, done)
select p.id, app_now(), greatest(0, sum(s.released - s.unreported - l.left - f.failed))
  from tidemark.plans p
  join tidemark.stages s on s.plan = p.id and s.opened_at is not null
  cross join lateral (select coalesce(sum(hi - done), 0) as left from tidemark.lanes where plan = s.plan and stage = s.no) l
  cross join lateral (
       select count(*) as failed from tidemark.shard_failures where plan = s.plan and stage = s.no and status <> 'healed' and shard >= 0) f
 where p.finished_at is null and p.status = 'running'
   and not exists (select from tidemark.progress_samples o where o.plan = p.id and o.at > app_now() - interval '50 seconds')
 group by p.id
on conflict do nothing;

-- name: of_plan
-- How far a plan was, the last :limit times, oldest first.
select extract(epoch from r.at)::float8 as seconds, r.done
  from (select at, done from tidemark.progress_samples where plan = :plan order by at desc limit :limit) r order by r.at;
