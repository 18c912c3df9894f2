-- Configuration: rows that operators change without a deploy.

-- name: all
-- Every active setting, the users' eleven and ours, as text to be read by its type.
select config_key, config_value #>> '{}', value_type from public.tds_configuration where is_active
union all
select key, value #>> '{}', value_type from tidemark.settings;

-- name: shown
-- Every setting, or those of the given keys, as people see them.
select key, text, value_type, description, category, validation_schema, is_sensitive, version, updated_at, updated_by
  from tidemark.configured
 where :keys::jsonb is null or :keys::jsonb ? key
 order by key;

-- name: history
-- What a setting was before, latest first.
select version, value #>> '{}', set_at, set_by, replaced_at, replaced_by
  from tidemark.settings_history
 where key = :key
 order by version desc
 limit :limit;

-- name: change
-- Give settings other values; those whose version is not the given one any more are left out of the count.
with given as materialized (
    select * from jsonb_to_recordset(:rows::jsonb) as r (key text, text text, version integer)
), users as (
    update public.tds_configuration c
       set config_value = to_jsonb(g.text), updated_by = :actor
      from given g
     where c.config_key = g.key and c.is_active and c.version = g.version
    returning 1
), ours as (
    update tidemark.settings s
       set value = case when jsonb_typeof(s.value) = 'string' then to_jsonb(g.text) else g.text::jsonb end, updated_at = app_now(), updated_by = :actor
      from given g
     where s.key = g.key and s.version = g.version
    returning 1
)
select (select count(*) from users) + (select count(*) from ours);
