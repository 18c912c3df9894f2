-- Votes of verifiers, once each.

-- name: now
-- The time, by the clock that everybody goes by.
select app_now();

-- name: cast
-- A vote; no row when this verifier has voted.
insert into tidemark.votes (subject, verifier, vote, reason, evidence, deadline_at, cast_at, signature)
values (:subject, :verifier, :vote, :reason, :evidence, :deadline_at, :cast_at, :signature)
on conflict (subject, verifier) do nothing;

-- name: of
-- What was voted on something, in order.
select subject, verifier, vote, reason, evidence, deadline_at, cast_at, signature from tidemark.votes where subject = :subject order by cast_at, verifier;

-- name: latest
-- The last of the subjects that begin so.
select subject from tidemark.votes where subject >= :prefix::text and subject < :prefix::text || '~' order by deadline_at desc, subject desc limit 1;
