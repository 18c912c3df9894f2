-- Configuration that operators change: what each value may be, and what it was before, whoever changed it.

alter table tidemark.settings add column if not exists validation_schema jsonb;

create table if not exists tidemark.settings_history (
    key text not null,
    version integer not null,
    value jsonb not null,
    set_at timestamptz not null,
    set_by text,
    replaced_at timestamptz not null default app_now(),
    replaced_by text,
    primary key (key, version)
);

-- A changed value has the next version, also when SQL changed it.
create or replace function tidemark.count_version() returns trigger language plpgsql as $$
begin
    new.version := old.version + 1;
    return new;
end $$;

create or replace function tidemark.keep_former_setting() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
begin
    insert into tidemark.settings_history (key, version, value, set_at, set_by, replaced_by)
    values (old.key, old.version, old.value, old.updated_at, old.updated_by, new.updated_by);
    return null;
end $$;

create or replace function tidemark.keep_former_configuration() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
begin
    insert into tidemark.settings_history (key, version, value, set_at, set_by, replaced_by)
    values (old.config_key, old.version, old.config_value, old.updated_at, old.updated_by, new.updated_by);
    return null;
end $$;

create or replace trigger settings_version before update on tidemark.settings
    for each row when (new.value is distinct from old.value) execute function tidemark.count_version();
create or replace trigger settings_kept after update on tidemark.settings
    for each row when (new.value is distinct from old.value) execute function tidemark.keep_former_setting();
create or replace trigger tds_configuration_version before update on public.tds_configuration
    for each row when (new.config_value is distinct from old.config_value) execute function tidemark.count_version();
create or replace trigger tds_configuration_kept after update on public.tds_configuration
    for each row when (new.config_value is distinct from old.config_value) execute function tidemark.keep_former_configuration();

-- The users' eleven and ours, in one form.
create or replace view tidemark.configured as
select config_key as key, config_value #>> '{}' as text, value_type, coalesce(description, '') as description, category,
       validation_schema, is_sensitive, version, updated_at, updated_by
  from public.tds_configuration
 where is_active
union all
select key, value #>> '{}', value_type, description, split_part(key, '.', 1), validation_schema, false, version, updated_at, updated_by
  from tidemark.settings;

update tidemark.settings set validation_schema = jsonb_build_object('type', value_type, 'minimum', 0)
 where value_type in ('integer', 'number') and validation_schema is null;
update tidemark.settings set validation_schema = validation_schema || '{"maximum": 1}'
 where (key like '%share' or key like '%.reserve.%') and not validation_schema ? 'maximum';
update tidemark.settings set validation_schema = validation_schema || '{"minimum": 1}'
 where key like '%calls_per_%' or key like '%\_days' or key like '%seconds';
-- Ticks, which renew the lease, come every 60 seconds.
update tidemark.settings set validation_schema = validation_schema || '{"minimum": 90}' where key = 'lease.seconds';

revoke all on function tidemark.count_version(), tidemark.keep_former_setting(), tidemark.keep_former_configuration() from public;
grant select on tidemark.configured, tidemark.settings_history to tidemark_operator, tidemark_status;
grant update (config_value, updated_by) on public.tds_configuration to tidemark_operator;
grant update (value, updated_at, updated_by) on tidemark.settings to tidemark_operator;
