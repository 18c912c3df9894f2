-- Nonces of tokens that may be used once.

-- name: spend
-- Use a nonce up; no row when it was used before. Some of those that nobody would accept any more go at the same time.
with gone as (
    delete from tidemark.nonces where nonce in (select nonce from tidemark.nonces where until < app_now() order by until limit 100 for update skip locked)
)
insert into tidemark.nonces (nonce, until) values (:nonce, :until) on conflict (nonce) do nothing;
