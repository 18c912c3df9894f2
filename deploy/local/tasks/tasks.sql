-- Every statement takes one JSON document, :given, and answers one JSON document a row:
-- so each is a single message and a transaction of its own. Answers are json, not jsonb, which would arrive as Decimal.

-- name: schema
-- Two programs that start at once would both create; the lock lets one go first.
select pg_advisory_xact_lock(7251913);
create schema if not exists local_tasks;
create sequence if not exists local_tasks.tokens;
-- One row per queue; tokens are what its rate limit has left.
create table if not exists local_tasks.queues (
    name text primary key,
    state text not null default 'RUNNING' check (state in ('RUNNING', 'PAUSED')),
    dispatches_per_second double precision not null,
    burst integer not null,
    concurrency integer not null,
    retry jsonb not null,
    tokens double precision not null,
    refilled_at timestamptz not null default now(),
    purged_at timestamptz
);
-- One row per task. A finished task stays for a while as the tombstone that keeps its name taken.
-- While a task is being dispatched its ready_at is the end of its lease: a dead dispatcher's tasks become ready by themselves.
create table if not exists local_tasks.tasks (
    name text primary key,
    queue text not null,
    is_named boolean not null,
    is_doubled boolean not null,
    request jsonb,
    retry jsonb,
    deadline_seconds double precision not null,
    created_at timestamptz not null default now(),
    scheduled_at timestamptz not null,
    ready_at timestamptz not null,
    is_forced boolean not null default false,
    token bigint,
    dispatches integer not null default 0,
    responses integer not null default 0,
    executions integer not null default 0,
    last_status integer,
    first_dispatch_at timestamptz,
    last_scheduled_at timestamptz,
    last_dispatch_at timestamptz,
    last_response_at timestamptz,
    finished_at timestamptz,
    outcome text check (outcome in ('done', 'exhausted', 'refused', 'deleted', 'purged', 'lost')),
    reason text,
    constraint finished_with_an_outcome check ((finished_at is null) = (outcome is null))
);
create index if not exists tasks_ready on local_tasks.tasks (queue, ready_at) where finished_at is null;
create index if not exists tasks_running on local_tasks.tasks (queue) where token is not null;
create index if not exists tasks_forced on local_tasks.tasks (ready_at) where is_forced and finished_at is null;
create index if not exists tasks_buried on local_tasks.tasks (finished_at) where finished_at is not null;

-- name: create_queue
-- Nothing comes back when the queue exists.
insert into local_tasks.queues as q (name, dispatches_per_second, burst, concurrency, retry, tokens)
select g.name, g.rate, g.burst, g.concurrency, g.retry, g.burst
from jsonb_to_record(:given) as g(name text, rate double precision, burst integer, concurrency integer, retry jsonb)
on conflict (name) do nothing
returning to_json(q);

-- name: change_queue
-- A queue that does not exist yet is created, as the service does.
insert into local_tasks.queues as q (name, dispatches_per_second, burst, concurrency, retry, tokens)
select g.name, g.rate, g.burst, g.concurrency, g.retry, g.burst
from jsonb_to_record(:given) as g(name text, rate double precision, burst integer, concurrency integer, retry jsonb)
on conflict (name) do update
set dispatches_per_second = excluded.dispatches_per_second, burst = excluded.burst, concurrency = excluded.concurrency,
    retry = excluded.retry, tokens = least(q.tokens, excluded.burst)
returning to_json(q);

-- name: get_queue
select to_json(q) from local_tasks.queues q, jsonb_to_record(:given) as g(name text) where q.name = g.name;

-- name: list_queues
select to_json(q)
from local_tasks.queues q, jsonb_to_record(:given) as g(parent text, after text, size integer)
where starts_with(q.name, g.parent || '/queues/') and q.name collate "C" > g.after collate "C"
order by q.name collate "C"
limit (select (cast(:given as jsonb) ->> 'size')::integer);

-- name: pause_queue
update local_tasks.queues q set state = 'PAUSED' from jsonb_to_record(:given) as g(name text)
where q.name = g.name
returning to_json(q);

-- name: resume_queue
update local_tasks.queues q set state = 'RUNNING' from jsonb_to_record(:given) as g(name text)
where q.name = g.name
returning to_json(q);

