"""The command line's nouns for large work: sync, plan, schedule, source."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest

from common.flows import work
from common.outgoing import calls
from deploy.commands import watching
from deploy.local.zoho import StandIn
from tests.commands import commanded
from tests.make import connection

MISSING = "00000000-0000-4000-8000-000000000000"
NOOP = {"name": "a plan", "stages": [{"id": "a", "kind": "noop", "config": {"shards": 10}}]}


@pytest.fixture
def tidemark(configured, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.02)
    with commanded(configured, capsys, monkeypatch, str(tmp_path / "none")) as run:
        yield run


@pytest.fixture
def zoho(tidemark, configured, sql):
    with StandIn(sizes=3) as standing:
        standing.limits.off()
        configured(**connection(standing))
        sql("update tidemark.settings set value = '1000000' where key in ('zoho.calls_per_minute', 'zoho.burst')")
        yield standing
        calls.close()


@pytest.fixture
def worked(database_url):
    """Somebody works on plans all the while."""
    enough = threading.Event()

    def go():
        while not enough.wait(0.02):
            work.work()

    worker = threading.Thread(target=go)
    worker.start()
    yield
    enough.set()
    worker.join()


@pytest.fixture
def file(tmp_path):
    """A file with a plan."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(NOOP))
    return path


def facts(out):
    """The facts that a command wrote, those of tables left out."""
    return dict(line.split("\t") for line in out.splitlines() if line.count("\t") == 1)


# Syncs


def test_a_sync_is_started_watched_and_listed(tidemark, zoho, worked, sql):
    status, out, err = tidemark("sync", "start", "--mode", "full", "--watch")
    assert status == 0, err
    assert facts(out)["status"] == "completed"
    assert "The sync has begun." in err
    assert "12 of 12 done" in err  # eleven lists, and what is read by id
    assert sql("select count(*) from erp.products") == [[3]]
    status, out, _ = tidemark("sync", "runs", "--entity", "product")
    assert status == 0
    header, line = out.splitlines()
    assert dict(zip(header.split("\t"), line.split("\t"), strict=True))["total_events"] == "3"
    run = json.loads(tidemark("sync", "runs", "--json")[1])[0]["run_id"]
    status, out, _ = tidemark("sync", "watch", run, "--json")
    assert (status, json.loads(out)["run_id"]) == (0, run)


def test_a_sync_that_is_not_watched_says_how_to(tidemark, zoho):
    status, out, err = tidemark("sync", "start", "invoices")
    assert status == 0
    assert f"tidemark sync watch {out.strip()}" in err
    status, out, err = tidemark("sync", "start", "invoice", "--json")
    assert (status, json.loads(out)["success"]) == (0, True)
    assert "under way" in err


def test_single_records_are_synced_by_id(tidemark, zoho, worked, sql):
    one, two, other = zoho.records("product")
    assert tidemark("sync", "start", "product", "--ids", f"{one},{two}", "--watch")[0] == 0
    assert {row[0] for row in sql("select source_id from erp.products")} == {one, two}
    assert tidemark("sync", "start", "product", "--ids", one, "--ids", other, "--watch")[0] == 0
    assert sql("select count(*) from erp.products") == [[3]]


def test_ctrl_c_ends_the_watching_and_not_the_sync(tidemark, zoho, monkeypatch, sql):
    def interrupted(_):
        raise KeyboardInterrupt

    run = tidemark("sync", "start")[1].strip()
    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=interrupted))
    status, _, err = tidemark("sync", "watch", run)
    assert status == 130
    assert f"It goes on without you; to watch it again: tidemark sync watch {run}" in err
    assert sql("select status from tidemark.plans") == [["running"]]


