-- The ground everything stands on: schemas, the one clock, and the roles that functions run as.

create schema if not exists tidemark;
create schema if not exists erp;

-- Now, by the one clock. Only a test database replaces the body, so that tests can turn it.
create or replace function public.app_now() returns timestamptz
language sql stable parallel safe as $$ select now() $$;

-- Roles belong to the cluster, not to the database: another database's migration may be making them right now.
do $$
declare
    v_role text;
begin
    foreach v_role in array array['ingest', 'worker', 'status', 'operator', 'migrate'] loop
        begin
            execute format('create role %I nologin noinherit', 'tidemark_' || v_role);
        exception when duplicate_object or unique_violation then null;
        end;
        -- From 16 on, making a role does not give the right to set it.
        begin
            execute format('grant %I to %I', 'tidemark_' || v_role, current_user);
        exception when insufficient_privilege then
            if not pg_has_role(current_user, 'tidemark_' || v_role, 'member') then raise; end if;
        end;
    end loop;
end $$;

revoke create on schema public from public;
grant usage on schema public, tidemark, erp to tidemark_worker, tidemark_status, tidemark_operator, tidemark_migrate;
grant usage on schema tidemark to tidemark_ingest;

-- A new entity's tables are open to those who work with them, without another grant.
alter default privileges in schema erp grant select, insert, update, delete on tables to tidemark_worker;
alter default privileges in schema erp grant select on tables to tidemark_status, tidemark_operator;
