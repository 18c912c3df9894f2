"""Releases: which code serves, what older and newer code do on one schema, and migrations as a plan."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest

from common import db
from common.clients import keeping
from common.errors import Conflict, Invalid, Passive, Unavailable
from common.flows import lease, plan_status, presence, process, rolling, system, tick, work
from common.stores import migrations, pauses, releases, schema_versions
from tests import rollouts
from tests.conftest import OWNER
from tests.functions.test_auth import ask
from tests.kinds import a_stage, submit
from tests.make import an_item, send

ADDS = "-- more\ncreate table if not exists public.added (id integer);"
TAKES = "-- contract: nobody reads it any more\ndrop table if exists public.added;"
LONG_AGO = timedelta(seconds=301)


def heard():
    with db.transaction("worker") as tx:
        return [(each.deployment, each.release) for each in releases.heard(tx)]


def serving():
    with db.transaction("worker") as tx:
        return releases.serving(tx)


def version():
    with db.transaction("worker") as tx:
        return schema_versions.newest(tx)


# Presence --------------------------------------------------------------------------------------------------------


def test_whoever_is_at_work_says_so_once_a_minute(sql, configured, monkeypatch):
    configured(RELEASE="2026.11", DEPLOYMENT="blue")
    work.work()
    assert serving() == ["blue/2026.11"]
    first = sql("select last_seen_at from tidemark.releases")
    process.process()
    tick.tick()
    assert sql("select last_seen_at from tidemark.releases") == first
    monkeypatch.setattr(presence, "EVERY_SECONDS", 0.0)
    presence.forget()
    tick.tick()
    assert sql("select last_seen_at from tidemark.releases") > first


def test_a_release_that_is_not_heard_of_any_more_does_not_serve(configured, turn_clock):
    configured(RELEASE="old")
    presence.check()
    turn_clock(LONG_AGO)
    configured(RELEASE="new")
    presence.check()
    assert serving() == ["default/new"]


def test_a_release_without_a_name_is_the_version_of_the_package(sql):
    presence.check()
    assert re.fullmatch(r"default/\d+\.\d+\.\d+", serving()[0])


def test_two_codes_that_bear_one_name_are_told_apart_by_what_they_know(sql, configured, tmp_path, monkeypatch):
    presence.check()
    rollouts.deploy(monkeypatch, tmp_path, ADDS)
    migrations.run()
    presence.check()
    assert heard() == [("default", "0.1.0")] * 2
    assert serving() == ["default/0.1.0"]


# Expand and contract ---------------------------------------------------------------------------------------------


def test_what_takes_away_runs_only_when_it_is_asked_for(sql, tmp_path, monkeypatch):
    added, takes = rollouts.deploy(monkeypatch, tmp_path, ADDS, TAKES)
    assert migrations.run() == [added]
    assert (migrations.wanted_version(), migrations.known_version()) == (version(), version() + 1)
    assert migrations.run_pending(contract=True) == [takes]
    assert sql("select to_regclass('public.added')") == [[None]]
    with db.transaction("worker") as tx:
        assert schema_versions.contracted_since(tx, version() - 1) == [takes]
        assert schema_versions.contracted_since(tx, version()) == []


def test_what_adds_runs_although_something_before_it_is_not_taken_away_yet(sql, tmp_path, monkeypatch):
    added, _, more = rollouts.deploy(monkeypatch, tmp_path, ADDS, TAKES, "-- yet more\ncreate table public.more (id integer);")
    assert migrations.run() == [added, more]
    assert presence.check() is presence.Fit.READY
    with db.transaction() as tx:
        assert migrations.pending(tx).contract == [migrations.migrations()[-2].name]


def test_older_code_goes_on_working_on_a_newer_schema(sql, tmp_path, monkeypatch):
    rollouts.deploy(monkeypatch, tmp_path, ADDS)
    migrations.run()
    rollouts.go_back(monkeypatch)
    plan = submit(a_stage(kind="noop", shards=10))
    assert tick.tick().is_active
    assert work.work().shards == 10
    send("products", an_item())
    assert process.process().outcomes == {"applied": 1}
    assert plan_status.status(plan)["status"] == "succeeded"


def test_older_code_refuses_to_work_where_newer_code_took_something_away_but_still_receives(sql, tmp_path, monkeypatch):
    rollouts.deploy(monkeypatch, tmp_path, ADDS, TAKES)
    migrations.run_pending(contract=True)
    rollouts.go_back(monkeypatch)
    for refused in (tick.tick, work.work, process.process):
        with pytest.raises(Unavailable, match=r"_next took away what it uses\. Deploy newer code") as said:
            refused()
        assert said.value.status == 503
    assert send("products", an_item())["queued"]


def test_whoever_says_it_serves_just_before_something_is_taken_away_is_seen(sql, tmp_path, monkeypatch, configured):
    """Old code tells of itself and then looks; the migration holds what it tells of, and then looks: one of them sees the other."""
    rollouts.deploy(monkeypatch, tmp_path, ADDS, TAKES)
    migrations.run()
    with db.transaction() as tx:
        releases.hold_still(tx)
        rollouts.go_back(monkeypatch)
        with pytest.raises(Unavailable, match="lock"):
            presence.check()
    assert presence.check() is presence.Fit.READY
    rollouts.deploy(monkeypatch, tmp_path, ADDS, TAKES)
    with pytest.raises(Conflict):
        migrations.run_pending(contract=True)


# Backfills -------------------------------------------------------------------------------------------------------


@pytest.fixture
def backfill(tmp_path, monkeypatch):
    """A release whose migration has something to fill in, and one after it that waits for that."""
    (tmp_path / "fill").mkdir()
    monkeypatch.setattr(migrations, "BACKFILLS", tmp_path / "fill")
    added, takes = rollouts.deploy(monkeypatch, tmp_path / "sql", ADDS, TAKES)
    given = {"name": "fill in", "stages": [{"id": "fill", "kind": "noop", "config": {"shards": 5}}]}
    (tmp_path / "fill" / f"{added}.json").write_text(json.dumps(given))
    return added, takes


def test_what_a_migration_added_is_filled_in_by_a_plan_that_is_begun_once(sql, backfill):
    assert system.begin_backfills() == 0  # there is nothing to fill in yet
    assert tick.tick().migrated == [backfill[0]]
    tick.tick()
    assert sql("select name, submitted_by, status from tidemark.plans") == [["fill in", "tick", "running"]]
    work.work()
    tick.tick()
    assert sql("select status from tidemark.plans") == [["succeeded"]]


def test_nothing_is_taken_away_before_what_replaces_it_is_filled_in(sql, backfill):
    with pytest.raises(Conflict, match=r"waits for the backfill .*, which is not begun"):
        migrations.run_pending(contract=True)
    tick.tick()
    with pytest.raises(Conflict, match="which is running"):
        migrations.run_pending(contract=True)
    work.work()
    assert migrations.run_pending(contract=True) == [backfill[1]]


# A tick that finds an older schema -------------------------------------------------------------------------------


def test_a_tick_of_newer_code_migrates_and_everybody_goes_on(sql, tmp_path, monkeypatch):
    names = rollouts.deploy(monkeypatch, tmp_path, ADDS)
    report = tick.tick()
    assert (report.migrated, report.is_active) == (names, True)
    assert sql("select * from tidemark.pauses") == []


def test_newer_code_works_on_nothing_before_the_schema_is_there(sql, tmp_path, monkeypatch):
    plan = submit(a_stage(kind="noop", shards=10))
    send("products", an_item())
    rollouts.deploy(monkeypatch, tmp_path, ADDS)
    assert work.work().shards == 0
    with pytest.raises(Unavailable, match="run the migrations"):
        process.process()
    tick.tick()
    assert work.work().shards == 10
    assert process.process().outcomes == {"applied": 1}
    assert plan_status.status(plan)["status"] == "succeeded"


def test_a_passive_deployment_of_newer_code_waits_until_it_is_active(sql, configured, tmp_path, monkeypatch):
    configured(DEPLOYMENT="blue")
    lease.held()
    configured(DEPLOYMENT="green")
    rollouts.deploy(monkeypatch, tmp_path, ADDS)
    report = tick.tick()
    assert (report.migrated, report.is_active, report.swept) == ([], False, 0)
    assert sql("select to_regclass('public.added')") == [[None]]


def test_nobody_begins_anything_while_claims_are_paused_and_what_is_held_is_finished(sql, trial):
    submit(a_stage(shards=20, concurrency=2))

    def pause(_):
        with db.transaction("worker") as tx:
            pauses.begin(tx, rolling.PAUSE)

    trial.hooks[0] = pause
    assert work.work().lanes == 1
    assert sql("select count(*) from tidemark.lanes where leased_until is not null") == [[0]]
    assert sql("select count(*) from trials") == [[1]]  # the chunk that was held; nothing after it was begun
    assert work.call_for_more() == 0
    assert work.work().shards == 0
    rolling.resume()
    assert work.work().shards == 19


def test_a_tick_does_not_migrate_while_somebody_is_at_work_and_the_next_one_does(sql, tmp_path, monkeypatch, trial):
    plan = submit(a_stage(shards=1))
    ticks = []

    def another(_):
        rollouts.deploy(monkeypatch, tmp_path, ADDS)
        ticks.append(tick.tick())
        rollouts.go_back(monkeypatch)

    monkeypatch.setattr(rolling, "WAIT_SECONDS", 0.0)
    trial.hooks[0] = another
    work.work()
    assert ticks[0].migrated == []
    assert plan_status.status(plan)["status"] == "succeeded"
    rollouts.deploy(monkeypatch, tmp_path, ADDS)
    assert tick.tick().migrated != []


def test_it_is_migrated_beside_what_does_not_end(sql, tmp_path, monkeypatch, trial, turn_clock):
    submit(a_stage(shards=1))
    ticks = []

    def another(context):
        rollouts.deploy(monkeypatch, tmp_path, ADDS)
        for _ in range(2):
            ticks.append(tick.tick().migrated)
            turn_clock(timedelta(seconds=61))
            context.beat(None)
        rollouts.go_back(monkeypatch)

    monkeypatch.setattr(rolling, "WAIT_SECONDS", 0.0)
    trial.hooks[0] = another
    assert work.work().shards == 1
    assert [bool(names) for names in ticks] == [False, True]


def test_a_tick_that_died_in_the_middle_is_followed_by_the_next(sql, tmp_path, monkeypatch):
    submit(a_stage(kind="noop", shards=10))
    names = rollouts.deploy(monkeypatch, tmp_path, ADDS)

    def die(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(rolling, "resume", lambda: None)  # a dead process tidies nothing
    with monkeypatch.context() as dying:
        dying.setattr(migrations, "run_pending", die)
        with pytest.raises(KeyboardInterrupt):
            tick.tick()
    assert sql("select count(*) from tidemark.pauses where until > app_now()") == [[1]]
    assert tick.tick().migrated == names  # and this one dies before it lets them go on
    monkeypatch.undo()
    rollouts.forget()
    assert work.work().shards == 0


def test_a_pause_that_nobody_ends_ends_by_itself(sql, turn_clock):
    submit(a_stage(kind="noop", shards=10))
    with db.transaction("worker") as tx:
        pauses.begin(tx, rolling.PAUSE)
    assert work.work().shards == 0
    turn_clock(rolling.PAUSE)
    assert work.work().shards == 10


def test_the_next_tick_ends_the_pause_of_one_that_died_after_it_had_migrated(sql):
    submit(a_stage(kind="noop", shards=10))
    with db.transaction("worker") as tx:
        pauses.begin(tx, rolling.PAUSE)
    tick.tick()
    assert work.work().shards == 10


def test_a_tick_of_another_release_does_not_end_a_pause_that_is_not_its_own(sql, configured):
    configured(RELEASE="new")
    with db.transaction("worker") as tx:
        pauses.begin(tx, rolling.PAUSE)
    configured(RELEASE="old")
    tick.tick()
    assert sql("select paused_by from tidemark.pauses") == [["default/new"]]


def test_a_migration_that_fails_stops_nobody(sql, tmp_path, monkeypatch):
    submit(a_stage(kind="noop", shards=10))
    rollouts.deploy(monkeypatch, tmp_path, "-- wrong\nselect 1 / 0;")
    with pytest.raises(Exception, match="division by zero"):
        tick.tick()
    rollouts.go_back(monkeypatch)
    assert work.work().shards == 10


# HXO_ZDU_ENABLED -------------------------------------------------------------------------------------------------


def test_without_zdu_nothing_is_migrated_while_plans_run(sql, configured, tmp_path, monkeypatch):
    plan = submit(a_stage(kind="noop", shards=10))
    rollouts.deploy(monkeypatch, tmp_path, ADDS)
    configured(HXO_ZDU_ENABLED="false")
    with pytest.raises(Conflict, match=rf"plans are running: a plan \({plan}\)") as refused:
        migrations.run()
    assert refused.value.fields["plans"] == [f"a plan ({plan})"]
    with pytest.raises(Conflict):
        tick.tick()
    configured(HXO_ZDU_ENABLED="true")
    assert len(migrations.run()) == 1


def test_without_zdu_it_is_migrated_once_no_plan_runs(sql, configured, tmp_path, monkeypatch):
    submit(a_stage(kind="noop", shards=10))
    configured(HXO_ZDU_ENABLED="false")
    work.work()
    rollouts.deploy(monkeypatch, tmp_path, ADDS)
    assert len(migrations.run()) == 1


def test_without_zdu_a_database_that_lacks_nothing_is_not_refused(sql, configured):
    submit(a_stage(kind="noop", shards=10))
    configured(HXO_ZDU_ENABLED="false")
    assert migrations.run() == []


# POST /api/system/migrate ----------------------------------------------------------------------------------------


def post(**given):
    return ask("POST", "/api/system/migrate", OWNER, body=json.dumps(given).encode())


def test_migrations_run_as_a_plan(sql, tmp_path, monkeypatch):
    added, takes = rollouts.deploy(monkeypatch, tmp_path, ADDS, TAKES)
    reply = post()
    assert (reply.status, reply.json["pending"], reply.json["contract_pending"]) == (202, [added], [takes])
    work.work()  # on a schema that is older than this code: nothing else is worked on
    assert plan_status.status(reply.json["plan_id"])["status"] == "succeeded"
    assert sql("select to_regclass('public.added') is not null") == [[True]]
    reply = post(contract=True)
    assert (reply.json["pending"], reply.json["contract_pending"], reply.json["contract"]) == ([], [takes], True)
    work.work()
    assert sql("select to_regclass('public.added')") == [[None]]


def test_a_plan_that_migrates_goes_on_without_zdu_and_in_a_pause(sql, configured, tmp_path, monkeypatch):
    (added,) = rollouts.deploy(monkeypatch, tmp_path, ADDS)
    configured(HXO_ZDU_ENABLED="false")
    plan = post().json["plan_id"]
    with db.transaction("worker") as tx:
        pauses.begin(tx, rolling.PAUSE)
    work.work()
    assert plan_status.status(plan)["status"] == "succeeded"
    assert sql(f"select count(*) from tds_schema_versions where name = '{added}'") == [[1]]


def test_a_migration_that_takes_long_keeps_its_lane(sql, tmp_path, monkeypatch, turn_clock):
    rollouts.deploy(monkeypatch, tmp_path, "-- long\nselect pg_sleep(0.5);")
    monkeypatch.setattr(keeping, "BEAT_SECONDS", 0.05)
    plan = post().json["plan_id"]
    before = sql("select leased_until from tidemark.lanes")
    beats = []
    real = system.work.LaneTurn._beat
    monkeypatch.setattr(system.work.LaneTurn, "_beat", lambda turn, *rest: beats.append(1) or real(turn, *rest))
    work.work()
    assert before == [[None]]
    assert len(beats) > 2
    assert plan_status.status(plan)["status"] == "succeeded"


def test_taking_away_is_refused_at_once_where_older_code_serves(sql, tmp_path, monkeypatch):
    presence.check()
    rollouts.deploy(monkeypatch, tmp_path, ADDS, TAKES)
    migrations.run()
    reply = post(contract=True)
    assert (reply.status, reply.json["serving"]) == (409, ["default/0.1.0"])
    assert sql("select count(*) from tidemark.plans") == [[0]]


def test_a_passive_deployment_is_told_that_others_would_run_it(sql, configured):
    configured(DEPLOYMENT="blue")
    lease.held()
    configured(DEPLOYMENT="green")
    with pytest.raises(Passive, match="'blue' holds"):
        system.migrate({})


@pytest.mark.parametrize(("given", "pointer"), [({"contract": "yes"}, "/contract"), ({"force": True}, "/force")])
def test_what_cannot_be_understood_is_refused_with_pointers(database_url, given, pointer):
    with pytest.raises(Invalid) as refused:
        system.migrate(given)
    assert [fault["pointer"] for fault in refused.value.fields["errors"]] == [pointer]


def test_nobody_submits_a_stage_that_migrates(database_url):
    with pytest.raises(Invalid):
        submit(a_stage(kind="system.migrate"))
