-- Drains: releases that finish what they hold, and take nothing new.

-- name: begin
-- Drain a release, by a deadline; once more: by a new deadline.
insert into tidemark.drains (deployment, release, asked_by, deadline_at)
values (:deployment, :release, :actor, app_now() + :patience::interval)
on conflict (deployment, release) do update
   set asked_at = app_now(), asked_by = excluded.asked_by, deadline_at = excluded.deadline_at, idle_at = null, ended_at = null;

-- name: end
-- It may take something again.
update tidemark.drains set ended_at = app_now() where deployment = :deployment and release = :release and ended_at is null;

-- name: is_draining
-- Whether this release is to take nothing.
select exists (select from tidemark.drains where deployment = :deployment and release = :release and ended_at is null);

-- name: find
-- How far the draining of a release is.
select asked_at, asked_by, deadline_at, deadline_at <= app_now() as is_due, idle_at
  from tidemark.drains where deployment = :deployment and release = :release and ended_at is null;

-- name: at_work
-- What is being worked on: lanes by this holder, and failed shards by whoever it is.
select (select count(*) from tidemark.lanes where holder = :holder and leased_until >= app_now()),
       (select count(*) from tidemark.shard_failures where status = 'retry' and leased_until >= app_now());

-- name: hand_back
-- Take every lane from a holder: what it is at now is not its to report any more, and others begin it anew.
update tidemark.lanes
   set token = nextval('tidemark.token'), busy = done, leased_until = null
 where holder = :holder and leased_until is not null;

-- name: settle
-- Write down when it was first seen to hold nothing.
update tidemark.drains set idle_at = app_now()
 where deployment = :deployment and release = :release and ended_at is null and idle_at is null;
