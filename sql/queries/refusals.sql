-- Tokens that were refused.

-- name: add
-- Remember a refusal, unless too many were of late; some of those that are long past go at the same time.
with gone as (
    delete from tidemark.refusals where seq in (select seq from tidemark.refusals where at < app_now() - :kept::interval order by at limit 100 for update skip locked)
)
insert into tidemark.refusals (who, what, why, claimed)
select :who, :what, :why, :claimed::jsonb
 where (select count(*) from (select from tidemark.refusals where at > app_now() - interval '1 hour' limit :most) r) < :most;

-- name: listed
-- The newest refusals.
select at, who, what, why, claimed from tidemark.refusals order by seq desc limit :limit;