def test_who_asks_too_often_watches_on_after_the_time_that_is_asked_for(tidemark, zoho, worked, sql, monkeypatch):
    waits = []

    def rest(seconds):
        waits.append(seconds)
        sql("delete from tidemark.rate_limits")

    run = tidemark("sync", "start", "product")[1].strip()
    sql("update tidemark.settings set value = '1' where key = 'operator.calls_per_minute'")
    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=rest))
    assert tidemark("sync", "watch", run)[0] == 0
    assert max(waits) > 10


# Plans


def test_a_plan_is_submitted_and_watched_to_its_end(tidemark, file, worked):
    status, out, err = tidemark("plan", "submit", str(file), "--watch")
    assert status == 0, err
    assert facts(out)["status"] == "succeeded"
    assert "10 of 10 shards" in err
    assert "a\tnoop\tsucceeded\t10\t10\t0" in out
    assert "a plan\tsucceeded" in tidemark("plan", "status")[1]


def test_a_plan_is_paused_resumed_and_cancelled(tidemark, file, worked_later):
    plan = tidemark("plan", "submit", str(file))[1].strip()
    assert facts(tidemark("plan", "pause", plan)[1])["status"] == "paused"
    assert facts(tidemark("plan", "status", plan)[1])["status"] == "paused"
    status, _, err = tidemark("plan", "pause", plan)
    assert status == 5
    assert "what can be done to it: abort, cancel, resume" in err
    worked_later()
    assert facts(tidemark("plan", "resume", plan, "--watch")[1])["status"] == "succeeded"
    status, _, err = tidemark("plan", "cancel", plan)
    assert status == 5


def test_a_plan_that_was_cancelled_is_a_failure_to_who_watches_it(tidemark, file):
    plan = tidemark("plan", "submit", str(file), "--json")
    identifier = json.loads(plan[1])["plan_id"]
    assert tidemark("plan", "cancel", identifier)[0] == 0
    status, out, err = tidemark("plan", "status", identifier, "--watch", "--json")
    assert (status, json.loads(out)["status"]) == (1, "cancelled")
    assert "is cancelled: by" in err


def test_a_plan_that_failed_is_tried_again(tidemark, file, sql, worked_later):
    plan = tidemark("plan", "submit", str(file))[1].strip()
    tidemark("plan", "pause", plan)
    sql("update tidemark.plans set status = 'failed', finished_at = app_now(), reason = 'one of its stages failed'")
    status, _, err = tidemark("plan", "status", plan, "--watch")
    assert status == 1
    assert f"tidemark plan retry {plan}" in err
    worked_later()
    status, out, err = tidemark("plan", "retry", plan, "--watch")
    assert (status, facts(out)["status"]) == (0, "succeeded"), err


def test_a_key_submits_a_plan_once_and_a_check_never(tidemark, file, sql):
    assert tidemark("plan", "submit", str(file), "--check")[0] == 0
    assert sql("select count(*) from tidemark.plans") == [[0]]
    first = tidemark("plan", "submit", str(file), "--once", "monday")[1]
    assert tidemark("plan", "submit", str(file), "--once", "monday")[1] == first
    file.write_text(json.dumps(NOOP | {"priority": 2}))
    status, _, err = tidemark("plan", "submit", str(file), "--once", "monday")
    assert (status, "stands for another plan" in err) == (2, True)


def test_a_plan_comes_from_stdin(tidemark, monkeypatch, sql):
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(NOOP).encode())))
    assert tidemark("plan", "submit", "-")[0] == 0
    assert sql("select name from tidemark.plans") == [["a plan"]]


@pytest.fixture
def worked_later(database_url):
    """Call it, and somebody begins to work on plans."""
    enough = threading.Event()

    def go():
        while not enough.wait(0.02):
            work.work()

    worker = threading.Thread(target=go)
    yield worker.start
    enough.set()
    if worker.is_alive():
        worker.join()


# Schedules


