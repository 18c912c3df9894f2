-- What the shards of a stage work on where that is a list of parts, what came of each, and what packing and indexing leave.

-- How the parts of a stage are dealt to its lanes; null: in order, cut evenly.
alter table tidemark.stages add column if not exists scheduler text;

-- What one shard of a stage works on: found when the stage opens, so that every function sees the same.
create table if not exists tidemark.parts (
    plan uuid not null,
    stage integer not null,
    shard bigint not null,
    part jsonb not null,
    weight bigint not null default 1,          -- what it costs, such as bytes: schedulers go by it
    grouped text not null default '',          -- what belongs together, such as a module: schedulers take turns by it
    kept jsonb,                                -- what taking it back needs to know, written before anything is done
    output jsonb,                              -- what came of it
    -- Checked at the end of a statement, so that a scheduler may number them anew.
    constraint parts_are_numbered primary key (plan, stage, shard) deferrable initially immediate
) with (fillfactor = 80);

-- What a whole stage came to: the manifest of a pack, an index, the digest of a dry run.
create table if not exists tidemark.stage_results (
    plan uuid not null,
    stage integer not null,
    kind text not null,
    name text not null,
    digest text not null,
    document jsonb not null,
    made_at timestamptz not null default app_now(),
    primary key (plan, stage)
);
create index if not exists stage_results_digest on tidemark.stage_results (digest);
create index if not exists stage_results_name on tidemark.stage_results (kind, name, made_at desc);

-- Which packs need an object of the artifact store; one that none needs is removed by whoever took the last back.
create table if not exists tidemark.packed_objects (
    object text not null,
    plan uuid not null,
    stage integer not null,
    shard bigint not null,
    primary key (object, plan, stage, shard)
);
create index if not exists packed_objects_part on tidemark.packed_objects (plan, stage, shard);

-- The files of a directory as a stage of kind assets.index found them.
create table if not exists tidemark.indexed_files (
    plan uuid not null,
    stage integer not null,
    path text not null,
    bucket text not null,
    digest text not null,                      -- SHA-256, hex
    bytes bigint not null,
    content_type text not null,
    primary key (plan, stage, path)
);

-- The pages of a documentation as a stage of kind docs.index found them.
create table if not exists tidemark.indexed_docs (
    plan uuid not null,
    stage integer not null,
    path text not null,
    route text not null,
    title text not null,
    headings jsonb not null,                   -- [{"level": 1, "text": "..."}]
    words tsvector not null,
    word_count integer not null,
    digest text not null,                      -- SHA-256 of the file, hex
    primary key (plan, stage, path)
);
create index if not exists indexed_docs_words on tidemark.indexed_docs using gin (words);

-- What a batch of SQL runs as: the business data, and nothing of the engine or of the sync contract.
do $$
begin
    begin
        create role tidemark_batch nologin noinherit;
    exception when duplicate_object or unique_violation then null;
    end;
    begin
        execute format('grant tidemark_batch to %I', current_user);
    exception when insufficient_privilege then
        if not pg_has_role(current_user, 'tidemark_batch', 'member') then raise; end if;
    end;
end $$;
grant usage on schema public, erp to tidemark_batch;
grant execute on function public.app_now() to tidemark_batch;
grant select, insert, update, delete on all tables in schema erp to tidemark_batch;
alter default privileges in schema erp grant select, insert, update, delete on tables to tidemark_batch;

grant select, insert, update, delete on tidemark.parts, tidemark.packed_objects to tidemark_worker;
grant select, insert, delete on tidemark.stage_results, tidemark.indexed_files, tidemark.indexed_docs to tidemark_worker;
grant select on tidemark.parts, tidemark.stage_results, tidemark.packed_objects, tidemark.indexed_files, tidemark.indexed_docs to tidemark_status;
