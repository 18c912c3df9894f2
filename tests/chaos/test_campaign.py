"""The campaign itself, in small: silent without a bug, not silent with one, and honest about what never happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.chaos import one_run, report
from tests.chaos.bugs import BUGS
from tests.chaos.field import Grounds
from tests.chaos.nemesis import WEIGHTS, Harm, Nemesis
from tests.chaos.nursery import ROOT
from tests.chaos.one_run import Campaign
from tests.chaos.options import short
from tests.chaos.report import Result
from tests.conftest import forget

TEN = 10


@pytest.fixture
def grounds():
    before = dict(os.environ)
    found = Grounds()
    yield found
    found.close()
    os.environ.clear()
    os.environ.update(before)
    forget()


@pytest.mark.process
def test_a_small_campaign_is_silent_and_the_same_with_a_bug_is_not(grounds, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(one_run, "OUT", tmp_path)
    options = replace(short(4), seconds=4.0, mix=("kill", "commit"), every=0.8, pauses=0.0, poison=0.02, with_plans=False)
    good = Campaign(grounds, options).run()
    bad = Campaign(grounds, replace(options, bug="ack_before_commit", mix=("kill",))).run()
    with capsys.disabled():
        sys.stdout.write(f"\na small campaign: {good.events['acknowledged']} events, {good.faults}; with a bug: {bad.broken[:1]}\n")
    assert good.broken == []
    assert good.events["acknowledged"] > 20
    assert good.recoveries["gateway born again"] > 0
    assert any(fault.startswith("I1 lost") for fault in bad.broken)
    assert json.loads((tmp_path / "campaign-4.json").read_text())["violations"] == {name: [] for name in good.violations}
    assert "<polyline" in (tmp_path / "campaign-4.svg").read_text()
    assert len((tmp_path / "campaign-4.jsonl").read_text().splitlines()) > good.events["deliveries"]


def test_there_are_ten_bugs_and_every_one_can_be_planted_in_the_code_as_it_is():
    assert sum(not bug.is_extra for bug in BUGS.values()) == TEN
    script = """
import os
from tests.chaos.bugs import BUGS
for name, bug in BUGS.items():
    if not (pid := os.fork()):
        code = 1
        try:
            bug.plant(print)
            code = 0
        except BaseException as error:
            print(name, repr(error), flush=True)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, name
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_nemesis_does_everything_once_before_it_does_anything_twice():
    nemesis = Nemesis(None, seed=3)
    assert {nemesis._drawn() for _ in WEIGHTS} == set(WEIGHTS)
    assert [Nemesis(None, seed=3)._drawn() for _ in range(3)] == [Nemesis(None, seed=3)._drawn() for _ in range(3)]


def test_the_nemesis_knows_what_it_did_and_what_of_it_met_work():
    nemesis = Nemesis(None, seed=3, mix=("kill", "stop"))
    nemesis.harms += [Harm("kill", 0.0, 1.0, is_hit=True), Harm("kill", 1.0, 2.0)]
    assert nemesis.hits() == {"kill": (2, 1), "stop": (0, 0)}


def test_the_longest_recovery_is_from_the_end_of_a_fault_to_the_next_answer():
    harms = [Harm("kill", 0.0, 1.0, is_hit=True), Harm("kill", 4.0, 5.0, is_hit=True), Harm("stop", 0.0, 1.0)]
    assert report.recovery(harms, [0.5, 1.5, 8.0], until=9.0) == {"kill": 3.0}


def test_a_result_is_bad_when_anything_was_violated_or_never_happened():
    assert Result(1, "", 10.0).is_good
    assert not Result(1, "", 10.0, violations={"I1 lost": ["one"]}).is_good
    bad = Result(1, "", 10.0, never=["kill, with work in flight"])
    assert not bad.is_good
    assert "--seconds 10 --seed 1" in report.table(bad)
    assert json.loads(report.as_json(bad))["is_good"] is False