-- name: purge_queue
-- Tasks that are just being dispatched go too; their answer will find nobody.
with given as (select g.name from jsonb_to_record(:given) as g(name text)),
gone as (
    select t.name from local_tasks.tasks t, given g
    where t.queue = g.name and t.finished_at is null
    order by t.name collate "C"
    for update of t
),
buried as (
    update local_tasks.tasks t
    set finished_at = now(), outcome = 'purged', token = null, request = null
    from gone where t.name = gone.name
)
update local_tasks.queues q set purged_at = now() from given g where q.name = g.name returning to_json(q);

-- name: create_tasks
-- Only the tasks that were made come back: a name that is missing was taken.
with given as (
    select g.* from jsonb_to_recordset(:given) as g(
        name text, queue text, is_named boolean, is_doubled boolean, is_lost boolean, request jsonb, retry jsonb,
        deadline_seconds double precision, scheduled_at timestamptz, queue_defaults jsonb
    )
),
queues as (
    insert into local_tasks.queues (name, dispatches_per_second, burst, concurrency, retry, tokens)
    select distinct on (g.queue) g.queue, d.rate, d.burst, d.concurrency, d.retry, d.burst
    from given g, jsonb_to_record(g.queue_defaults) as d(rate double precision, burst integer, concurrency integer, retry jsonb)
    order by g.queue
    on conflict (name) do nothing
)
insert into local_tasks.tasks as t (
    name, queue, is_named, is_doubled, request, retry, deadline_seconds, scheduled_at, ready_at, finished_at, outcome, reason
)
select g.name, g.queue, g.is_named, g.is_doubled, g.request, g.retry, g.deadline_seconds,
    greatest(g.scheduled_at, now()), greatest(g.scheduled_at, now()),
    case when g.is_lost then now() end, case when g.is_lost then 'lost' end, case when g.is_lost then 'fault switch' end
from given g
order by g.name collate "C"
on conflict (name) do nothing
returning json_build_object('name', t.name, 'created_at', t.created_at, 'scheduled_at', t.scheduled_at);

-- name: get_task
select to_json(t) from local_tasks.tasks t, jsonb_to_record(:given) as g(name text)
where t.name = g.name and t.finished_at is null;

-- name: list_tasks
select to_json(t)
from local_tasks.tasks t, jsonb_to_record(:given) as g(parent text, after text)
where t.queue = g.parent and t.finished_at is null and t.name collate "C" > g.after collate "C"
order by t.name collate "C"
limit (select (cast(:given as jsonb) ->> 'size')::integer);

-- name: delete_task
update local_tasks.tasks t
set finished_at = now(), outcome = 'deleted', token = null, request = null
from jsonb_to_record(:given) as g(name text)
where t.name = g.name and t.finished_at is null
returning to_json(t);

-- name: run_task
-- Ready at once and past every limit of its queue; one that is being dispatched stays as it is.
update local_tasks.tasks t
set scheduled_at = case when t.token is null then now() else t.scheduled_at end,
    ready_at = case when t.token is null then now() else t.ready_at end,
    is_forced = t.token is null
from jsonb_to_record(:given) as g(name text)
where t.name = g.name and t.finished_at is null
returning to_json(t);

