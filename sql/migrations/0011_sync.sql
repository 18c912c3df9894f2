-- Syncs: what their runs, cursors and refetches need beside what users know of them.

-- A page is logged without a queue row: nothing of it was ever queued.
alter table public.tds_sync_logs alter column sync_queue_id drop not null;
create index if not exists tds_sync_logs_run on public.tds_sync_logs (sync_run_id) where sync_run_id is not null;

alter table public.tds_sync_runs add column if not exists plan_id uuid;                 -- the plan that does the work; the run of all entities has its id
alter table public.tds_sync_runs add column if not exists mode text;                    -- full, incremental, stock or ids
alter table public.tds_sync_runs add column if not exists pages integer not null default 0;
alter table public.tds_sync_runs add column if not exists newest timestamptz;           -- greatest stamp seen
alter table public.tds_sync_runs add column if not exists first_served_at timestamptz;  -- the source's clock at the first page
create index if not exists tds_sync_runs_plan on public.tds_sync_runs (plan_id);

-- A record to be read again is claimed by one call at a time, and asked for again while that call is on its way it stays.
alter table tidemark.refetches add column if not exists token bigint;
alter table tidemark.refetches add column if not exists leased_until timestamptz;
alter table tidemark.refetches add column if not exists claimed_requests integer;
alter table tidemark.refetches add column if not exists ready_at timestamptz not null default '-infinity';
alter table tidemark.refetches add column if not exists attempts integer not null default 0;
alter table tidemark.refetches add column if not exists message text;
comment on column tidemark.refetches.reason is
    'asked: by an operator; ambiguous: two contents at one stamp; hint: no version came; partial: fields were left out; '
    'missing: a full list did not have it; moved: a document moved its stock; drift: the comparison found it different; '
    'detail: only its row of the list is known';

insert into tidemark.settings (key, value, value_type, description) values
    ('sync.refetch_calls', '60', 'integer', 'Calls that one sync may spend on reading single records again'),
    ('sync.details', '200', 'integer', 'Records per sync whose details are fetched because only their row of the list is known'),
    ('sync.whole_list_pages', '5', 'integer', 'A list that cannot be filtered is read hourly as long as it has no more pages than this'),
    ('sync.lookback_seconds', '300', 'integer', 'How far before its cursor an incremental sync begins'),
    ('sync.missing_share', '0.01', 'number', 'Share of an entity that may be missing from a full list before nothing is believed of it')
on conflict do nothing;
update tidemark.settings set value = '{"sync.pages": 3, "sync.refetch": 1}' where key = 'plans.concurrency' and value = '{}' and version = 1;

grant select, insert, update on public.tds_sync_runs, public.tds_sync_cursors to tidemark_worker;
grant delete on tidemark.refetches to tidemark_worker;
