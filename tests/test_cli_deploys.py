"""The command line's verbs for deploys, releases and what is deployed; against the stand-ins of the providers."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common.flows import lease, work
from common.outgoing import calls
from deploy.client import Api, Exit, Problem
from deploy.commands import watching
from deploy.local.zoho import StandIn
from tests.commands import commanded
from tests.conftest import OWNER
from tests.deploys import a_deployment
from tests.house.tree import ROOT
from tests.kinds import a_stage, submit
from tests.make import connection
from tests.releases import NEW, OLD, opened
from tests.rollouts import deploy

COLOURS = re.compile(r"\x1b\[[\d;]*m")
MISSING = "00000000-0000-4000-8000-000000000000"
NOOP = {"name": "a plan", "stages": [{"id": "a", "kind": "noop", "config": {"shards": 10}}]}


@pytest.fixture
def tidemark(configured, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.02)
    with commanded(configured, capsys, monkeypatch, str(tmp_path / "none")) as run:
        yield run


@pytest.fixture
def world(tidemark, sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as found:
        yield found


@pytest.fixture
def worked(tidemark, sql):
    """Somebody works all the while, and time passes by."""
    enough = threading.Event()

    def go():
        while not enough.wait(0.01):
            work.work()
            sql("update turned.clock set skew = skew + interval '30 s'")

    worker = threading.Thread(target=go)
    yield worker.start
    enough.set()
    if worker.is_alive():
        worker.join()


def facts(out):
    """The facts that a command wrote, those of tables left out."""
    return dict(line.split("\t") for line in out.splitlines() if line.count("\t") == 1)


def table(out):
    """The rows of the table that stands at the end, by the columns' names."""
    lines = [line.split("\t") for line in out.splitlines()]
    rows = [line for line in lines if len(line) == len(lines[-1])]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def written(path, document):
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


# Deploys


def test_a_deploy_is_begun_watched_shown_and_listed(tidemark, world, worked, tmp_path):
    file = written(tmp_path / "deploy.json", {"targets": ["page"], "strategy": {"kind": "rolling"}, "commit": "0" * 40})
    worked()
    status, out, err = tidemark("deploy", "start", "web", "--commit", NEW, "--file", file, "--watch")
    assert status == 0, err
    assert facts(out)["status"] == "live"
    (row,) = table(out)  # what is given on the line counts more than what stands in the file
    assert (row["name"], row["serving"], row["frozen"]) == ("web", NEW, "no")
    assert "promoted, serves 4f2a9c1e8b7d" in err
    (listed,) = table(tidemark("deploy", "list")[1])
    assert (listed["status"], listed["commit"]) == ("live", NEW)
    (found,) = json.loads(tidemark("deploy", "list", "--json", "--limit", "1")[1])
    shown = json.loads(tidemark("deploy", "show", found["deployment_id"], "--json")[1])
    assert (shown["status"], [target["name"] for target in shown["targets"]]) == ("live", ["web"])


def test_a_deploy_that_is_not_watched_says_how_to_and_a_key_begins_it_once(tidemark, world):
    status, out, err = tidemark("deploy", "start", "web", "--commit", NEW, "--once", "monday")
    assert (status, f"tidemark deploy watch {out.strip()}" in err) == (0, True)
    assert tidemark("deploy", "start", "web", "--commit", NEW, "--once", "monday")[1] == out
    assert tidemark("deploy", "start", "web", "--commit", OLD, "--once", "monday")[0] == 2
    status, _, err = tidemark("deploy", "start", "web", "--commit", NEW)
    assert (status, "Another deployment is at: web" in err) == (5, True)


def test_a_deploy_comes_from_stdin(tidemark, world, monkeypatch):
    document = {"targets": ["web"], "commit": NEW}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(document).encode())))
    status, out, err = tidemark("deploy", "start", "--file", "-", "--json")
    assert (status, json.loads(out)["status"]) == (0, "running"), err


