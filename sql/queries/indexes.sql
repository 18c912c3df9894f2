-- Indexes: the files of a directory, and the pages of a documentation, as a stage found them.

-- name: put_files
-- Files, or what they are by now when the shard is run again.
insert into tidemark.indexed_files (plan, stage, path, bucket, digest, bytes, content_type)
select :plan, :stage, f.path, :bucket, f.digest, f.bytes, f.content_type
  from jsonb_to_recordset(:files::jsonb) as f (path text, digest text, bytes bigint, content_type text)
 where not exists (select from tidemark.indexed_files i where i.plan = :plan and i.stage = :stage and i.path = f.path)
 order by f.path collate "C";

-- name: files
-- The files of an index, by path.
select path, bucket, digest, bytes, content_type from tidemark.indexed_files
 where plan = :plan and stage = :stage order by path collate "C";

-- name: put_docs
-- Pages.
insert into tidemark.indexed_docs (plan, stage, path, route, title, headings, words, word_count, digest)
select :plan, :stage, d.path, :route, d.title, d.headings, to_tsvector('simple', d.text), d.word_count, d.digest
  from jsonb_to_recordset(:docs::jsonb) as d (path text, title text, headings jsonb, text text, word_count integer, digest text)
 where not exists (select from tidemark.indexed_docs i where i.plan = :plan and i.stage = :stage and i.path = d.path)
 order by d.path collate "C";

-- name: find_docs
-- The pages of an index that have all of these words, the best first.
select path, route, title from tidemark.indexed_docs
 where plan = :plan and stage = :stage and words @@ plainto_tsquery('simple', :words)
 order by ts_rank(words, plainto_tsquery('simple', :words)) desc, path collate "C"
 limit :limit;

-- name: drop_files
-- An index of files is of no use any more, or some of it is taken back.
delete from tidemark.indexed_files where plan = :plan and stage = :stage and (:bucket::text is null or bucket = :bucket);

-- name: drop_docs
-- The same of pages.
delete from tidemark.indexed_docs where plan = :plan and stage = :stage and (:route::text is null or route = :route);
