-- Backups of the database, as whoever makes them says: what takes something away may wait for one that is recent.

create table if not exists tidemark.backups (
    reference text primary key,                -- what finds it again where it is kept
    at timestamptz not null,                   -- what was written by then is in it
    recorded_at timestamptz not null default app_now(),
    recorded_by text not null,
    constraint a_backup_holds_nothing_of_the_future check (at <= recorded_at + interval '1 minute')
);
create index if not exists backups_at on tidemark.backups (at);

insert into tidemark.settings (key, value, value_type, description, validation_schema) values
    ('migrations.backup_within_hours', '0', 'number', 'How old the newest backup may be when a migration takes something away; 0: none is asked for',
     '{"type": "number", "minimum": 0}')
on conflict do nothing;

grant select, insert on tidemark.backups to tidemark_operator;
