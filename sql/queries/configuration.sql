-- Configuration: rows that operators change without a deploy.

-- name: all
-- Every active setting, the users' eleven and ours, as text to be read by its type.
select config_key, config_value #>> '{}', value_type from public.tds_configuration where is_active
union all
select key, value #>> '{}', value_type from tidemark.settings;
