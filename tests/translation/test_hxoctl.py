"""hxoctl verify --deep --certify: the command line for plans and deploys. What it says stands in golden/, ids and times masked.

To write those files anew, after looking at why they would change: GOLDEN=write python -m pytest tests/translation/test_hxoctl.py
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from common.flows import plan_status, work
from common.stores import migrations
from deploy.commands import watching
from tests.commands import commanded
from tests.house.tree import ROOT
from tests.releases import NEW, opened
from tests.truth import alter

GOLDEN = Path(__file__).parent / "golden"
MISSING = "00000000-0000-4000-8000-000000000000"
PLAN = {"name": "a plan", "stages": [{"id": "pack", "kind": "noop", "config": {"shards": 2000}}]}
MASKS = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ][\d:.]+(Z|\+00:00)"), "<time>"),
    (re.compile(r"\b[0-9a-f]{32,}\b"), "<hash>"),
    (re.compile(r'("took_ms"|"shards_per_second"|shards_per_second|"chunk")(: |\t)[\d.]+'), r"\1\2<n>"),
    (re.compile(r"(key_id\t)[0-9a-f]{12}"), r"\1<key>"),
    (re.compile(r"(signature\t).+"), r"\1<signature>"),
    (re.compile(r"(schema_version\t|dep-0*|version )\d+\b"), r"\1<n>"),
    (re.compile(r"\d+ plug-ins and \d+ migrations"), "<n> plug-ins and <n> migrations"),
)


@pytest.fixture
def run(configured, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.02)
    monkeypatch.chdir(tmp_path)
    Path("plan.json").write_text(json.dumps(PLAN))
    with commanded(configured, capsys, monkeypatch, str(tmp_path / "none")) as commands:
        yield commands


@pytest.fixture
def told(run):
    """Run a command; all that it said, and how it ended, is gathered in `told.lines`."""

    def tell(*words):
        status, out, err = run(*words)
        tell.lines += [
            f"$ hxoctl {' '.join(words)}",
            *out.splitlines(),
            *(f"! {line}" for line in err.splitlines()),
            f"= {status}",
            "",
        ]
        return out

    tell.lines = []
    return tell


def same_as_golden(name, lines):
    text = "\n".join(lines)
    for mask, shown in MASKS:
        text = mask.sub(shown, text)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(text)
    assert text.splitlines() == file.read_text().splitlines()


def submitted(run):
    """A plan that was worked off."""
    plan = run("submit", "plan.json")[1].strip()
    worked_off(plan)
    return plan


def worked_off(plan):
    """Work until a plan's tree is closed: a machine that is busy may take several calls."""
    for _ in range(100):
        work.work()
        if plan_status.status(plan)["merkle_root"]:
            return
    raise AssertionError(plan_status.status(plan))


def test_hxoctl_and_tidemark_are_one_program_with_every_word(run):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["hxoctl"] == scripts["tidemark"] == "deploy.cli:main"
    words = "plan submit status watch abort retry replay verify certify rollback drain deploy sync compare stats health schedule dead-letters"
    assert {word: run(word, "--help")[0] for word in words.split()} == dict.fromkeys(words.split(), 0)


# Golden


def test_golden_a_plan_from_its_submission_to_its_certificate(told):
    told("submit", "plan.json", "--check")
    plan = told("submit", "plan.json", "--once", "monday").strip()
    told("status")
    worked_off(plan)
    told("status", plan)
    told("watch", plan)
    told("verify", plan)
    told("verify", plan, "--deep")
    told("certify", plan)
    told("verify", plan, "--deep", "--certify")
    told("verify", plan, "--deep", "--certify", "--json")
    same_as_golden("plan", told.lines)


def test_golden_the_verbs_of_a_plan(told):
    plan = told("submit", "plan.json").strip()
    told("plan", "pause", plan)
    told("abort", plan)
    told("watch", plan)
    told("certify", plan)
    told("retry", plan)
    told("replay", plan)
    same_as_golden("verbs", told.lines)


def test_golden_trouble(told):
    Path("broken.json").write_text("{")
    Path("wrong.json").write_text(json.dumps({"name": "x", "stages": [{"id": "a", "kind": "noop", "slo_ms": -1}]}))
    for words in (
        ("submit", "nowhere.json"), ("submit", "broken.json"), ("submit", "wrong.json"),
        ("status", MISSING), ("watch", MISSING), ("abort", MISSING), ("retry", MISSING), ("replay", MISSING), ("certify", MISSING),
        ("verify", MISSING), ("verify", MISSING, "--deep", "--certify"), ("verify", "not-an-id"),
        ("verify", "--export", "nowhere.jsonl"), ("verify", MISSING, "--export", "nowhere.jsonl"),
        ("rollback", MISSING), ("rollback", "not-an-id"), ("status", "--token", "wrong"), ("drain", "--deadline", "0"),
    ):  # fmt: skip
        told(*words)
    traces = [line for line in told.lines if line.startswith("! trace: ")]
    assert len(traces) >= 10
    same_as_golden("trouble", told.lines)


