-- What stands in the business tables.

-- name: counts
-- How many records of an entity are live, deleted, ambiguous, and known by their row of a list alone.
select count(*) filter (where deleted_at is null), count(*) filter (where deleted_at is not null), count(*) filter (where ambiguous),
       count(*) filter (where detail_stale and deleted_at is null), max(source_modified_at), max(observed_at)
  from erp.@table@ where organization_id = :organization;
