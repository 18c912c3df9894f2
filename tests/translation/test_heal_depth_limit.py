"""Heal depth limit, or Guardian: what is healed too often halts its plan, with one incident, until a person goes on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from common.errors import Conflict
from common.flows import plan_status, plan_verbs, work
from tests import kinds
from tests.kinds import a_stage, submit

DAY = {"timebox_ms": 86_400_000}


def test_a_shard_that_always_fails_stops_at_depth_five_with_one_incident(trial, sql, turn_clock):
    plan = submit(a_stage(shards=3, fail={"1": 99}), constraints=DAY)
    for _ in range(30):
        work.work()
        turn_clock(timedelta(minutes=2))
        if plan_status.status(plan)["status"] == "failed":
            plan_verbs.act("retry", plan)  # somebody who hopes
    found = plan_status.status(plan)
    assert (found["status"], found["reason"]) == ("halted", "Shard 1 of stage one was healed 5 times")
    assert kinds.runs["one", 1] == 1 + 5
    assert sql("select count(*) from tds_alerts where alert_type = 'guardian.halt'") == [[1]]
    assert sql(f"select count(*) from tidemark.heal_actions where plan = '{plan}' and action = 'halt'") == [[1]]


def test_a_halted_plan_does_nothing_until_a_person_goes_on_with_it(trial, sql, turn_clock, configured):
    configured(HXO_HEAL_DEPTH_LIMIT="1")
    plan = submit(a_stage(shards=2, fail={"1": 2}), constraints=DAY)
    for _ in range(4):
        work.work()
        turn_clock(timedelta(minutes=2))
    assert plan_status.status(plan)["status"] == "halted"
    assert kinds.runs["one", 1] == 2
    assert work.work().chunks == 0
    configured(HXO_HEAL_DEPTH_LIMIT="5")
    plan_verbs.act("resume", plan)
    work.work()
    assert plan_status.status(plan)["status"] == "succeeded"


def test_what_may_be_done_to_a_halted_plan_is_said(trial, sql, configured, turn_clock):
    configured(HXO_HEAL_DEPTH_LIMIT="1")
    plan = submit(a_stage(shards=1, fail={"0": 9}), constraints=DAY)
    for _ in range(4):
        work.work()
        turn_clock(timedelta(minutes=2))
    with pytest.raises(Conflict) as refused:
        plan_verbs.act("pause", plan)
    assert refused.value.fields["allowed"] == ["abort", "cancel", "resume", "retry"]
