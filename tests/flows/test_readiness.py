"""Readiness: which deploy decides, and what leaves a release that serves as ready as it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from common import settings
from common.flows import lease, readiness
from tests.deploys import a_deployment, a_plan

Sql = Callable[..., list[list[Any]]]
RUNNING = {"bootstrap": "open", "runtime": "waiting"}
FAILED = {"bootstrap": "failed", "runtime": "waiting"}
OLD, NEW = "0ddba11" * 5 + "0ddba", "c0ffee1" * 5 + "c0ffe"


@pytest.mark.parametrize("status", ["running", "rolling_back"])
@pytest.mark.parametrize("stages", [RUNNING, FAILED])
def test_a_deploy_of_another_release_leaves_the_one_that_serves_ready(status, stages, sql: Sql, configured):
    configured(RELEASE=OLD)
    a_deployment(sql, commit=OLD, status="live")
    a_deployment(sql, commit=NEW, stages=stages, status=status)
    assert readiness.ready()[0] == 200
    configured(RELEASE=NEW)
    assert readiness.ready()[0] == 503


@pytest.mark.parametrize("known", [NEW, NEW[:8], NEW.upper()])
def test_a_release_knows_its_deploy_by_a_short_commit_as_well(known, sql: Sql, configured):
    a_deployment(sql, commit=NEW, stages=RUNNING)
    configured(RELEASE=known)
    assert readiness.ready()[0] == 503
    configured(RELEASE="")
    sql("update tidemark.deployments set commit = 'c0ffee1'")
    configured(RELEASE=known)
    assert readiness.ready()[0] == 503


def test_a_release_that_was_built_before_is_known_by_its_artifact(sql: Sql, configured):
    a_deployment(sql, stages=RUNNING)
    sql("update tidemark.deployments set commit = null, artifact = 'image-7'")
    configured(RELEASE="image-7")
    assert readiness.ready()[0] == 503
    configured(RELEASE="image-8")
    assert readiness.ready()[0] == 200


def test_whoever_does_not_know_its_release_takes_every_deploy_for_its_own(sql: Sql):
    a_deployment(sql, commit=NEW, stages=FAILED, status="failed")
    status, said = readiness.ready()
    assert (status, "bootstrap failed" in said["error"]) == (503, True)


@pytest.mark.parametrize("status", ["waiting", "cancelled", "rolled_back"])
def test_a_deploy_that_waits_or_is_taken_back_leaves_it_to_the_one_before(status, sql: Sql):
    a_deployment(sql, status="live")
    a_deployment(sql, stages=FAILED, status=status)
    assert readiness.ready()[0] == 200


def test_it_is_ready_again_once_the_failed_deploy_was_rolled_back(sql: Sql):
    failed = a_deployment(sql, stages={"bootstrap": "succeeded", "runtime": "failed"}, status="rolling_back")
    a_deployment(sql, kind="rollback", rolls_back=failed.id, commit=None, stages={"rollback": "open", "finalize": "waiting"})
    assert "runtime failed" in readiness.ready()[1]["error"]
    sql("update tidemark.deployments set status = 'rolled_back', ended_at = app_now() where id = :id", id=failed.id)
    assert readiness.ready()[0] == 200


def test_the_newest_of_several_deploys_decides(sql: Sql, turn_clock):
    a_deployment(sql, stages=FAILED, status="failed")
    turn_clock(timedelta(seconds=1))
    a_deployment(sql)
    assert readiness.ready()[0] == 200


def test_a_release_that_is_drained_is_not_ready_and_another_is(sql: Sql, configured):
    configured(RELEASE="blue")
    current = settings.load()
    sql(
        """insert into tidemark.drains (deployment, release, asked_by, deadline_at)
           values (:deployment, :release, 'ann', app_now() + interval '1 min')""",
        deployment=current.deployment,
        release=current.running_release,
    )
    status, said = readiness.ready()
    assert (status, said["error"]) == (503, "The release blue is being drained.")
    configured(RELEASE="green")
    assert readiness.ready()[0] == 200


def test_a_plan_that_is_no_deploy_does_not_matter(sql: Sql):
    a_plan(sql, FAILED)
    assert readiness.ready()[0] == 200


def test_a_passive_deployment_is_as_ready_to_receive_and_says_what_it_is(sql: Sql):
    lease.held(holder="other")
    status, said = readiness.ready()
    assert (status, "this deployment is PASSIVE" in said["message"]) == (200, True)