def test_a_deploy_that_is_taken_back_is_a_failure_to_who_watches_it(tidemark, world, worked):
    world.providers.faults.add("fails", place="web", commit=NEW, value="build_failed")
    worked()
    status, out, err = tidemark("deploy", "start", "web", "--commit", NEW, "--watch", "--json")
    found = json.loads(out)
    assert (status, found["status"]) == (1, "rolled_back")
    assert f"tidemark deploy show {found['rolled_back_by']}" in json.loads(err.splitlines()[-1])["next"]


def test_a_deploy_waits_to_be_approved_by_somebody_else(tidemark, world, tmp_path):
    file = written(tmp_path / "deploy.json", {"targets": ["web"], "commit": NEW, "approvals": 1})
    status, out, err = tidemark("deploy", "start", "--file", file)
    identifier = out.strip()
    assert status == 0
    confirm = err.split("--confirm ")[1].split()[0]
    assert f"tidemark deploy approve {identifier} --confirm {confirm}" in err
    other = tidemark("token", "create", "bea", "--role", "owner")[1].strip()
    assert tidemark("deploy", "approve", identifier, "--confirm", confirm)[0] == 5  # who asked for it
    assert tidemark("deploy", "approve", identifier, "--confirm", "0" * 64, "--token", other)[0] == 5
    status, out, _ = tidemark("deploy", "approve", identifier, "--confirm", confirm, "--token", other)
    assert (status, facts(out)["status"], facts(out)["approved_by"]) == (0, "running", '["bea"]')
    assert tidemark("deploy", "approve", identifier, "--confirm", confirm, "--token", other)[0] == 5
    assert tidemark("deploy", "approve", identifier)[0] == 2


def test_targets_are_frozen_and_unfrozen(tidemark, world):
    made = a_deployment(world.sql, status="live", targets={"web": {}, "api": {}})
    status, out, _ = tidemark("deploy", "freeze", made.id)
    assert (status, facts(out)["frozen"]) == (0, "yes")
    rows = {row["name"]: row for row in table(tidemark("deploy", "target", "list")[1])}
    assert (rows["web"]["is_frozen"], rows["page"]["is_frozen"]) == ("yes", "no")
    assert json.loads(tidemark("deploy", "unfreeze", made.id, "--json")[1])["frozen"] is False


def test_points_say_what_can_be_taken_back_and_a_rollback_is_watched(tidemark, world, worked):
    begun = world.start(targets=["web"], strategy="rolling")["deployment_id"]
    world.work(begun)
    (point,) = table(tidemark("deploy", "points")[1])
    assert (point["deployment_id"], point["eligible"], point["targets"]) == (begun, "yes", f"web to {OLD}")
    assert json.loads(tidemark("deploy", "points", "--json")[1])[0]["eligible"] is True
    worked()
    status, out, err = tidemark("rollback", begun, "--watch", "--json")
    assert (status, json.loads(out)["rolls_back"]) == (0, begun), err
    assert world.running()["web"] == OLD
    status, _, err = tidemark("deploy", "rollback", begun)
    assert (status, "there is nothing left to take back" in err) == (5, True)


def test_a_target_is_made_and_changed(tidemark, world, tmp_path):
    target = world.providers.target("web")
    file = written(tmp_path / "target.json", target)
    status, out, _ = tidemark("deploy", "target", "set", "shop", file)
    assert (status, facts(out)["version"], facts(out)["provider"]) == (0, "1", "render")
    assert json.loads(tidemark("deploy", "target", "set", "shop", file, "--json")[1])["version"] == 2
    assert "shop" in {each["name"] for each in json.loads(tidemark("deploy", "target", "list", "--json")[1])}
    written(tmp_path / "target.json", target | {"version": 1})
    assert tidemark("deploy", "target", "set", "shop", file)[0] == 5
    written(tmp_path / "target.json", {"provider": "spaceship"})
    status, _, err = tidemark("deploy", "target", "set", "shop", file)
    assert (status, "/provider" in err, "/config" in err) == (2, True, True)


# Looking at what is deployed


