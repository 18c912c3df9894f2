-- Truth: what names an altered leaf, votes and certificates; and tokens that were spent or refused.

-- The XOR of a chunk's digests: with it, and the nodes over the chunk, one altered leaf is found and what it was is known.
alter table tidemark.leaves add column if not exists parity bytea;
do $$ begin
    if not exists (select from pg_constraint where conname = 'parity_is_a_digest' and conrelid = 'tidemark.leaves'::regclass) then
        alter table tidemark.leaves add constraint parity_is_a_digest check (octet_length(parity) = 32) not valid;
    end if;
end $$;

-- The same for chunks in which failed shards went well later: what the tree holds of them, written when it is closed.
create table if not exists tidemark.healed_chunks (
    plan uuid not null,
    stage integer not null,
    lo bigint not null,
    peaks bytea not null,
    parity bytea not null,
    primary key (plan, stage, lo)
);

-- What verifiers say of something, once each. Insert-only.
create table if not exists tidemark.votes (
    subject text collate "C" not null,
    verifier text not null,
    vote text not null,
    reason text not null,
    evidence text not null,                    -- JSON as it was signed
    deadline_at timestamptz not null,
    cast_at timestamptz not null,
    signature text not null,
    primary key (subject, verifier),
    constraint vote_is_known check (vote in ('yes', 'no', 'abstain'))
);

-- Signed statements of what came of a plan. They count as long as the plan stands as it did then. Insert-only.
create table if not exists tidemark.certificates (
    id uuid primary key,
    plan uuid not null,
    root bytea not null,
    plan_finished_at timestamptz not null,
    statement text not null,                   -- JSON as it was signed
    signature text not null,
    issued_at timestamptz not null,
    constraint a_root_is_certified_once unique (plan, root, plan_finished_at)
);

-- Nonces of tokens that may be used once, until nobody would accept them anyway.
create table if not exists tidemark.nonces (
    nonce text primary key,
    until timestamptz not null
);
create index if not exists nonces_until on tidemark.nonces (until);

-- Tokens that were refused: who showed what, and why it did not count. Bounded by whoever writes.
create table if not exists tidemark.refusals (
    seq bigint generated always as identity primary key,
    at timestamptz not null default app_now(),
    who text not null,
    what text not null,
    why text not null,
    claimed jsonb not null                     -- what the token said, if its signature was good
);
create index if not exists refusals_at on tidemark.refusals (at);

grant select, insert, update on tidemark.healed_chunks to tidemark_worker;
grant select, insert on tidemark.votes, tidemark.certificates to tidemark_worker;
-- Update, because whoever forgets the oldest locks them first.
grant select, insert, update, delete on tidemark.nonces, tidemark.refusals to tidemark_worker, tidemark_operator;
grant select on tidemark.healed_chunks, tidemark.votes, tidemark.certificates, tidemark.refusals to tidemark_status;

insert into tidemark.settings (key, value, value_type, description) values
    ('consensus.seconds', '300', 'number', 'How long verifiers may take to vote on a certification')
on conflict do nothing;
