-- Deliveries: what people are to be told of an alert, written by the transaction that changes it and sent by whoever comes next.

-- One row per change of an alert and channel. Its id goes out with every attempt, so that a receiver knows what it has had.
create table if not exists tidemark.deliveries (
    id uuid primary key default gen_random_uuid(),
    alert_id uuid not null,                    -- no foreign key: what was told stays told when the alert is gone
    channel text not null,
    kind text not null,
    hours integer not null default 0,          -- of a reminder: how long it had been open
    document jsonb not null,                   -- the alert as it stood then
    state text not null default 'due',
    ready_at timestamptz default app_now(),
    attempts integer not null default 0,       -- begun, so that a sender that died counts
    token bigint,                              -- fences the attempt that is on its way
    leased_until timestamptz,
    created_at timestamptz not null default app_now(),
    ended_at timestamptz,
    last_error text,
    constraint channel_is_known check (channel in ('webhook', 'email')),
    constraint kind_is_known check (kind in ('opened', 'worsened', 'resolved', 'reminder')),
    constraint state_is_known check (state in ('due', 'sent', 'failed', 'skipped', 'superseded')),
    constraint due_deliveries_have_a_time check ((state = 'due') = (ready_at is not null)),
    constraint ended_deliveries_have_a_time check ((state = 'due') = (ended_at is null)),
    constraint a_lease_has_a_token check ((token is null) = (leased_until is null)),
    constraint only_due_deliveries_are_leased check (state = 'due' or token is null),
    constraint only_reminders_have_hours check ((kind = 'reminder') = (hours > 0))
) with (fillfactor = 70);
create index if not exists deliveries_due on tidemark.deliveries (channel, ready_at) where state = 'due';
create index if not exists deliveries_ended on tidemark.deliveries (ended_at) where state <> 'due';
create index if not exists deliveries_of_alert on tidemark.deliveries (alert_id, channel);
create unique index if not exists a_reminder_is_made_once on tidemark.deliveries (alert_id, channel, hours) where kind = 'reminder';

-- A channel whose receiver has said that it wants nothing any more; it is used again once it is set up anew.
create table if not exists tidemark.closed_channels (
    channel text primary key,
    fingerprint text not null,                 -- of the address that said so
    closed_at timestamptz not null default app_now(),
    reason text not null
);

-- An alert as people are told of it: bounded, and nothing of it but what the alert itself says.
create or replace function tidemark.told_of(p_alert public.tds_alerts) returns jsonb language sql stable as $$
    select jsonb_build_object(
        'id', p_alert.id, 'alert_type', p_alert.alert_type, 'severity', p_alert.severity, 'title', p_alert.title,
        'message', left(p_alert.message, 4000), 'entity_type', p_alert.entity_type, 'affected_count', p_alert.affected_count,
        'threshold_value', p_alert.threshold_value, 'actual_value', p_alert.actual_value,
        'state', case when p_alert.resolved then 'resolved' when p_alert.acknowledged then 'acknowledged' else 'open' end,
        'triggered_at', p_alert.triggered_at, 'resolved_at', p_alert.resolved_at, 'resolved_by', p_alert.resolved_by,
        'metadata', case when length(p_alert.alert_metadata::text) <= 4000 then p_alert.alert_metadata end)
$$;

-- Whoever changes an alert need not know of deliveries, nor have any right to them.
create or replace function tidemark.deliver_alert() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, tidemark, pg_temp as $$
begin
    insert into tidemark.deliveries (alert_id, channel, kind, document)
    select new.id, c.channel,
           case when new.resolved then 'resolved' when tg_op = 'INSERT' or old.resolved then 'opened' else 'worsened' end,
           tidemark.told_of(new)
      from (values ('webhook'), ('email')) c (channel);
    return null;
end $$;

create or replace trigger alert_opened after insert on public.tds_alerts
    for each row when (not new.resolved) execute function tidemark.deliver_alert();
create or replace trigger alert_changed after update of severity, resolved on public.tds_alerts
    for each row when (new.resolved <> old.resolved or (not new.resolved and new.severity > old.severity))
    execute function tidemark.deliver_alert();

revoke all on function tidemark.told_of(public.tds_alerts), tidemark.deliver_alert() from public;
grant execute on function tidemark.told_of(public.tds_alerts) to tidemark_worker;
grant select, insert, update, delete on tidemark.deliveries, tidemark.closed_channels to tidemark_worker;
grant select on tidemark.deliveries, tidemark.closed_channels to tidemark_status, tidemark_operator;
-- An operator who resets a breaker closes its alert, and with it what is remembered of how that was resolved by hand.
grant delete on tidemark.conditions to tidemark_operator;

insert into tidemark.settings (key, value, value_type, description) values
    ('alerts.digest_above', '5', 'integer', 'Alerts that are due by e-mail at once, above which one message tells of all'),
    ('deliveries.keep_days', '30', 'integer', 'Days for which it is told what was sent about alerts')
on conflict do nothing;
