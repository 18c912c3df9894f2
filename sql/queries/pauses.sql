-- Pauses: nothing is begun while the schema changes. A pause ends by itself.

-- name: begin
-- Begin it, or go on with the one that is under way; for how long it has been under way, in seconds.
insert into tidemark.pauses as p (name, paused_by, until, besides)
values ('migrate', :holder, app_now() + :lasts::interval, array(select jsonb_array_elements_text(:besides::jsonb)))
on conflict (name) do update
   set paused_by = excluded.paused_by, begun_at = case when p.until > app_now() then p.begun_at else excluded.begun_at end,
       until = excluded.until, besides = excluded.besides
returning extract(epoch from app_now() - begun_at)::float8;

-- name: end
-- Go on, if it is this holder's pause.
delete from tidemark.pauses where name = 'migrate' and paused_by = :holder;

-- name: besides
-- What this release may begin now: null: anything; else the kinds that it may, none of them while it is drained.
select case
       when exists (select from tidemark.drains where deployment = :deployment and release = :release and ended_at is null) then '{}'
       else (select besides from tidemark.pauses where until > app_now() limit 1) end::text[];

-- name: at_work
-- How many workers are at something else than kinds that go on in a pause.
select count(*) from tidemark.permits where kind not in (select jsonb_array_elements_text(:besides::jsonb));
