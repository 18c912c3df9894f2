"""Healing: what has come to a halt moves again, by healers that may run twice, at once, and die halfway."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from common import db, encoding, settings
from common.errors import Unavailable
from common.flows import auto_healing, heal, healers, process, quarantine, source_healers, sweep, tick, tidying, work
from common.outgoing import calls
from common.outgoing import zoho as outgoing
from common.rules.http import Request
from common.stores import counters, dead_letters, queue
from common.stores.queue import Failure
from deploy.local.zoho import StandIn
from functions import admin, shards
from functions import status as status_function
from tests.chaos import check
from tests.chaos.doomed import LEFT, Doomed
from tests.conftest import ORGANIZATION, OWNER
from tests.kinds import a_stage, submit
from tests.make import a_ring, an_invoice, an_item, connection, send

DAY = timedelta(hours=24, seconds=1)
ALERTS = "select alert_type, entity_type::text, affected_count from tds_alerts where not resolved order by 1, 2"


def letter(item="1", *, attempts=3):
    """The id of an event that is a dead letter."""
    event = UUID(send("products", an_item(item))["event_id"])
    with db.transaction("worker") as tx:
        queue.fail_first(tx, [Failure(event, None, "test", "as asked")], priorities={}, attempts=attempts, worker="test")
    return event


def buried_again():
    """Claim what is due, and let it fail for good."""
    with db.transaction("worker") as tx:
        leases = queue.claim(tx, limit=100, lease=timedelta(minutes=5), worker="test")
        for lease in leases:
            queue.fail(tx, lease, code="test", message="again", wait=timedelta(0), final=False, worker="test")
    return len(leases)


def healed(name):
    return heal.heal()["healers"][name]


# Dead letters ------------------------------------------------------------------------------------------------------


def test_a_dead_letter_is_tried_again_after_a_day_and_three_times_for_ever(sql, turn_clock):
    letter()
    assert heal.heal()["dlq_items_retried"] == 0
    tries = 0
    for _ in range(6):
        turn_clock(DAY)
        tries += heal.heal()["dlq_items_retried"]
        buried_again()
    assert tries == 3
    assert sql("select attempt_count, max_retry_attempts, status::text from tds_sync_queue") == [[4, 4, "dead_letter"]]
    assert sql("select auto_retries from tds_dead_letter_queue where not resolved") == [[3]]
    assert sql("select tidemark.total('revived')") == [[3]]


def test_two_passes_at_once_try_a_letter_again_once(sql, turn_clock):
    for item in range(20):
        letter(str(item))
    turn_clock(DAY)
    with ThreadPoolExecutor(4) as threads:
        revived = list(threads.map(lambda _: healers.dead_letters_due(), range(4)))
    assert sum(revived) == 20
    assert sql("select distinct status::text, attempt_count, max_retry_attempts from tds_sync_queue") == [["retry", 1, 2]]
    assert sql("select distinct auto_retries from tds_dead_letter_queue") == [[1]]


def test_a_pass_tries_a_bounded_number_of_letters_again_the_oldest_first(sql, turn_clock):
    old = letter("old")
    turn_clock(timedelta(hours=1))
    letter("new")
    sql("update tidemark.settings set value = '1' where key = 'healing.dead_letter_batch'")
    turn_clock(DAY)
    assert healers.dead_letters_due() == 1
    assert sql("select id from tds_sync_queue where status = 'retry'") == [[old]]


@pytest.mark.process
def test_poison_that_kills_its_worker_is_counted_by_claims_and_rests_after_three_revivals(sql, turn_clock, database_url):
    check.record_effects(database_url)
    sql("update tidemark.settings set value = '90' where key like 'retention.%'")
    good = send("products", an_item("good"))
    poison = send("products", an_item("poison", name="poison"))
    doomed = Doomed(database_url)
    deaths = 0
    try:
        for _ in range(14):
            deaths += doomed.order("poison") == LEFT
            turn_clock(DAY)
            heal.heal()
    finally:
        doomed.close()
    assert deaths == 3 + 3
    process.sweep(process.rules_for("test"))
    assert sql("select attempt_count, status::text from tds_sync_queue where source_entity_id = 'poison'") == [[6, "dead_letter"]]
    assert check.faults(database_url, [good, poison], [poison["event_id"]]) == []


# Quarantine --------------------------------------------------------------------------------------------------------


def faulty(sql, item="1"):
    """An event in quarantine that reads well since."""
    answer = send("products", an_item(item, rate="much"))
    process.process()
    sql(
        "update tds_inbox_events set raw_body = convert_to(replace(convert_from(raw_body, 'UTF8'), '\"much\"', '5'), 'UTF8') where id = :id::uuid",
        id=answer["event_id"],
    )
    return answer


def test_a_quarantined_event_whose_shape_is_known_now_is_applied(sql, database_url):
    check.record_effects(database_url)
    answer = faulty(sql)
    assert healed("known_shapes") == 1
    assert healed("known_shapes") == 0
    process.process()
    assert sql("select source_id, rate::text from erp.products") == [["1", "5"]]
    assert check.faults(database_url, [answer]) == []


def test_a_quarantined_event_is_read_once_with_each_shape(sql, monkeypatch):
    send("products", an_item("1", rate="much"))
    process.process()
    assert healed("known_shapes") == 0
    sql("update tds_inbox_events set raw_body = convert_to(replace(convert_from(raw_body, 'UTF8'), '\"much\"', '5'), 'UTF8')")
    assert healed("known_shapes") == 0, "it was read again with the same shape"
    known = quarantine.versions()
    monkeypatch.setattr(quarantine, "versions", lambda: known | {"product": "another"})
    assert healed("known_shapes") == 1


def test_two_passes_at_once_release_an_event_once(sql):
    for item in range(10):
        faulty(sql, str(item))
    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(lambda _: quarantine.heal(100), range(4))) == 10
    assert sql("select tidemark.total('waiting'), count(*) from tidemark.ready_events") == [[10, 10]]


def test_an_event_that_the_database_refuses_does_not_keep_its_neighbours_in_quarantine(sql):
    poison = faulty(sql, "0")["event_id"]
    for item in range(1, 4):
        faulty(sql, str(item))
    sql(f"alter table tidemark.ready_events add constraint not_this_one check (id <> '{poison}')")
    assert healed("known_shapes") == 3
    assert sql(
        "select source_entity_id, validation_errors #>> '{0,message}' ~ 'not_this_one' from tds_inbox_events where validation_errors is not null"
    ) == [["0", True]]
    assert healed("known_shapes") == 0


def test_a_delivery_id_that_came_with_two_contents_is_left_to_a_person(sql):
    for rate in (5, 6):
        send("products", an_item("1", rate=rate), headers=(("webhook-id", "same"),))
    assert sql("select count(*) from tds_inbox_events where validation_errors is not null") == [[1]]
    assert healed("known_shapes") == 0


def test_a_row_of_a_list_that_reads_well_now_is_asked_for_by_its_id(sql):
    row = {
        "id": str(uuid4()), "key": "k", "entity": "product", "entity_id": "7", "stamp": None, "hash": "h", "organization": ORGANIZATION,
        "source": "scheduled", "body": "{}", "payload": encoding.dumps({"item_id": "7", "name": "Lamp", "rate": 5}),
        "errors": [{"pointer": "/rate", "message": "once was wrong"}],
    }  # fmt: skip
    sql("select tidemark.quarantine(:rows::jsonb)", rows=encoding.dumps([row]))
    assert healed("known_shapes") == 1
    assert sql("select source_entity_id, reason from tidemark.refetches") == [["7", "asked"]]
    assert sql("select resolved_by from tds_inbox_events") == [["healing"]]
    assert sql("select count(*) from tidemark.open_letters") == [[0]]


# Plans -------------------------------------------------------------------------------------------------------------


def test_a_plan_whose_next_stage_nobody_opened_goes_on(sql, trial):
    submit(a_stage("one", shards=2), a_stage("two", needs=["one"], shards=2))
    sql("update tidemark.stages set status = 'succeeded', finished_at = app_now() where id = 'one'; delete from tidemark.lanes")
    assert healed("stranded_plans") == 1
    work.work()
    assert sql("select status from tidemark.plans") == [["succeeded"]]


def test_a_plan_that_nobody_ended_is_ended(sql, trial):
    submit(a_stage("one", shards=2))
    sql("update tidemark.stages set status = 'succeeded', finished_at = app_now(); delete from tidemark.lanes")
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: healers.stranded_plans(), range(2)))
    assert sql("select status from tidemark.plans") == [["succeeded"]]


def test_an_open_ended_stage_without_a_lane_gets_one(sql, trial):
    submit(a_stage("one", open_ended=3))
    sql("delete from tidemark.lanes")
    assert healed("stranded_plans") == 1
    work.work()
    work.work()
    assert sql("select status from tidemark.plans") == [["succeeded"]]


def test_a_plan_that_nobody_works_on_is_told_of_until_somebody_does(sql, trial, turn_clock):
    submit(a_stage("one", shards=2), constraints={"timebox_ms": 7_200_000})
    assert healed("stranded_plans") == 0
    turn_clock(timedelta(minutes=16))
    heal.heal()
    heal.heal()
    assert ["plan_stranded", None, 1] in sql(ALERTS)
    work.work()
    heal.heal()
    assert "plan_stranded" not in [row[0] for row in sql(ALERTS)]


@pytest.mark.parametrize("verb", ["paused", "halted"])
def test_a_plan_that_stands_still_on_purpose_is_let_be(sql, trial, turn_clock, verb):
    submit(a_stage("one", shards=2), constraints={"timebox_ms": 7_200_000})
    sql(f"update tidemark.plans set status = '{verb}'")
    turn_clock(timedelta(minutes=16))
    assert healed("stranded_plans") == 0


# Schedules and cursors ---------------------------------------------------------------------------------------------


def test_a_slot_that_is_not_recorded_although_ticks_come_is_told_of(sql, turn_clock):
    tick.tick()
    sql("update tidemark.schedules set next_slot = app_now() - interval '20 minutes' where name = 'auto_healing'")
    assert healed("missed_slots") == 1
    assert ["slots_missed", None, 1] in sql(ALERTS)
    tick.tick()
    assert healed("missed_slots") == 0
    assert "slots_missed" not in [row[0] for row in sql(ALERTS)]


def test_a_slot_that_came_while_nobody_ticked_is_no_fault_of_the_schedules(sql, turn_clock):
    tick.tick()
    turn_clock(timedelta(hours=2))
    assert healed("missed_slots") == 0


def a_run(sql, newest, ended="app_now()"):
    sql(f"""insert into tds_sync_runs (run_type, entity_type, status, mode, started_at, completed_at, newest)
            values ('scheduled', 'product', 'completed', 'incremental', app_now() - interval '5 minutes', {ended}, {newest})""")


def test_a_cursor_that_stays_although_its_syncs_succeed_is_told_of_until_it_moves(sql):
    sql("""insert into tds_sync_cursors (source_type, entity_type, last_sync_at, cursor_value)
           values ('zoho', 'product', app_now(), (app_now() - interval '3 hours')::text)""")
    a_run(sql, "app_now() - interval '3 hours'")
    assert healed("stalled_cursors") == 0, "a source in which nothing happens is no stalled cursor"
    a_run(sql, "app_now() - interval '10 minutes'")
    assert healed("stalled_cursors") == 1
    assert ["cursor_stalled", "product", 1] in sql(ALERTS)
    sql("update tds_sync_cursors set cursor_value = app_now()::text")
    assert healed("stalled_cursors") == 0
    assert "cursor_stalled" not in [row[0] for row in sql(ALERTS)]


# The source --------------------------------------------------------------------------------------------------------


@pytest.fixture
def zoho(configured, sql):
    with StandIn(sizes=3) as standing:
        standing.limits.off()
        configured(**connection(standing))
        yield standing
        calls.close()


def test_parents_that_are_not_here_are_asked_for(sql, turn_clock, zoho):
    send("invoices", an_invoice("1", lines=2))
    process.process()
    turn_clock(timedelta(minutes=5))
    assert source_healers.missing_parents() == 3
    assert sql("select entity_type::text, source_entity_id, reason from tidemark.refetches order by 1, 2") == [
        ["customer", "9", "missing"],
        ["product", "0", "missing"],
        ["product", "1", "missing"],
    ]
    assert source_healers.missing_parents() == 0, "each is asked for once"


def test_without_a_source_nobody_is_asked(sql, turn_clock):
    send("invoices", an_invoice("1", lines=2))
    process.process()
    turn_clock(timedelta(minutes=5))
    assert healed("missing_parents") == 0
    assert healed("expiring_access") == 0
    assert sql("select count(*) from tidemark.refetches") == [[0]]


def test_a_token_that_is_about_to_end_is_refreshed_ahead(sql, zoho):
    assert source_healers.expiring_access() == 0, "nobody has used it"
    outgoing.access_to(settings.load(), 1e12)
    assert source_healers.expiring_access() == 0
    sql("update tidemark.source_tokens set expires_at = app_now() + interval '1 minute'")
    outgoing.tokens._known.clear()
    assert source_healers.expiring_access() == 1
    assert sql("select expires_at > app_now() + interval '30 minutes' from tidemark.source_tokens") == [[True]]


# Retention ---------------------------------------------------------------------------------------------------------

OLD = timedelta(days=8)


def test_what_has_ended_goes_after_its_days_and_what_is_unresolved_stays(sql, turn_clock):
    send("products", {"events": [an_item(str(n)) for n in range(5)]})
    send("products", an_item("1"))
    send("products", an_item("q", rate="much"))
    dead = letter("dead")
    process.process()
    tick.tick()
    totals = "select tidemark.total('received'), tidemark.total('completed'), tidemark.total('duplicate')"
    before = sql(totals)
    assert before == [[7, 5, 1]]
    turn_clock(timedelta(days=6))
    assert tidying.old_rows() == 0
    turn_clock(OLD - timedelta(days=6))
    assert tidying.old_rows() > 0
    assert sql("select source_entity_id from tds_inbox_events order by 1") == [["dead"], ["q"]]
    assert sql("select id from tds_sync_queue") == [[dead]]
    assert sql("select count(*) from tds_dead_letter_queue") == [[1]]
    assert sql("select count(*) from tidemark.duplicates") == [[0]]
    assert sql("select count(*) > 0 from tds_audit_trail") == [[True]]
    assert sql(totals) == before
    assert sql("select count(*) > 0 from tds_sync_logs") == [[True]]
    turn_clock(timedelta(days=90))
    tidying.old_rows()
    assert sql("select count(*) from tds_sync_logs") == [[0]]
    assert sql("select count(*) from tidemark.rollups where minute < app_now() - interval '42 days'") == [[0]]
    assert sql("select count(*) from tds_dead_letter_queue where not resolved") == [[1]]
    assert sql("select count(*) > 0 from tds_audit_trail") == [[True]]


def test_what_was_given_up_goes_with_its_days(sql, turn_clock):
    letter("dead")
    send("products", an_item("q", rate="much"))
    process.process()
    with db.transaction("operator") as tx:
        dead_letters.discard(tx, dead_letters.Filter(entity="product"), actor="anna", reason="x")
    turn_clock(OLD)
    tidying.old_rows()
    assert sql("select (select count(*) from tds_inbox_events), (select count(*) from tds_sync_queue)") == [[0, 0]]
    assert sql("select count(*) from tidemark.interventions") == [[1]]


def test_retention_follows_its_settings_and_takes_many_batches(sql, turn_clock, monkeypatch):
    monkeypatch.setattr(tidying, "BATCH", 7)
    send("products", {"events": [an_item(str(n)) for n in range(50)]})
    process.process()
    turn_clock(timedelta(days=2))
    tidying.old_rows()
    assert sql("select count(*) from tds_inbox_events") == [[50]]
    sql("update tidemark.settings set value = '1' where key = 'retention.events_days'")
    tidying.old_rows()
    assert sql("select (select count(*) from tds_inbox_events), (select count(*) from tds_sync_queue)") == [[0, 0]]


def test_a_clean_up_waits_for_nobody_and_passes_by_what_is_locked(sql, turn_clock, database_url):
    send("products", {"events": [an_item(str(n)) for n in range(3)]})
    process.process()
    turn_clock(OLD)
    other = db.Connection(db.Address(database_url))
    other.script("begin; select from tds_inbox_events where source_entity_id = '1' for update")
    tidying.old_rows()
    assert sql("select source_entity_id from tds_inbox_events") == [["1"]]
    other.close()


# Counters ----------------------------------------------------------------------------------------------------------


def test_a_counter_that_is_off_is_put_right_once_by_many(sql):
    send("products", {"events": [an_item(str(n)) for n in range(4)]})
    sql("insert into tidemark.deltas (name, amount) values ('waiting', 13)")
    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(lambda _: healers.counters_off(), range(4))) == [0, 0, 0, 13]
    assert sql("select tidemark.total('waiting')") == [[4]]


def test_a_counter_is_right_while_events_come_and_go(sql):
    enough = threading.Event()

    def stir():
        n = 0
        while not enough.is_set():
            n += 1
            send("products", an_item(str(n)))
            process.process()

    worker = threading.Thread(target=stir)
    worker.start()
    found = []
    for _ in range(50):
        with db.transaction("worker") as tx:
            found.append(counters.repair_waiting(tx, most=1000))
    enough.set()
    worker.join()
    assert set(found) == {0}


def test_too_many_waiting_events_are_not_counted(sql):
    send("products", {"events": [an_item(str(n)) for n in range(4)]})
    sql("insert into tidemark.deltas (name, amount) values ('waiting', 13)")
    with db.transaction("worker") as tx:
        assert counters.repair_waiting(tx, most=3) == 0


# The pass itself ---------------------------------------------------------------------------------------------------


def asked(method, path, handle):
    answer = handle(Request(method, path, headers=(("authorization", f"Bearer {OWNER}"),)))
    return answer.status, encoding.loads(answer.body)


def test_each_healer_has_a_heartbeat_and_the_stats_tell_of_it(sql, turn_clock):
    assert asked("GET", "/api/bff/tds/auto-healing/stats", status_function.handle)[1]["is_running"] is False
    letter()
    turn_clock(DAY)
    status, passed = asked("POST", "/api/bff/tds/auto-healing/run", admin.handle)
    assert (status, passed["dlq_items_retried"], passed["healers"].keys()) == (200, 1, healers.HEALERS.keys())
    assert passed.keys() == {"stuck_tasks_recovered", "dlq_items_retried", "alerts_created", "timestamp", "healers"}
    heal.heal()
    found = asked("GET", "/api/bff/tds/auto-healing/stats", status_function.handle)[1]
    assert (found["is_running"], found["totals"]["dlq_items_retried"]) == (True, 1)
    by_name = {each["name"]: each for each in found["healers"]}
    assert by_name.keys() == healers.HEALERS.keys()
    assert (by_name["dead_letters"]["healed"], by_name["dead_letters"]["total"], by_name["dead_letters"]["error"]) == (0, 1, None)
    assert sql("select tidemark.total('healed') = sum(total) from tidemark.healers") == [[True]]


def test_a_healer_with_a_bug_keeps_no_other_from_its_turn_and_is_told_of(sql, monkeypatch):
    def broken():
        raise KeyError

    monkeypatch.setitem(healers.HEALERS, "stranded_fires", broken)
    with pytest.raises(Unavailable, match="stranded_fires: KeyError"):
        heal.heal()
    assert sql("select name, error from tidemark.healers where error is not null") == [["stranded_fires", "KeyError"]]
    assert sql("select count(*) from tidemark.healers") == [[len(healers.HEALERS)]]


def test_a_pass_that_is_killed_halfway_has_done_and_told_what_came_before(sql, turn_clock, monkeypatch):
    class KilledError(BaseException):
        """As a signal would."""

    def killed():
        raise KilledError

    letter()
    turn_clock(DAY)
    monkeypatch.setitem(healers.HEALERS, "known_shapes", killed)
    with pytest.raises(KilledError):
        heal.heal()
    monkeypatch.undo()
    assert sql("select healed from tidemark.healers where name = 'dead_letters'") == [[1]]
    assert sql("select count(*) from tidemark.healers where name = 'known_shapes'") == [[0]]
    assert heal.heal()["dlq_items_retried"] == 0


def test_a_pass_has_an_end_whatever_there_is_to_do(sql):
    passed = heal.heal(seconds=1e-9)
    assert set(passed["healers"].values()) == {0}
    assert sql("select distinct error from tidemark.healers") == [[heal.NO_TIME]]


def test_two_whole_passes_at_once_do_no_harm(sql, turn_clock):
    for item in range(5):
        letter(str(item))
        faulty(sql, f"q{item}")
    turn_clock(DAY)
    with ThreadPoolExecutor(3) as threads:
        passed = list(threads.map(lambda _: heal.heal()["healers"], range(3)))
    assert sum(each["dead_letters"] for each in passed) == 5
    assert sum(each["known_shapes"] for each in passed) == 5


def test_healing_that_has_stopped_is_told_of_by_the_tick_until_it_goes_on(sql, turn_clock):
    heal.heal()
    for _ in range(15):
        tick.tick()
        turn_clock(timedelta(minutes=2))
    assert "healing_stopped" not in [row[0] for row in sql(ALERTS)]
    turn_clock(timedelta(seconds=1))
    tick.tick()
    tick.tick()
    assert [row[0] for row in sql(ALERTS)].count("healing_stopped") == 1
    heal.heal()
    assert "healing_stopped" not in [row[0] for row in sql(ALERTS)]


def test_after_an_outage_healing_is_not_late_at_once(sql, turn_clock):
    heal.heal()
    tick.tick()
    turn_clock(timedelta(hours=3))
    tick.tick()
    assert "healing_stopped" not in [row[0] for row in sql(ALERTS)]


# The sweep beside other work ---------------------------------------------------------------------------------------


def a_task(path, handle):
    return handle(Request("POST", path, headers=tuple(a_ring(path.rpartition("/")[2], b"{}").items()), body=b"{}"))


@pytest.fixture
def crashed(sql, turn_clock):
    """An event whose worker died."""
    from common.stores import inbox

    send("products", an_item())
    with db.transaction("worker") as tx:
        inbox.claim(tx, limit=10, lease=timedelta(seconds=30), locked_by="dead")
    turn_clock(timedelta(seconds=31))
    sweep.clock.forget()


def test_whoever_is_called_for_a_task_sweeps_as_well(crashed, sql):
    assert a_task("/tasks/shards", shards.handle).status == 200
    assert sql("select status::text, error_code from tds_sync_queue") == [["retry", "crashed"]]


def test_the_sweep_is_at_most_once_in_a_while_and_fails_nothing(crashed, sql, monkeypatch):
    assert sweep.beside("shards") == 1
    assert sweep.beside("shards") == 0

    def down(_):
        raise Unavailable

    sweep.clock.forget()
    monkeypatch.setattr(process, "rules_for", down)
    assert a_task("/tasks/shards", shards.handle).status == 200


def test_who_may_not_call_sweeps_nothing(crashed, sql):
    assert shards.handle(Request("POST", "/tasks/shards")).status == 401
    assert sql("select count(*) from tds_sync_queue") == [[0]]


def test_healing_tells_of_itself_before_its_first_pass(sql):
    assert auto_healing.stats()["last_run"] is None