def test_schedules_are_listed_paused_resumed_and_looked_ahead(tidemark):
    status, out, _ = tidemark("schedule", "list")
    header, *lines = out.splitlines()
    assert (status, header.split("\t")[0], len(lines)) == (0, "name", 5)
    status, out, _ = tidemark("schedule", "pause", "stock_sync_15min", "--reason", "stocktaking")
    assert (facts(out)["paused"], facts(out)["pause_reason"]) == ("yes", "stocktaking")
    status, out, err = tidemark("schedule", "preview", "stock_sync_15min", "--next", "3")
    assert (status, len(out.splitlines())) == (0, 4)
    assert "none of these fires before" in err
    assert facts(tidemark("schedule", "resume", "stock_sync_15min")[1])["paused"] == "no"
    assert len(json.loads(tidemark("schedule", "preview", "stock_sync_15min", "--json")[1])["slots"]) == 10


def test_a_schedule_is_run_now(tidemark, sql):
    status, out, err = tidemark("schedule", "run", "auto_healing")
    assert (status, facts(out)["schedule"]) == (0, "auto_healing"), err
    assert sql("select schedule, kind from tidemark.fires") == [["auto_healing", "manual"]]


# The source


def test_the_source_is_tried(tidemark, zoho):
    status, out, err = tidemark("source", "check")
    assert status == 0, err
    assert "access token\tok\tis valid" in out
    assert "its filter is honoured" in out
    zoho.faults.add("unfiltered")
    status, out, err = tidemark("source", "check", "--json")
    assert status == 8
    assert [each["name"] for each in json.loads(out) if not each["is_good"]] == [
        "list bills",
        "list invoices",
        "list orders",
        "list products",
    ]
    assert "list bills" in json.loads(err.splitlines()[-1])["error"]


def test_a_source_that_is_not_connected_is_said(tidemark):
    status, out, err = tidemark("source", "check")
    assert status == 8
    assert "ZOHO_CLIENT_ID" in out
    status, _, err = tidemark("sync", "start")
    assert (status, "no source is connected" in err) == (8, True)


TROUBLE = [
    (("sync", "start", "spaceship"), 2, "/entity_type must be all or one of"),
    (("sync", "start", "--mode", "sideways"), 2, "/mode must be one of"),
    (("sync", "start", "--ids", "a"), 2, "ids need the entity"),
    (("sync", "runs", "--entity", "spaceship"), 2, "/entity must be one of"),
    (("sync", "watch", MISSING), 3, "tidemark sync runs"),
    (("plan", "status", MISSING), 3, "tidemark plan status"),
    (("plan", "status", MISSING, "--watch"), 3, "tidemark plan status"),
    (("plan", "status", "--watch"), 2, "Name the plan"),
    (("plan", "pause", MISSING), 3, "tidemark plan status"),
    (("plan", "pause", "not-an-id"), 2, "is not an id"),
    (("plan", "submit", "/nowhere"), 2, "cannot be read"),
    (("plan", "submit", __file__), 2, "is not JSON"),
    (("schedule", "run", "nobody"), 3, "tidemark schedule list"),
    (("schedule", "pause", "nobody"), 3, "tidemark schedule list"),
    (("schedule", "preview", "nobody"), 3, "tidemark schedule list"),
    (("schedule", "preview", "auto_healing", "--next", "0"), 2, "next"),
    (("sync", "start", "--token", "wrong"), 4, "TIDEMARK_TOKEN"),
]


def test_trouble_has_a_cause_a_next_step_and_a_status_of_its_kind(tidemark):
    for words, status, said in TROUBLE:
        found, out, err = tidemark(*words)
        assert (words, found, out) == (words, status, "")
        assert said in err, (words, err)
        assert "Traceback" not in err, words


def test_a_plan_that_cannot_be_is_told_with_the_place_of_each_fault(tidemark, file):
    file.write_text(json.dumps({"name": "x", "stages": [{"id": "a", "kind": "spaceship"}]}))
    status, out, err = tidemark("plan", "submit", str(file))
    assert (status, out) == (2, "")
    assert "/stages/0/kind" in err
