"""Rollback points: to what each deployment can be taken back, and, where it cannot, why not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from common.errors import Conflict
from common.flows import rollbacks
from common.stores import migrations
from tests import rollouts
from tests.releases import NEW, THIRD, act, live, opened

TAKES = "-- contract: nobody reads it any more\ndrop table if exists public.added;"
ALONE = {"targets": ["web"], "strategy": "rolling"}


@pytest.fixture
def world(sql, configured, turn_clock):
    with opened(sql, configured, turn_clock) as found:
        yield found


def points():
    return {point["deployment_id"]: point for point in rollbacks.points()["rollback_points"]}


def test_rollback_points_say_what_can_be_taken_back_and_why_not(world):
    first = live(world, **ALONE)
    world.providers.commit(THIRD)
    second = live(world, **ALONE, commit=THIRD)
    found = points()
    assert found[second["deployment_id"]]["eligible"]
    (target,) = found[second["deployment_id"]]["targets"]
    assert target["point"]["commit"] == NEW
    assert len(target["config_hash"]) == 64
    assert found[second["deployment_id"]]["schema_version"] == migrations.wanted_version()
    assert not found[first["deployment_id"]]["eligible"]
    assert "later deployment" in found[first["deployment_id"]]["reason"]


def test_a_rollback_across_a_contracted_migration_is_refused_with_the_reason(world, tmp_path, monkeypatch):
    found = live(world, **ALONE)
    (takes,) = rollouts.deploy(monkeypatch, tmp_path, TAKES)
    assert points()[found["deployment_id"]]["eligible"]
    world.turn_clock(timedelta(hours=1))  # the code before does not serve any more
    assert migrations.run_pending(contract=True) == [takes]
    reason = f"The schema was contracted since, by {takes}: the version before needs what that took away."
    assert points()[found["deployment_id"]]["reason"] == reason
    with pytest.raises(Conflict, match=takes):
        act(rollbacks.rollback, {"deployment_id": found["deployment_id"]})
    assert world.running()["web"] == NEW


def test_a_rollback_across_a_migration_that_only_adds_is_fine(world, tmp_path, monkeypatch):
    found = live(world, **ALONE)
    rollouts.deploy(monkeypatch, tmp_path, "-- more\ncreate table if not exists public.added (id integer);")
    migrations.run()
    assert points()[found["deployment_id"]]["eligible"]