def test_a_check_of_every_target_says_which_is_not_as_it_should_be(tidemark, world):
    for name in ("web", "page", "api", "green"):
        a_deployment(world.sql, commit=OLD, status="live", targets={name: {}})
    world.live("green", OLD)
    status, out, err = tidemark("deploy", "check", "web", "page", "api", "green")
    assert (status, {row["ok"] for row in table(out)}) == (0, {"yes"}), err
    assert "web: as it should be" in err
    world.providers.behave(OLD, place="web", health=500)
    status, out, err = tidemark("deploy", "check", "web", "page", "--json")
    found = json.loads(out)
    assert (status, found["ok"], [each["ok"] for each in found["targets"]]) == (1, False, [False, True])
    assert "web: it is not well" in json.loads(err.splitlines()[-1])["error"]
    names = {row["target"] for row in table(tidemark("deploy", "check")[1])}
    assert names == {"web", "page", "api", "green", "render", "netlify", "github"}


def test_a_check_looks_for_lines_in_the_log(tidemark, world):
    a_deployment(world.sql, commit=OLD, status="live", targets={"web": {}})
    world.providers.behave(OLD, place="web", lines=["listening", "Traceback"])
    (row,) = table(tidemark("deploy", "check", "web")[1])
    assert (row["ok"], row["logs"]) == ("yes", "not looked at")
    assert tidemark("deploy", "check", "web", "--expected", "listening", "--window", "60")[0] == 0
    status, _, err = tidemark("deploy", "check", "web", "--expected", "listening", "--forbidden", "x", "--forbidden", "Trace")
    assert (status, "web: its log is failed: the log has 'Trace'" in err) == (1, True)


def test_nothing_to_check_is_not_ok(tidemark):
    status, out, err = tidemark("deploy", "check")
    assert (status, out, "no target is known" in err) == (1, "", True)


