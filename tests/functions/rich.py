"""A database in which everything has happened: events in every state, alerts, syncs, plans, slots; some of it hours ago."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from common import db
from common.errors import Unauthentic
from common.flows import process, receive, tick, work
from common.signatures import standard_webhooks
from common.stores import alerts, leases, queue
from tests.kinds import a_stage, submit
from tests.make import a_request, an_invoice, an_item, send, signed

Sql = Callable[..., list[list[Any]]]
REFUSED = 3  # requests with a wrong signature, which leave no row behind
WHSEC = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
LATER = "2026-06-10T09:45:44-0400"
# Customers that cannot be written: one as if the database had trouble, one for good.
POISON = """
    create function public.poison() returns trigger language plpgsql as $$ begin
        if new.source_id like 'trouble%' then raise exception 'the disk is on fire'; end if;
        if new.source_id like 'never%' then raise exception 'no such customer' using errcode = 'check_violation'; end if;
        return new;
    end $$;
    create trigger poison before insert on erp.customers for each row execute function public.poison()
"""
SYNCS = """
    insert into tds_sync_cursors (source_type, entity_type, last_sync_at, cursor_value) values
        ('zoho', 'product', app_now() - interval '7 minutes', null), ('zoho', 'invoice', app_now() - interval '3 days', null);
    insert into tds_sync_runs (run_type, entity_type, status, mode, started_at, completed_at) values
        ('scheduled', 'product', 'completed', 'full', app_now() - interval '1 hour', app_now() - interval '50 minutes'),
        ('manual', 'product', 'failed', 'full', app_now() - interval '1 minute', app_now()),
        ('manual', 'customer', 'processing', 'full', app_now() - interval '2 minutes', null);
"""
SLOTS = """
    update tidemark.schedules set next_slot = app_now() - interval '90 seconds' where name = 'auto_healing';
    update tidemark.schedules set next_slot = app_now() + interval '1 hour' where name <> 'auto_healing';
    insert into tidemark.fires (schedule, slot, state, finished_at) values
        ('daily_full_sync', app_now() - interval '2 days', 'missed', app_now()), ('daily_full_sync', app_now() - interval '1 day', 'missed', app_now()),
        ('stock_sync_15min', app_now() - interval '1 day', 'done', app_now());
"""


def a_customer(identifier: str) -> dict[str, Any]:
    return {
        "contact": {"contact_id": identifier, "contact_name": "Bowman", "contact_type": "customer", "last_modified_time": LATER}
    }


def under_a_delivery_id(body: Any, identifier: str) -> None:
    """Receive a webhook whose sender names the delivery."""
    request = a_request("products", body, headers=(("webhook-id", identifier),))
    signature = standard_webhooks.sign(WHSEC, request)
    added = tuple((name, value) for name, value in signature.items() if name != "webhook-id")
    receive.receive(replace(request, headers=request.headers + added))


def events_of_before() -> None:
    """Applied, twice delivered, in quarantine: more than an hour ago."""
    for number in range(4):
        send("products", an_item(f"old-{number}"))
    send("products", an_item("old-1"))
    send("products", {"item": {"name": "of no id"}})
    process.process()


def events_of_now() -> None:
    """Every outcome, a conflict of delivery ids, a wrong shape that only the second look finds."""
    for number in range(5):
        send("products", an_item(f"new-{number}"))
    process.process()
    send("products", an_item("new-0"))
    send("products", an_item("new-0", at=LATER))  # the same but for the stamp
    send("products", an_item("new-1", at=LATER, name="Newer"))
    process.process()
    send("products", an_item("new-1", at="2026-06-09T23:45:44-0400", name="Late"))  # older than what stands
    for name in ("One", "Another"):  # two contents under one stamp
        send("products", an_item("new-2", at=LATER, name=name))
    send("invoices", an_invoice(lines=2))
    send("products", an_item("new-3", rate="a lot"))
    under_a_delivery_id(an_item("one"), "delivery-1")
    under_a_delivery_id(an_item("two"), "delivery-1")
    under_a_delivery_id(an_item("two"), "delivery-1")
    process.process()


def failures(turn_clock: Callable[[timedelta], None]) -> None:
    """Events that wait for a retry, are held by a worker, died at once, or by and by; and one that was revived."""
    for identifier in ("never-1", "never-2", "trouble-dies"):
        send("customers", a_customer(identifier))
    for _ in range(4):
        process.process()
        turn_clock(timedelta(minutes=3))
    send("customers", a_customer("trouble-held"))
    process.process()
    turn_clock(timedelta(minutes=3))
    with db.transaction("worker") as tx:
        assert len(queue.claim(tx, limit=1, lease=timedelta(hours=1), worker="held")) == 1
    send("customers", a_customer("trouble-waits"))
    process.process()


def trouble() -> None:
    """Alerts: three are open, one of them is known of, and one is over."""
    with db.transaction("worker") as tx:
        for kind, severity in (("queue_backlog", "warning"), ("lag", "error"), ("quota", "critical"), ("over", "error")):
            alerts.raise_alert(tx, alert_type=kind, severity=severity, title=kind, message=kind, entity="product")
        alerts.resolve(tx, alert_type="over", entity="product")


def everything(sql: Sql, turn_clock: Callable[[timedelta], None], configured: Callable[..., None], *, folds: str) -> None:
    """Let it all happen; the counters are folded never, half-way, or at the end as well."""
    sql(POISON)
    sql("update tidemark.settings set value = '100000' where key like 'operator.calls_per%'")
    configured(ZOHO_WEBHOOK_SECRETS=f"mysecretkey12,{WHSEC}")
    receive.refusals.take()
    events_of_before()
    if folds != "never":
        tick.PARTS["folded"]()
    turn_clock(timedelta(hours=2))
    for number in range(REFUSED):
        with pytest.raises(Unauthentic):
            receive.receive(signed(a_request("products", an_item(f"refused-{number}")), "wrong"))
    events_of_now()
    failures(turn_clock)
    letter = sql("select d.id from tds_dead_letter_queue d where d.source_entity_id = 'never-2'")[0][0]
    with db.transaction("operator") as tx:
        queue.revive(tx, letter, actor="somebody")
    for number in range(6):
        send("products", an_item(f"lately-{number}"))
    process.process()
    turn_clock(timedelta(minutes=1))
    for number in range(3):
        send("products", an_item(f"waits-{number}"))
    trouble()
    sql("update tds_alerts set acknowledged = true, acknowledged_at = app_now() where alert_type = 'quota'")
    sql(SYNCS + SLOTS)
    with db.transaction("worker") as tx:
        leases.hold(tx, "active", holder="elsewhere", pid=4711)
    sql("update tidemark.leases set heartbeat_at = acquired_at, expires_at = acquired_at + interval '1 second'")
    turn_clock(timedelta(seconds=5))
    submit(a_stage(shards=5))
    submit(a_stage(shards=20, refuse=[4], trouble={"10": 1}), a_stage("next", needs=["one"], shards=7))
    work.work()
    if folds == "always":
        tick.PARTS["folded"]()
    # From here on the time stands still, so that ages can be compared.
    turn_clock(timedelta(seconds=7))
    at = sql("select app_now()::text")[0][0]
    sql(f"create or replace function public.app_now() returns timestamptz language sql stable as $$ select timestamptz '{at}' $$")