-- name: claim
-- Lease what is ready, as far as each queue's rate and concurrency and our own room allow; and say in how many seconds
-- more may be ready by the clock alone. One statement sees one moment, so nothing becomes ready between the two.
with given as (
    select g.room, make_interval(secs => g.lease_seconds) as lease
    from jsonb_to_record(:given) as g(room integer, lease_seconds double precision)
),
open as (
    select q.name, q.dispatches_per_second,
        least(q.burst, q.tokens + extract(epoch from now() - q.refilled_at) * q.dispatches_per_second) as tokens,
        q.concurrency - (
            select count(*) from local_tasks.tasks t where t.queue = q.name and t.token is not null and t.ready_at > now()
        ) as free
    from local_tasks.queues q
    where q.state = 'RUNNING'
        and exists (select from local_tasks.tasks t where t.queue = q.name and t.finished_at is null and t.ready_at <= now())
    order by q.name collate "C"
    for update of q skip locked
),
allowed as (
    select t.name, o.name as queue
    from open o
    cross join lateral (
        select t.name from local_tasks.tasks t
        where t.queue = o.name and t.finished_at is null and t.ready_at <= now() and not t.is_forced
        order by t.ready_at
        limit cast(greatest(0, least(o.free, floor(o.tokens), (select room from given))) as bigint)
        for update skip locked
    ) t
    limit (select room from given)
),
forced as (
    select t.name from local_tasks.tasks t
    where t.is_forced and t.finished_at is null and t.ready_at <= now()
    limit (select room from given)
    for update skip locked
),
spent as (
    update local_tasks.queues q
    set tokens = o.tokens - (select count(*) from allowed a where a.queue = o.name), refilled_at = now()
    from open o where q.name = o.name
),
claimed as (
    update local_tasks.tasks t
    set token = nextval('local_tasks.tokens'), ready_at = now() + given.lease, is_forced = false,
        dispatches = t.dispatches + 1, first_dispatch_at = coalesce(t.first_dispatch_at, now()),
        last_dispatch_at = now(), last_scheduled_at = t.scheduled_at
    from (select name from allowed union all select name from forced) picked, given
    where t.name = picked.name
    returning t.*
)
select json_build_object(
    'tasks', coalesce((
        select json_agg(json_build_object(
            'name', c.name, 'token', c.token, 'request', c.request, 'deadline_seconds', c.deadline_seconds,
            'is_doubled', c.is_doubled, 'dispatches', c.dispatches, 'executions', c.executions, 'last_status', c.last_status,
            'eta', extract(epoch from c.scheduled_at), 'age_seconds', extract(epoch from now() - c.first_dispatch_at),
            'retry', q.retry || coalesce(c.retry, '{}')
        ))
        from claimed c join local_tasks.queues q on q.name = c.queue
    ), '[]'),
    'wait_seconds', extract(epoch from least(
        (
            select min(due.ready_at) from local_tasks.queues q
            cross join lateral (
                select t.ready_at from local_tasks.tasks t
                where t.queue = q.name and t.finished_at is null and t.ready_at > now()
                order by t.ready_at limit 1
            ) due
        ),
        (select now() + min(make_interval(secs => (1 - o.tokens) / o.dispatches_per_second)) from open o where o.tokens < 1)
    ) - clock_timestamp())
);

-- name: finish
-- Write the outcomes of attempts; an attempt whose lease went to someone else changes nothing.
with given as (
    select g.* from jsonb_to_recordset(:given) as g(
        name text, token bigint, status integer, outcome text, reason text, delay_seconds double precision
    )
),
mine as (
    select t.name, t.is_named, g.status, g.outcome, g.reason, g.delay_seconds
    from local_tasks.tasks t join given g on t.name = g.name and t.token = g.token
    order by t.name collate "C"
    for update of t
),
gone as (
    delete from local_tasks.tasks t using mine m where t.name = m.name and m.outcome = 'done' and not m.is_named
)
update local_tasks.tasks t
set token = null,
    responses = t.responses + (m.status is not null)::integer,
    executions = t.executions + (m.status is not null and m.status < 500)::integer,
    last_status = m.status,
    last_response_at = case when m.status is not null then now() else t.last_response_at end,
    scheduled_at = case when m.outcome is null then now() + make_interval(secs => m.delay_seconds) else t.scheduled_at end,
    ready_at = now() + make_interval(secs => m.delay_seconds),
    request = case when m.outcome is null then t.request end,
    finished_at = case when m.outcome is not null then now() end,
    outcome = m.outcome,
    reason = m.reason
from mine m
where t.name = m.name and (m.outcome = 'done' and not m.is_named) is not true;

-- name: renew
-- Rows that are just being finished are skipped: they need no lease any more.
with mine as (
    select t.name, g.lease_seconds from local_tasks.tasks t
    join jsonb_to_recordset(:given) as g(name text, token bigint, lease_seconds double precision)
        on t.name = g.name and t.token = g.token
    for update of t skip locked
)
update local_tasks.tasks t set ready_at = now() + make_interval(secs => m.lease_seconds) from mine m where t.name = m.name;

-- name: release
-- Give back what a dispatcher that stops was still waiting for.
update local_tasks.tasks t set token = null, ready_at = now()
from jsonb_to_recordset(:given) as g(name text, token bigint)
where t.name = g.name and t.token = g.token;

-- name: forget
-- Let names go whose tombstones are old enough.
delete from local_tasks.tasks t
using jsonb_to_record(:given) as g(tombstone_seconds double precision)
where t.finished_at <= now() - make_interval(secs => g.tombstone_seconds);
