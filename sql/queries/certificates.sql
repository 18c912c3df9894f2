-- Certificates: signed statements of what came of plans.

-- name: add
-- Certify a plan as it stands; no row when it has changed since it was looked at, or is certified already.
insert into tidemark.certificates (id, plan, root, plan_finished_at, statement, signature, issued_at)
select :id, p.id, p.root, p.finished_at, :statement, :signature, :issued_at
  from tidemark.plans p where p.id = :plan and p.root = :root and p.finished_at = :finished_at
on conflict (plan, root, plan_finished_at) do nothing;

-- name: newest
-- The newest certificate of a plan, and whether the plan still stands as it did then.
select c.id::text, c.plan::text, c.root, c.statement, c.signature, c.issued_at, (p.root is not distinct from c.root and p.finished_at is not distinct from c.plan_finished_at) as is_current
  from tidemark.certificates c join tidemark.plans p on p.id = c.plan
 where c.plan = :plan
 order by c.issued_at desc, c.id
 limit 1;

-- name: now
-- The time, by the clock that everybody goes by.
select app_now();
