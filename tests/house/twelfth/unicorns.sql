-- A twelfth record type.
alter type public.tds_entity_type add value if not exists 'unicorn';

-- Rare, and priced accordingly.
create table if not exists erp.unicorns (
    organization_id text collate "C" not null,
    source_id text collate "C" not null,
    name text,
    price numeric,
    source_modified_at timestamptz,
    settled boolean not null default false,
    observed_at timestamptz not null,
    detail_document jsonb,
    detail_hash text not null default '',
    list_document jsonb,
    list_hash text,
    detail_stale boolean not null default false,
    ambiguous boolean not null default false,
    provenance public.tds_source_type not null,
    event_id uuid,
    deleted_at timestamptz,
    created_at timestamptz not null default app_now(),
    updated_at timestamptz not null default app_now(),
    primary key (organization_id, source_id)
) with (fillfactor = 90);
