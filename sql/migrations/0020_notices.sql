-- The bus: notices, written in the transactions that they tell of.

create sequence if not exists tidemark.notice_seq;

create table if not exists tidemark.notices (
    seq bigint primary key default nextval('tidemark.notice_seq'),
    xid xid8 not null default pg_current_xact_id(),   -- readers see only what is below every transaction that still runs
    id uuid not null default gen_random_uuid(),
    at timestamptz not null default app_now(),
    topic text not null,
    source text not null,
    kind text not null,
    correlation_id text,
    causation_id text,
    dedupe_key text,
    payload jsonb not null,
    constraint notice_kind_is_known check (kind in ('intent', 'heal', 'fact', 'audit', 'metric', 'control')),
    constraint notices_are_told_once unique (dedupe_key)
);
create index if not exists notices_in_order on tidemark.notices (xid, seq);

grant usage on sequence tidemark.notice_seq to tidemark_worker, tidemark_operator;
grant select, insert, delete on tidemark.notices to tidemark_worker;
grant select, insert on tidemark.notices to tidemark_operator;
grant select on tidemark.notices to tidemark_status;