def test_golden_a_deploy_and_its_rollback(told, sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as world:
        begun = json.loads(told("deploy", "start", "web", "--commit", NEW, "--json"))["deployment_id"]
        world.work(begun)
        told("deploy", "watch", begun)
        told("deploy", "points")
        back = told("rollback", begun).strip()
        world.work(back)
        told("deploy", "watch", back)
        told("deploy", "list")
    same_as_golden("deploy", told.lines)


# verify without a plan: for pipelines


def checks(out):
    return {each["check"]: each["ok"] for each in json.loads(out)["checks"]}


def test_without_a_plan_the_installation_the_schema_and_the_last_finished_plan_are_verified(run, sql):
    status, out, err = run("verify", "--deep", "--certify", "--json")
    assert (status, checks(out)) == (0, dict.fromkeys(("installation", "ready", "schema", "links", "plan"), True)), err
    submitted(run)
    plan = submitted(run)
    status, out, err = run("verify", "--deep", "--certify", "--json")
    assert (status, checks(out)) == (
        0,
        dict.fromkeys(("installation", "ready", "schema", "links", "leaves", "certificate"), True),
    ), err
    assert {each.get("plan_id") for each in json.loads(out)["checks"]} == {None, plan}
    assert sql("select plan::text from tidemark.certificates") == [[plan]]
    alter(sql, plan, 77)
    status, out, err = run("verify", "--deep", "--certify", "--json")
    assert (status, checks(out)["leaves"]) == (1, False)
    assert "leaves: altered: pack 77" in json.loads(err.splitlines()[-1])["error"]
    assert json.loads(out)["checks"][-1]["altered"][0]["shard"] == 77


def test_a_schema_that_is_behind_fails_the_verification(run, sql):
    sql("delete from tds_schema_versions where version > 20")
    status, out, err = run("verify", "--json")
    assert (status, checks(out)["schema"], checks(out)["ready"]) == (1, False, False)
    assert "version 20 of" in err


def test_an_installation_that_is_broken_fails_the_verification(run, monkeypatch, tmp_path):
    (tmp_path / "0007_alone.sql").write_text("select 1;")
    monkeypatch.setattr(migrations, "FOLDER", tmp_path)
    monkeypatch.delenv("FUNCTIONS_URL")
    status, _, err = run("verify")
    assert status == 1
    assert "installation: Migration 0007_alone should have number 0001" in err


def test_without_an_address_only_the_installation_is_verified(run, monkeypatch):
    monkeypatch.delenv("FUNCTIONS_URL")
    status, out, err = run("verify", "--deep", "--certify", "--json")
    assert (status, checks(out)) == (0, {"installation": True})
    assert "only what is installed here was checked" in err
    assert run("verify", "--save", "x.jsonl")[0] == 3


def test_a_vote_against_a_plan_fails_the_verification_and_nothing_is_signed(run, sql):
    plan = submitted(run)
    sql("update tidemark.plans set retry_budget = 0, status = 'failed', reason = 'x' where id = :plan", plan=plan)
    status, out, err = run("verify", plan, "--certify", "--json")
    assert (status, checks(out)) == (1, {"root": True, "certificate": False})
    assert "only one that has succeeded can be certified" in err
    assert sql("select count(*) from tidemark.certificates") == [[0]]


# verify offline, from an export


@pytest.fixture
def export(run, tmp_path):
    """The export of a plan that was certified."""
    plan = submitted(run)
    assert run("verify", plan, "--certify", "--save", "export.jsonl")[0] == 0
    return tmp_path / "export.jsonl"


def offline(*words, **variables):
    """The command line as a process of its own that reaches neither a database nor a network."""
    gone = "http://127.0.0.1:9"
    environment = {
        "PATH": os.environ["PATH"],
        "TIDEMARK_STATE": "/nowhere",
        "FUNCTIONS_URL": gone,
        "HTTP_PROXY": gone,
        "HTTPS_PROXY": gone,
    }
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", "verify", *words],
        cwd=ROOT, env=environment | variables, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def flipped(file, shard):
    """One bit of one leaf is another."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    chunk = next(line for line in lines if line["type"] == "chunk" and line["lo"] <= shard < line["hi"])
    digests = bytearray(base64.b64decode(chunk["digests"]))
    digests[32 * (shard - chunk["lo"])] ^= 1
    chunk["digests"] = base64.b64encode(digests).decode()
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@pytest.mark.process
def test_an_export_is_verified_without_a_database_and_without_a_network(export):
    done = offline("--export", str(export), "--json", SECRET_KEY="secret-key-of-the-tests")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["is_good"], found["signature"], found["certificate"], found["checked_shards"]) == (True, "good", "good", 2000)
    assert found["merkle_root"] == found["computed_root"]


@pytest.mark.process
def test_an_export_that_was_altered_names_the_leaf_and_ends_with_one(export):
    flipped(export, 1234)
    done = offline("--export", str(export), "--json", SECRET_KEY="secret-key-of-the-tests")
    assert done.returncode == 1
    (altered,) = json.loads(done.stdout)["altered"]
    assert (altered["stage"], altered["shard"], altered["what"]) == ("pack", 1234, "leaf")
    assert "altered: pack 1234;" in json.loads(done.stderr)["error"]


def test_an_export_is_bad_with_another_key_and_unchecked_without_any(run, export, monkeypatch):
    monkeypatch.delenv("SECRET_KEY")
    status, out, err = run("verify", "--export", str(export), "--json")
    assert (status, json.loads(out)["signature"]) == (0, "unchecked"), err
    monkeypatch.setenv("SEED_SECRET", "somebody-else-s-seed-secret-of-32")
    status, out, err = run("verify", "--export", str(export))
    assert (status, "signature\tunknown key" in out, "the signature is unknown key" in err) == (1, True, True)


def test_an_export_that_ends_early_or_is_none_is_not_good(run, export):
    export.write_text("".join(f"{line}\n" for line in export.read_text().splitlines()[:-1]))
    status, _, err = run("verify", "--export", str(export))
    assert (status, "the end is missing" in err) == (1, True)
    status, _, err = run("verify", "--export", __file__)
    assert (status, "there is no line of the plan" in err, "Traceback" in err) == (1, True, False)


def test_a_file_that_cannot_be_written_is_told(run):
    plan = submitted(run)
    status, _, err = run("verify", plan, "--save", "/nowhere/export.jsonl")
    assert (status, "cannot be written" in err) == (2, True)
