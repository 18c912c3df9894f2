"""Strategies: a deploy as it is asked for, and the plan that it becomes."""

from __future__ import annotations

import pytest

from common.rules import plan as plans
from common.rules import strategies

SHA = "4f2a9c1e8b7d6053aa11bb22cc33dd44ee55ff66"
LIMITS = plans.Limits(shards=1000, concurrency=64, shard_timeout_ms=15000, slo_ms=120000)


def asked(**given):
    return strategies.read({"targets": ["api", "site"], "commit": SHA} | given)


def faults(**given):
    found = asked(**given)
    return {fault["pointer"]: fault["message"] for fault in found} if isinstance(found, list) else {}


def test_one_target_after_the_other_unless_said_otherwise():
    assert asked().strategy.waves == (("api",), ("site",))


def test_waves_are_as_they_are_named():
    strategy = asked(targets=["api", "site", "docs"], strategy={"kind": "waves", "waves": [["api"], ["site", "docs"]]}).strategy
    assert strategy.waves == (("api",), ("site", "docs"))


def test_blue_green_says_which_hands_over_to_which():
    strategy = asked(targets=["green"], strategy={"kind": "blue_green", "replaces": {"green": "blue"}}).strategy
    assert strategy.waves == (("green",),)
    assert strategy.replaces == {"green": "blue"}


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"commit": None}, ""),
        ({"artifact": "img@sha256:1"}, ""),
        ({"commit": "x\n"}, "/commit"),
        ({"targets": []}, "/targets"),
        ({"targets": "api"}, "/targets"),
        ({"targets": ["api", "api"]}, "/targets/1"),
        ({"speed": 1}, "/speed"),
        ({"strategy": 7}, "/strategy"),
        ({"strategy": "canary"}, "/strategy/kind"),
        ({"strategy": {"kind": "rolling", "waves": [["api"]]}}, "/strategy/waves"),
        ({"strategy": {"kind": "waves", "waves": [["api"]]}}, "/strategy/waves"),
        ({"strategy": {"kind": "waves", "waves": [["api", "site"], ["api"]]}}, "/strategy/waves"),
        ({"strategy": {"kind": "waves", "waves": [["api"], ["site", "other"]]}}, "/strategy/waves"),
        ({"strategy": {"kind": "waves", "waves": [[]]}}, "/strategy/waves/0"),
        ({"strategy": {"kind": "blue_green"}}, "/strategy/replaces"),
        ({"strategy": {"kind": "blue_green", "replaces": {"api": "site", "site": "old"}}}, "/strategy/replaces/api"),
        ({"strategy": {"kind": "rolling", "replaces": {}}}, "/strategy/replaces"),
        ({"strategy": {"bake_seconds": -1}}, "/strategy/bake_seconds"),
        ({"strategy": {"quorum": 4}}, "/strategy/quorum"),
        ({"approvals": 11}, "/approvals"),
        ({"background": []}, "/background"),
        ({"background": {"prime": []}}, "/background/prime"),
    ],
)
def test_what_is_wrong_is_pointed_at(given, pointer):
    assert pointer in faults(**given)


def test_blue_green_needs_a_commit_to_tell_versions_by():
    given = {"targets": ["green"], "artifact": "img", "strategy": {"kind": "blue_green", "replaces": {"green": "blue"}}}
    assert "/commit" in {fault["pointer"] for fault in strategies.read(given)}


def stages_of(found):
    return {stage["id"]: stage for stage in found["stages"]}


def test_the_plan_puts_a_barrier_between_waves():
    stages = stages_of(strategies.plan("d", "deploy", asked()))
    assert stages["runtime"]["dependencies"] == ["bootstrap"]
    assert stages["trigger-2"]["dependencies"] == ["watch-1"]
    order = ["trigger", "verify", "vote", "promote", "watch"]
    assert [stages[f"{name}-1"]["dependencies"] for name in order[1:]] == [[f"{name}-1"] for name in order[:-1]]
    assert stages["finalize"]["dependencies"] == ["watch-2"]


def test_runtime_does_not_begin_on_a_bootstrap_that_failed():
    """TDE-X fault (c): it migrated beside a bootstrap that had not ended, or had failed."""
    assert "bootstrap" in stages_of(strategies.plan("d", "deploy", asked()))["runtime"]["dependencies"]


def test_bootstrap_and_runtime_have_seventeen_minutes_together():
    stages = stages_of(strategies.plan("d", "deploy", asked()))
    limits = [stages[name]["timebox_ms"] for name in ("bootstrap", "runtime")]
    assert limits == [7 * 60_000, 10 * 60_000]


def test_what_goes_on_in_the_background_is_a_plan_of_its_own():
    found = asked(background={"assets": {"from": "dist"}, "prime": {"urls": []}})
    assert [stage["kind"] for stage in strategies.background("d", "deploy", found)["stages"]] == [
        "deploy.diagnostics",
        "assets.stage",
        "deploy.prime",
    ]
    assert not {"deploy.diagnostics", "deploy.prime"} & {stage["kind"] for stage in strategies.plan("d", "deploy", found)["stages"]}


@pytest.mark.parametrize("made", [
    strategies.plan("d", "deploy", strategies.read({"targets": [f"t{n}" for n in range(10)], "commit": SHA})),
    strategies.background("d", "deploy", strategies.read({"targets": ["a"], "commit": SHA, "background": {"prime": {}}})),
    strategies.rollback("d", "back", ["a"], 60),
])  # fmt: skip
def test_what_is_made_is_a_plan_that_can_be_submitted(made):
    assert not isinstance(plans.read(made, LIMITS), list), plans.read(made, LIMITS)


def test_a_gate_comes_back_as_it_was_stored():
    found = asked(gates={"metrics": [{"name": "cpu", "max": 1}], "logs": {"forbidden": ["x"]}})
    assert [strategies.gate(stored) for stored in strategies.kept(found)[1]] == list(found.gates)