def test_make_deploy_check_checks(world):
    a_deployment(world.sql, commit=NEW, status="live", targets={"web": {}})
    command = ["make", "--old-file=.venv/installed", f"BIN={Path(sys.executable).parent}", "deploy-check", "ARGS=web"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"should serve {NEW}" in done.stderr


def test_parity_is_told_as_read_back_and_anew(tidemark, world):
    status, _, err = tidemark("deploy", "parity")
    assert (status, "Parity is unknown" in err) == (1, True)
    serving = {"id": "dep-1", "commit": OLD, "artifact": None}
    a_deployment(world.sql, commit=OLD, status="live", targets={"web": {"serving": serving}})
    status, out, err = tidemark("deploy", "parity")
    assert (status, facts(out)["status"], table(out)[0]["serving"]) == (0, "ok", OLD), err
    world.providers.places["web"].is_automatic = True
    world.live("web", NEW)
    assert tidemark("deploy", "parity")[0] == 0
    status, out, err = tidemark("deploy", "parity", "--fresh", "--json")
    assert (status, json.loads(out)["targets"][0]["differs"]) == (1, ["commit"])
    assert "web: commit" in json.loads(err.splitlines()[-1])["error"]


def test_drift_is_told_by_names(tidemark, world):
    status, out, err = tidemark("deploy", "drift")
    assert (status, out.splitlines()[0].split("\t")[0]) == (0, "name"), err
    del world.providers.places["web"].variables["LOG_LEVEL"]
    status, out, err = tidemark("deploy", "drift")
    assert (status, "LOG_LEVEL" in out, "drifted" in err) == (1, True, True)
    assert "postgresql://" not in out + err
    status, out, err = tidemark("deploy", "drift", "--json")
    assert (status, json.loads(out)["status"]) == (1, "drifted")


def test_links_are_told_and_bad_ones_have_a_status_of_their_own(tidemark, sql):
    status, out, err = tidemark("links")
    assert status == 0, err
    assert {row["link"] for row in table(out)} >= {"autonomy", "database", "queue"}
    assert tidemark("links", "database", "--json")[0] == 0
    sql("delete from tds_schema_versions where version > 20")
    status, out, err = tidemark("links", "--json")
    assert (status, json.loads(out)["links"]["blueprint"]["status"]) == (8, "down")
    assert "blueprint is down: the schema is at 20" in json.loads(err.splitlines()[-1])["error"]


# Plans, and releases


def test_a_plan_is_aborted_replayed_and_watched(tidemark, worked, tmp_path):
    plan = tidemark("submit", written(tmp_path / "plan.json", NOOP))[1].strip()
    assert facts(tidemark("abort", plan)[1])["status"] == "aborted"
    status, _, err = tidemark("watch", plan)
    assert (status, f"tidemark plan replay {plan}" in err) == (1, True)
    assert tidemark("plan", "abort", plan)[0] == 5
    other = json.loads(tidemark("replay", plan, "--json")[1])["plan_id"]
    assert other != plan
    worked()
    assert facts(tidemark("watch", other)[1])["status"] == "succeeded"
    status, out, _ = tidemark("plan", "replay", other, "--watch", "--json")
    assert (status, json.loads(out)["status"]) == (0, "succeeded")


def test_a_release_is_drained_and_takes_work_again(tidemark, sql):
    status, out, _ = tidemark("drain", "--wait", "--deadline", "1")
    assert (status, facts(out)["draining"], facts(out)["idle"]) == (0, "yes", "yes")
    submit(a_stage(kind="noop", shards=10))
    assert work.work().shards == 0
    assert json.loads(tidemark("drain", "--resume", "--json")[1])["draining"] is False
    assert work.work().shards == 10
    assert tidemark("drain", "--resume")[0] == 5


def test_a_release_that_still_holds_work_after_its_deadline_has_a_status_of_its_own(tidemark, sql):
    plan = submit(a_stage(kind="noop", shards=10))
    lease.held()
    sql(
        """insert into tidemark.shard_failures (plan, stage, shard, status, code, message, ready_at, leased_until)
           values (:plan, 0, 1, 'retry', 'c', 'm', app_now(), app_now() + interval '1 hour')""",
        plan=plan,
    )
    status, out, err = tidemark("drain", "--wait", "--deadline", "1")
    assert (status, facts(out)["idle"], "It still holds work" in err) == (7, "no", True)


@pytest.fixture
def zoho(tidemark, configured, sql):
    with StandIn(sizes=3) as standing:
        standing.limits.off()
        configured(**connection(standing))
        sql("update tidemark.settings set value = '1000000' where key in ('zoho.calls_per_minute', 'zoho.burst')")
        yield standing
        calls.close()


def test_both_sides_are_compared_and_the_outcome_is_shown(tidemark, zoho, worked):
    assert facts(tidemark("stats")[1])["overall_score"] == ""
    status, out, err = tidemark("compare", "invoice", "--full")
    found = facts(out)
    assert (status, found["mode"], f"tidemark watch {found['plan_id']}" in err) == (0, "full", True)
    worked()
    assert tidemark("watch", found["plan_id"])[0] == 0
    status, out, _ = tidemark("stats")
    (row,) = table(out)
    assert (status, row["entity_type"], row["source_count"], row["match_percentage"]) == (0, "invoice", "3", "100.0")
    assert row["recommendation"]
    assert json.loads(tidemark("stats", "--json")[1])["entities"]["invoice"]["source_count"] == 3


def test_without_a_source_nothing_is_compared(tidemark):
    status, _, err = tidemark("compare")
    assert (status, "Nothing can be compared" in err) == (8, True)


def test_a_migration_that_takes_away_runs_only_when_it_is_asked_for(tidemark, sql, monkeypatch, tmp_path):
    expand, contract = deploy(monkeypatch, tmp_path / "sql", "create table more (id integer);\n", "-- contract\ndrop table more;\n")
    assert tidemark("migrate")[1].split() == [expand]
    assert tidemark("migrate")[1] == ""
    assert json.loads(tidemark("migrate", "--contract", "--json")[1]) == {"applied": [contract]}


# What people see, and what goes wrong


def test_a_terminal_gets_tables_and_bars(tidemark, world):
    begun = world.start(targets=["web"], strategy="rolling")["deployment_id"]
    world.work(begun)
    listed = on_a_terminal("deploy", "list")
    assert "┃ deployment_id" in COLOURS.sub("", listed)
    assert "\t" not in listed
    watched = on_a_terminal("deploy", "watch", begun)
    assert "━━━━ wave 1: promoted" in COLOURS.sub("", watched)
    asked = on_a_terminal("deploy", "show", MISSING)
    assert "\x1b[31merror:\x1b[0m There is no deployment" in asked


def on_a_terminal(*words):
    """What a terminal of 200 columns shows of a command."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"COLUMNS": "200", "TERM": "xterm"}
    command = [sys.executable, "-m", "deploy.cli", *words]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # so Linux says that nobody writes there any more
                part = b""
            if not part:
                break
            shown += part
    os.close(ours)
    return shown.decode()


TROUBLE = [
    (("deploy", "show", MISSING), 3, "tidemark deploy list"),
    (("deploy", "watch", MISSING), 3, "tidemark deploy list"),
    (("deploy", "approve", MISSING, "--confirm", "x"), 3, "tidemark deploy list"),
    (("deploy", "freeze", MISSING), 3, "tidemark deploy list"),
    (("deploy", "unfreeze", "not-an-id"), 2, "is not an id"),
    (("deploy", "rollback", MISSING), 3, "tidemark deploy points"),
    (("deploy", "check", "nowhere"), 3, "tidemark deploy target list"),
    (("deploy", "check", "web", "--window", "0"), 2, "--window"),
    (("deploy", "start", "nowhere", "--commit", NEW), 2, "/targets/0 there is no target nowhere"),
    (("deploy", "start", "--commit", NEW), 2, "/targets"),
    (("deploy", "start", "web"), 2, "needs a commit or an artifact"),
    (("deploy", "start", "web", "--commit", NEW, "--artifact", "x"), 2, "not both"),
    (("deploy", "start", "web", "--commit", NEW, "--strategy", "sideways"), 2, "/strategy"),
    (("deploy", "start", "--file", "/nowhere"), 2, "cannot be read"),
    (("deploy", "start", "--file", __file__), 2, "is not JSON"),
    (("deploy", "target", "set", "x", "/nowhere"), 2, "cannot be read"),
    (("deploy", "list", "--limit", "0"), 2, "limit"),
    (("deploy", "list", "--token", "wrong"), 4, "TIDEMARK_TOKEN"),
    (("plan", "abort", MISSING), 3, "tidemark plan status"),
    (("plan", "replay", MISSING, "--watch"), 3, "tidemark plan status"),
    (("watch", "not-an-id"), 2, "is not an id"),
    (("compare", "spaceship"), 2, "/entities/0"),
    (("links", "spaceship"), 3, "tidemark links"),
    (("drain", "--deadline", "never"), 2, "--deadline"),
]


def test_trouble_has_a_cause_a_next_step_and_a_status_of_its_kind(tidemark, sql):
    sql("update tidemark.settings set value = '1000' where key like 'operator.calls_per_%'")
    for words, status, said in TROUBLE:
        found, out, err = tidemark(*words)
        assert (words, found, out) == (words, status, ""), err
        assert said in err, (words, err)
        assert "Traceback" not in err, words


def test_what_needs_an_owner_is_refused_to_others(tidemark):
    viewer = tidemark("token", "create", "eve", "--role", "viewer")[1].strip()
    assert tidemark("deploy", "list", "--token", viewer)[0] == 0
    for words in (
        ("deploy", "start", "web", "--commit", NEW),
        ("rollback", MISSING),
        ("drain",),
        ("abort", MISSING),
        ("certify", MISSING),
    ):
        assert (words, tidemark(*words, "--token", viewer)[0]) == (words, 4)
    assert tidemark("rollback", MISSING, "--token", OWNER)[0] == 3


def test_what_is_switched_off_says_so(tidemark, configured, tmp_path):
    configured(HXO_ENABLED="false")
    status, _, err = tidemark("submit", written(tmp_path / "plan.json", NOOP))
    assert (status, "HXO_ENABLED" in err) == (8, True)


def test_who_does_not_answer_in_time_has_a_status_of_its_own():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = Api(f"http://127.0.0.1:{silent.getsockname()[1]}", "x", seconds=0.05)
        with pytest.raises(Problem, match="did not answer") as raised:
            api.get("/health")
    assert raised.value.code == Exit.TIMEOUT


def test_a_file_that_is_no_object_is_refused(tidemark, tmp_path):
    status, _, err = tidemark("deploy", "start", "--file", written(tmp_path / "list.json", []))
    assert (status, "is not a JSON object" in err) == (2, True)
