-- Integrity scans of source trees, and the journal of what they changed.

-- name: add_run
-- One look at a tree.
insert into tidemark.arie_runs (id, policy, dry_run, source, deployment, requested_by, summary)
values (:id, :policy, :dry_run, :source, cast(:deployment as uuid), :requested_by, :summary::jsonb)
returning at;

-- name: report
-- The last look, or the one that is asked for.
select id, at, requested_by, deployment, summary from tidemark.arie_runs
 where cast(:id as uuid) is null or id = cast(:id as uuid)
 order by at desc, id desc limit 1;

-- name: intend
-- A patch is about to be written.
insert into tidemark.arie_patches (id, run, plan, source, diff, made_by) values (:id, :run, :plan, :source, :diff, :made_by) returning at;

-- name: add_files
-- What stands in its files, and what will; in hex, null where the file is taken out.
insert into tidemark.arie_files (patch, path, mode, before, after)
select :patch, f.path, f.mode, decode(f.before, 'hex'), decode(f.after, 'hex')
  from jsonb_to_recordset(:files::jsonb) as f (path text, mode integer, before text, after text)
 order by f.path collate "C";

-- name: applied
-- It is written.
update tidemark.arie_patches set state = 'applied', applied_at = app_now() where id = :id and state = 'intended';

-- name: patch
-- One patch, locked until the transaction ends.
select id, run, plan, source, state, at, rolled_back_at, rolled_back_by from tidemark.arie_patches where id = :id for update;

-- name: files
-- What stood in the files of a patch, and what was written.
select path, mode, before, after from tidemark.arie_files where patch = :patch order by path;

-- name: rolled_back
-- What stood there before stands there again.
update tidemark.arie_patches set state = 'rolled_back', rolled_back_at = app_now(), rolled_back_by = :actor where id = :id
returning rolled_back_at;
