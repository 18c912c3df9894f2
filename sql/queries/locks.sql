-- Locks by name, given back with the transaction: there is no session to hold one behind a pooler.

-- name: wait
-- Hold the lock until the transaction ends; the two keys come from its name.
select pg_advisory_xact_lock(:first::integer, :second::integer);

-- name: take
-- Hold the lock until the transaction ends, or leave it to whoever holds it.
select pg_try_advisory_xact_lock(:first::integer, :second::integer);
