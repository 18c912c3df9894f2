-- Batches: SQL of an operator, run as a role that reaches the business data and nothing else.

-- name: as_batch
-- From here on as tidemark_batch, and within these times.
select set_config('role', 'tidemark_batch', true), set_config('lock_timeout', :lock_ms::text, true),
       set_config('statement_timeout', :statement_ms::text, true);

-- name: as_worker
-- As the worker again, to write down what came of it.
select set_config('role', 'tidemark_worker', true);
