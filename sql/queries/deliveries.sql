-- Deliveries: what people are to be told of alerts. Each is taken under a token, sent, and ended under the same token.

-- name: remind
-- One more delivery for what is bad, open, and acknowledged by nobody an hour, four and a day after it was told of.
insert into tidemark.deliveries (alert_id, channel, kind, hours, document)
select a.id, c.channel, 'reminder', h.hours, tidemark.told_of(a)
  from public.tds_alerts a
 cross join unnest(array['webhook', 'email']) c (channel)
 cross join lateral (
       select greatest(a.triggered_at, max(d.created_at)) as told_at from tidemark.deliveries d
        where d.alert_id = a.id and d.channel = c.channel and d.kind = 'worsened') t
 cross join lateral (
       select max(w.hours) as hours from unnest(array[1, 4, 24]) w (hours)
        where t.told_at <= app_now() - make_interval(hours => w.hours)) h
 where not a.resolved and not a.acknowledged and a.severity in ('error', 'critical') and h.hours is not null
   and not exists (select 1 from tidemark.deliveries d
                    where d.alert_id = a.id and d.channel = c.channel and d.kind = 'reminder' and d.hours >= h.hours)
on conflict do nothing;

-- name: skip
-- Close what is due on other channels than these: nobody is there to be told.
update tidemark.deliveries d
   set state = 'skipped', ready_at = null, token = null, leased_until = null, ended_at = app_now(), last_error = :reason
  from (select id from tidemark.deliveries where state = 'due' and not (:channels::jsonb ? channel) order by id limit :limit for update skip locked) s
 where d.id = s.id;

-- name: take
-- The right to send what is due on a channel, oldest first; an attempt is counted before it is made.
with taken as (
    select id from tidemark.deliveries
     where state = 'due' and channel = :channel and ready_at <= app_now() and coalesce(leased_until, '-infinity') <= app_now()
     order by ready_at, created_at, id limit :limit for update skip locked
)
update tidemark.deliveries d
   set token = nextval('tidemark.token'), leased_until = app_now() + :lease::interval, attempts = d.attempts + 1
  from taken t where d.id = t.id
returning d.id, d.alert_id, d.kind, d.hours, d.document, d.attempts, d.token, d.created_at;

-- name: send
-- They were sent, by those who still hold their tokens.
with held as (
    select (h->>'id')::uuid as id, (h->>'token')::bigint as token from jsonb_array_elements(:held::jsonb) h
), sent as (
    update tidemark.deliveries d
       set state = 'sent', ready_at = null, token = null, leased_until = null, ended_at = app_now(), last_error = null
      from held h where d.id = h.id and d.token = h.token and d.state = 'due'
    returning d.alert_id, d.channel, d.created_at
), counted as (
    insert into tidemark.deltas (name, amount) select 'delivered', count(*) from sent having count(*) > 0
), older as (
    -- What was sent says all that they would have said.
    update tidemark.deliveries d
       set state = 'superseded', ready_at = null, token = null, leased_until = null, ended_at = app_now()
      from (select alert_id, channel, max(created_at) as created_at from sent group by alert_id, channel) s
     where d.alert_id = s.alert_id and d.channel = s.channel and d.created_at < s.created_at and d.state = 'due'
       and d.id not in (select id from held)
)
select count(*) from sent;

-- name: put_off
-- They were not sent: the next attempt is due later, or, without a time, there is none; :uncounted: nor was one made.
with held as (
    select (h->>'id')::uuid as id, (h->>'token')::bigint as token, (h->>'wait')::float8 as wait from jsonb_array_elements(:held::jsonb) h
), ended as (
    update tidemark.deliveries d
       set state = case when h.wait is null then 'failed' else 'due' end, ready_at = app_now() + make_interval(secs => h.wait),
           ended_at = case when h.wait is null then app_now() end, token = null, leased_until = null, last_error = :error,
           attempts = d.attempts - :uncounted::boolean::integer
      from held h where d.id = h.id and d.token = h.token and d.state = 'due'
    returning d.state
), counted as (
    insert into tidemark.deltas (name, amount) select 'undelivered', count(*) from ended where state = 'failed' having count(*) > 0
)
select count(*) from ended;

-- name: close_channel
-- Its receiver wants nothing any more.
insert into tidemark.closed_channels as c (channel, fingerprint, reason) values (:channel, :fingerprint, :reason)
on conflict (channel) do update set fingerprint = excluded.fingerprint, closed_at = app_now(), reason = excluded.reason;

-- name: closed
-- The channels that want nothing any more.
select channel, fingerprint from tidemark.closed_channels;

-- name: open_channel
-- It was set up anew.
delete from tidemark.closed_channels where channel = :channel and fingerprint <> :fingerprint;

-- name: digest_above
-- How many may be due by e-mail at once before one message tells of all.
select greatest(1, coalesce((select (value #>> '{}')::integer from tidemark.settings where key = 'alerts.digest_above'), 5));

-- name: prune
-- Forget what ended long ago.
delete from tidemark.deliveries
 where id in (select d.id from tidemark.deliveries d
               where d.state <> 'due' and d.ended_at < app_now() - make_interval(days => greatest(1, coalesce(
                     (select (s.value #>> '{}')::integer from tidemark.settings s where s.key = 'deliveries.keep_days'), 30)))
               order by d.ended_at limit :limit for update skip locked);

-- name: is_needed
-- Whether anything is due or old enough to be forgotten, or an alert is open that people may have to be reminded of.
select exists (select from tidemark.deliveries where state = 'due')
    or exists (select from public.tds_alerts where not resolved and not acknowledged and severity >= 'error')
    or exists (select from tidemark.deliveries d
                where d.state <> 'due' and d.ended_at < app_now() - make_interval(days => greatest(1, coalesce(
                      (select (s.value #>> '{}')::integer from tidemark.settings s where s.key = 'deliveries.keep_days'), 30))));
