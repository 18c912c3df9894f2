-- Targets: what is deployed to.

-- name: get
-- One target.
select name, provider, config, version, is_frozen, frozen_reason, frozen_at, updated_at, updated_by
  from tidemark.targets where name = :name;

-- name: listed
-- Every target.
select name, provider, config, version, is_frozen, frozen_reason, frozen_at, updated_at, updated_by
  from tidemark.targets order by name collate "C";

-- name: add
-- A target that is not there yet; no row, when it is.
insert into tidemark.targets as t (name, provider, config, updated_by) values (:name, :provider, :config::jsonb, :by)
    on conflict (name) do nothing
returning t.name, t.provider, t.config, t.version, t.is_frozen, t.frozen_reason, t.frozen_at, t.updated_at, t.updated_by;

-- name: change
-- Another provider or config for a target that is there; no row, when it is not, or not at `version` any more.
update tidemark.targets
   set provider = :provider, config = :config::jsonb, version = version + 1, updated_at = app_now(), updated_by = :by
 where name = :name and (:version::integer is null or version = :version::integer)
returning name, provider, config, version, is_frozen, frozen_reason, frozen_at, updated_at, updated_by;

-- name: set_frozen
-- Whether deploys that nobody here asked for are switched off, and why.
update tidemark.targets
   set is_frozen = :is_frozen, frozen_reason = case when :is_frozen then :reason::text end,
       frozen_at = case when :is_frozen then coalesce(frozen_at, app_now()) end
 where name = :name;
