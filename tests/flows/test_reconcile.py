"""Reconciliation: what differs from the source is found with few calls, repaired, put down to a cause, and counted over time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from common import db, lookup
from common.errors import Invalid, Unavailable
from common.flows import plan_status, reconcile, statistics, sync, work
from common.outgoing import calls
from common.rules.http import Request
from common.stores import configuration
from common.stores import statistics as store
from deploy.local.zoho import StandIn
from tests.clients.conftest import environment

DAYS = 400
FEW = {
    "product": 30,
    "customer": 8,
    "vendor": 3,
    "user": 2,
    "price_list": 1,
    "stock_adjustment": 2,
    "payment": 6,
    "order": 4,
    "bill": 3,
    "credit_note": 2,
}


@pytest.fixture
def a_source(configured, sql, turn_clock):
    """`a_source(invoices)`: a source with so many invoices made over 400 days, read in full, an hour ago by every clock."""
    started = []

    def start(invoices=1000, *, load=True):
        zoho = StandIn(
            sizes=FEW | {"invoice": 0}, now=datetime.now(UTC).replace(microsecond=0) - timedelta(days=DAYS, hours=2)
        ).start()
        started.append(zoho)
        zoho.limits.off()
        for _ in range(DAYS // 4):
            zoho.create("invoice", invoices * 4 // DAYS)
            zoho.turn(4 * 86_400)
        zoho.turn(7200)
        configured(**environment(zoho))
        sql(
            "update tidemark.settings set value = '1000000' where key in ('zoho.calls_per_minute', 'zoho.burst', 'zoho.calls_per_day')"
        )
        if load:
            sync.by_hand({"mode": "full"})
            drain()
            zoho.turn(3600)
            turn_clock(timedelta(hours=1))
        zoho.forget()
        return zoho

    yield start
    for zoho in started:
        zoho.stop()
    calls.close()


def drain(most=50):
    for _ in range(most):
        if not work.work().chunks:
            return
    pytest.fail("there is always more to do")


def compare(*labels, mode="cheapest"):
    code, answer = reconcile.by_hand({"entities": list(labels), "mode": mode})
    assert code == 202
    drain()
    assert plan_status.status(answer["plan_id"])["status"] == "succeeded", plan_status.report(answer["plan_id"])
    return answer["plan_id"]


def latest(entity="invoice"):
    return statistics.overview(Request("GET", "/"))["entities"][entity]


def paths(zoho):
    """Of calls that were let in: an hour later the first one needs another token."""
    return [call.path for call in zoho.calls if not call.path.startswith("/oauth") and call.status != 401]


def drifts(sql):
    return {row[0]: row[1:] for row in sql("select source_entity_id, kind, cause, repaired_at is not null from tidemark.drifts")}


def test_equal_sides_are_proven_with_one_count_each(a_source, sql):
    zoho = a_source()
    compare("invoice")
    found = latest()
    assert (found["method"], found["match_percentage"], found["recommendation"]) == ("aggregate", 100.0, "no_sync_needed")
    assert (found["source_count"], found["local_count"], found["difference"]) == (1000, 1000, 0)
    assert found["source_sums"] == found["local_sums"]
    assert found["calls"] == len(paths(zoho)) == 2  # of what changed since the full list, and of everything
    assert found["verified_at"] is not None
    assert drifts(sql) == {}
    # The stage of its whole list was never opened, and that is no failure of a sync.
    assert sql("select count(*) from public.tds_alerts") == [[0]]
    assert sql("select last_sync_status::text from public.tds_sync_cursors where entity_type = 'invoice'") == [["completed"]]
    assert sql("select count(*) from public.tds_sync_runs where completed_at is null") == [[0]]


def test_what_is_missing_changed_and_gone_is_found_by_counting_and_repaired(a_source, sql):
    zoho = a_source(10_000)
    ids = sorted(zoho.rows("invoice"))
    missing, changed, gone = ids[3_000], ids[6_100], ids[9_000]
    sql("delete from erp.invoices where source_id = :id", id=missing)
    zoho.edit_quietly("invoice", ids=[changed], total=77.5)
    zoho.delete("invoice", ids=[gone])
    plan = compare("invoice")
    assert drifts(sql) == {
        missing: ["missing_here", "unknown", True],
        changed: ["changed", "silent_change", True],
        gone: ["missing_there", "deleted_at_source", True],
    }
    found = latest()
    assert [found[name] for name in ("method", "missing_here", "changed", "missing_there", "stale", "repaired")] == [
        "bisect",
        1,
        1,
        1,
        0,
        3,
    ]
    assert found["plan_id"] == plan
    assert found["recommendation"] == "no_sync_needed"
    assert found["verified_at"] is not None
    assert found["calls"] == len(paths(zoho)) < 25  # a full list has 50 pages
    assert sql("select total from erp.invoices where source_id = :id", id=changed)[0][0] == 77.5
    assert sql("select deleted_at is not null from erp.invoices where source_id = :id", id=gone) == [[True]]
    assert sql("select count(*) from erp.invoices where source_id = :id", id=missing) == [[1]]


def test_an_edit_that_nobody_told_of_is_found_by_what_changed_since_the_last_full_list(a_source, sql, turn_clock):
    zoho = a_source()
    (edited,) = zoho.edit("invoice", 1, reference_number="PO-7")  # neither its count nor its sums tell
    zoho.turn(7200)
    turn_clock(timedelta(hours=2))
    sql("update public.tds_sync_cursors set cursor_value = (app_now() - interval '1 minute')::text where entity_type = 'invoice'")
    compare("invoice")
    assert drifts(sql) == {edited: ["stale", "unknown", True]}
    found = latest()
    assert (found["stale"], found["repaired"]) == (1, 1)
    assert 7_000 < found["drift_age_max_seconds"] < 7_500
    assert sql("select reference_number from erp.invoices where source_id = :id", id=edited) == [["PO-7"]]


def test_what_the_next_incremental_sync_brings_is_no_drift(a_source, sql):
    zoho = a_source()
    (edited,) = zoho.edit("invoice", 1, reference_number="PO-7")
    zoho.create("invoice")
    compare("invoice")
    assert drifts(sql) == {}
    assert latest()["match_percentage"] == 100.0
    assert sql("select reference_number from erp.invoices where source_id = :id", id=edited) == [["PO-7"]]


def test_a_figure_that_somebody_changed_here_is_put_back(a_source, sql):
    zoho = a_source(10_000)
    edited = sorted(zoho.rows("invoice"))[4_321]
    was = sql("select total from erp.invoices where source_id = :id", id=edited)
    sql("update erp.invoices set total = total + 1 where source_id = :id", id=edited)
    compare("invoice")
    assert drifts(sql) == {edited: ["changed", "local_edit", True]}
    assert sql("select repaired_at = found_at from tidemark.drifts") == [[True]]  # by the page itself, without another call
    assert sql("select total from erp.invoices where source_id = :id", id=edited) == was


def test_a_later_stamp_than_the_sources_is_left_to_a_person(a_source, sql):
    zoho = a_source(10_000)
    edited = sorted(zoho.rows("invoice"))[4_321]
    sql(
        "update erp.invoices set total = total + 1, source_modified_at = source_modified_at + interval '1 day' where source_id = :id",
        id=edited,
    )
    compare("invoice")
    assert drifts(sql) == {edited: ["changed", "local_edit", False]}
    assert (latest()["recommendation"], latest()["priority"]) == ("manual_review", 1)


def test_more_drift_than_is_worth_searching_for_is_found_by_the_whole_list(a_source, sql):
    zoho = a_source(4_000)
    ids = sorted(zoho.rows("invoice"))
    sql("delete from erp.invoices where source_id = any (string_to_array(:ids, ','))", ids=",".join(ids[:3_900:39]))
    zoho.delete("invoice", ids=[ids[1]])
    compare("invoice")
    assert sql("select method, recommendation from tidemark.statistics where entity_type = 'invoice' and calls > 0 order by id") == [
        ["bisect", "full_sync"], ["full", "no_sync_needed"],
    ]  # fmt: skip
    assert sql("select count(*) from erp.invoices where deleted_at is null") == [[3_999]]
    assert sql("select kind, cause, count(*), bool_and(repaired_at is not null) from tidemark.drifts group by 1, 2 order by 1") == [
        ["missing_here", "unknown", 100, True], ["missing_there", "deleted_at_source", 1, True],
    ]  # fmt: skip
    assert latest()["method"] == "full"
    assert latest()["calls"] >= 20


def test_sums_of_the_source_that_its_rows_do_not_add_up_to_are_told_apart_and_left_out(a_source, sql, monkeypatch):
    zoho = a_source()
    client = lookup.find("clients", "zoho")
    real = client.total

    def in_another_currency(*args, **rest):
        total = real(*args, **rest)
        return type(total)(total.count, total.sum_total * 3, total.sum_balance, total.served_at)

    monkeypatch.setattr(client, "total", in_another_currency)
    sql("update tidemark.settings set value = '1' where key = 'reconcile.budget_share'")
    compare("invoice")
    assert drifts(sql) == {}
    assert sql(
        "select sums_differ, recommendation from tidemark.statistics where entity_type = 'invoice' order by id desc limit 1"
    ) == [[True, "no_sync_needed"]]
    zoho.forget()
    compare("invoice")
    assert latest()["method"] == "aggregate"
    assert len(paths(zoho)) <= 4


def test_where_nothing_is_counted_a_recent_full_list_stands_and_an_old_one_is_read_again(a_source, sql, turn_clock):
    zoho = a_source()
    compare("bill", "payment")
    assert {label: latest(label)["method"] for label in ("bill", "payment")} == {"bill": "window", "payment": "window"}
    assert "full list of" in latest("bill")["message"]
    assert paths(zoho) == ["/books/v3/bills"]  # what changed; payments cannot even be asked for that
    zoho.turn(30 * 3600)
    turn_clock(timedelta(hours=30))
    (gone,) = zoho.delete("payment")
    zoho.forget()
    compare("payment")
    assert latest("payment")["method"] == "full"
    assert drifts(sql) == {gone: ["missing_there", "deleted_at_source", True]}
    assert (latest("payment")["missing_there"], latest("payment")["repaired"]) == (1, 1)


def test_a_full_sync_is_a_comparison_at_no_extra_call(a_source, sql, turn_clock):
    zoho = a_source()
    ids = sorted(zoho.rows("invoice"))
    sql("delete from erp.invoices where source_id = :id", id=ids[5])
    zoho.edit_quietly("invoice", ids=[ids[7]], status="overdue")
    zoho.edit("invoice", ids=[ids[8]])
    zoho.delete("invoice", ids=[ids[9]])
    zoho.turn(7200)
    turn_clock(timedelta(hours=2))
    sql("update public.tds_sync_cursors set cursor_value = (app_now() - interval '1 minute')::text where entity_type = 'invoice'")
    zoho.forget()
    sync.by_hand({"entity_type": "invoice", "mode": "full"})
    drain()
    found = latest()
    names = ("method", "source_count", "local_count", "missing_here", "changed", "stale", "missing_there", "repaired", "calls")
    assert [found[name] for name in names] == ["seen_ids", 999, 999, 1, 1, 1, 1, 4, 0]
    assert drifts(sql) == {
        ids[5]: ["missing_here", "unknown", True],
        ids[7]: ["changed", "silent_change", True],
        ids[8]: ["stale", "unknown", True],
        ids[9]: ["missing_there", "deleted_at_source", True],
    }


def test_a_first_load_and_a_list_without_news_show_no_drift(a_source, sql):
    a_source()
    assert sql("select distinct method, match_percentage, recommendation from tidemark.statistics") == [
        ["seen_ids", 100, "no_sync_needed"]
    ]
    assert sql("select count(*) from tidemark.statistics") == [[11]]
    assert statistics.overview(Request("GET", "/"))["overall_score"] == 100.0


def test_too_little_that_is_equal_raises_an_alert_until_it_is_equal_again(a_source, sql):
    zoho = a_source()
    ids = sorted(zoho.rows("invoice"))
    sql("delete from erp.invoices where source_id = any (string_to_array(:ids, ','))", ids=",".join(ids[:100]))
    compare("invoice", mode="full")
    assert sql("select alert_type, entity_type::text, affected_count from public.tds_alerts where not resolved") == [
        ["reconciliation_match", "invoice", 100]
    ]
    assert latest()["match_percentage"] == 90.0
    compare("invoice")
    assert sql("select count(*) from public.tds_alerts where not resolved") == [[0]]


def test_a_comparison_that_is_interrupted_at_every_call_goes_on_where_it_stopped(a_source, sql, monkeypatch, turn_clock):
    zoho = a_source(10_000)
    ids = sorted(zoho.rows("invoice"))
    sql("delete from erp.invoices where source_id in (:a, :b)", a=ids[1_234], b=ids[8_765])
    client = lookup.find("clients", "zoho")
    real = client.total, client.page
    made = []
    too_late = Unavailable("The time is up.", retry_after_seconds=1)

    def once_then_out_of_time(which):
        def call(*args, **rest):
            if made:
                made.clear()
                raise too_late
            made.append(1)
            return real[which](*args, **rest)

        return call

    monkeypatch.setattr(client, "total", once_then_out_of_time(0))
    monkeypatch.setattr(client, "page", once_then_out_of_time(1))
    _, answer = reconcile.by_hand({"entities": ["invoice"]})
    for _ in range(120):
        work.work()
        turn_clock(timedelta(seconds=2))
    found = plan_status.status(answer["plan_id"])
    assert found["status"] == "succeeded", found["stages"]
    assert {identifier: row[2] for identifier, row in drifts(sql).items()} == {ids[1_234]: True, ids[8_765]: True}
    assert latest()["calls"] == len(paths(zoho))


def test_webhooks_that_were_lost_are_named_as_the_cause(a_source, sql, turn_clock):
    zoho = a_source()
    sql(
        "insert into public.tds_inbox_events (id, source_type, entity_type, source_entity_id, idempotency_key, content_hash, signature_verified)"
        " values (gen_random_uuid(), 'zoho', 'invoice', '1', 'k', 'h', true)"
    )
    (lost,) = zoho.edit("invoice", 1, total=9)
    zoho.turn(7200)
    turn_clock(timedelta(hours=2))
    sql("update public.tds_sync_cursors set cursor_value = (app_now() - interval '1 minute')::text where entity_type = 'invoice'")
    compare("invoice")
    assert drifts(sql) == {lost: ["stale", "webhook_lost", True]}
    assert statistics.overview(Request("GET", "/"))["causes"] == [
        {"entity_type": "invoice", "kind": "stale", "cause": "webhook_lost", "records": 1, "open": 0}
    ]


def test_an_entity_that_was_never_synced_is_read_whole(a_source, sql):
    a_source(100, load=False)
    compare("invoice")
    assert latest()["method"] == "full"
    assert latest()["match_percentage"] == 100.0
    assert sql("select count(*) from erp.invoices") == [[100]]


def test_a_schedule_starts_one_comparison_per_slot(a_source, sql):
    a_source(100)
    slot = sql("select date_trunc('minute', app_now())")[0][0]
    sql(
        "insert into tidemark.fires (schedule, slot, state, ready_at) values ('daily_statistics', :slot, 'due', app_now())",
        slot=slot,
    )
    assert reconcile.by_schedule("daily_statistics", slot)["success"]
    assert "plan_id" not in reconcile.by_schedule("daily_statistics", slot)
    drain()
    assert sql("select count(*), min(status) from tidemark.plans where name = 'reconciliation'") == [[1, "succeeded"]]
    assert sql("select state from tidemark.fires where schedule = 'daily_statistics'") == [["done"]]


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"entities": ["unicorn"]}, "/entities/0"),
        ({"entities": []}, "/entities"),
        ({"entities": "invoice"}, "/entities"),
        ({"mode": "fast"}, "/mode"),
        ({"more": 1}, "/more"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_its_place(asked, pointer, database_url):
    with pytest.raises(Invalid) as refused:
        reconcile.by_hand(asked)
    assert refused.value.fields["errors"][0]["pointer"] == pointer


def test_without_a_source_nothing_is_compared(database_url):
    with pytest.raises(Unavailable):
        reconcile.by_hand({})


def test_history_is_shown_for_as_many_days_as_are_asked_for(a_source, sql, turn_clock):
    a_source(100)
    assert "history" not in statistics.overview(Request("GET", "/"))
    shown = statistics.overview(Request("GET", "/", "history=7&entity=bill"))
    assert [each["entity_type"] for each in shown["history"]] == ["bill"]
    turn_clock(timedelta(days=8))
    assert statistics.overview(Request("GET", "/", "history=7"))["history"] == []
    for query in ("history=0", "history=x", "history=91", "entity=unicorn"):
        with pytest.raises(Invalid):
            statistics.overview(Request("GET", "/", query))


def test_old_comparisons_are_forgotten_but_never_an_entitys_newest(a_source, sql, turn_clock):
    a_source(100)
    compare("invoice")
    turn_clock(timedelta(days=91))
    with db.transaction("worker") as tx:
        assert configuration.all_values(tx)["statistics.keep_days"] == 90
        assert store.clean_up(tx, days=90) == 1  # of the invoices' two
        assert store.clean_up(tx, days=90) == 0
    assert sql("select count(*), count(distinct entity_type) from tidemark.statistics") == [[11, 11]]
