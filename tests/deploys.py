"""Deployments as rows, for tests of what looks at them: with the stages that they need, in the states that a test names."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Sql = Callable[..., list[list[Any]]]
STAGES = {"bootstrap": "succeeded", "runtime": "succeeded"}


class Made(NamedTuple):
    """A deployment and its plans."""

    id: str
    plan: str
    background: str | None


def a_plan(sql: Sql, stages: Mapping[str, str], *, status: str = "running", shards: int = 1) -> str:
    """A plan with stages of the kinds deploy.<name>, each in the state that is given."""
    plan = str(uuid.uuid4())
    sql(
        """insert into tidemark.plans (id, name, status, definition, max_concurrency, shard_timeout, retry_budget, hash, seed, submitted_by,
                                       deadline_at, finished_at)
           values (:id, 'a deploy', :status, '{}', 1, '15 s', 10, 'sha256', '00', 'tests', app_now() + interval '1 hour',
                   case when :status in ('failed', 'succeeded') then app_now() end)""",
        id=plan,
        status=status,
    )
    for no, (name, state) in enumerate(stages.items()):
        sql(
            """insert into tidemark.stages (plan, no, id, kind, config, status, concurrency, slo, shards)
               values (:plan, :no, :name, :kind, '{}', :state, 1, '1 min', :shards)""",
            plan=plan,
            no=no,
            name=name,
            kind=f"deploy.{name}",
            state=state,
            shards=shards,
        )
    return plan


def a_target(sql: Sql, name: str, provider: str = "render", *, is_frozen: bool = False, **config: Any) -> None:
    """Something to deploy to."""
    sql(
        """insert into tidemark.targets (name, provider, config, updated_by, is_frozen)
           values (:name, :provider, :config::jsonb, 'tests', :is_frozen)""",
        name=name,
        provider=provider,
        config=json.dumps(config),
        is_frozen=is_frozen,
    )


def a_deployment(
    sql: Sql,
    *,
    stages: Mapping[str, str] | None = None,
    background: bool | Mapping[str, str] = False,
    status: str = "running",
    commit: str | None = "c0ffee1",
    kind: str = "deploy",
    rolls_back: str | None = None,
    targets: Mapping[str, Mapping[str, Any]] | None = None,
    waiting: int = 1,
) -> Made:
    """A deployment; `targets` by name, with what stands in tidemark.deployment_targets: serving, previous, config_hash."""
    plan = a_plan(sql, STAGES if stages is None else stages)
    behind = a_plan(sql, {"diagnostics": "open"} if background is True else background, shards=waiting) if background else None
    identifier = str(uuid.uuid4())
    sql(
        """insert into tidemark.deployments (id, kind, status, commit, definition, definition_hash, strategy, gates, plan, background, rolls_back,
                                             schema_version, requested_by, ended_at)
           values (:id, :kind, :status, :commit, '{}', '', '{}', '[]', cast(:plan as uuid), cast(:background as uuid), cast(:rolls_back as uuid), 1,
                   'tests', case when :status not in ('waiting', 'running', 'rolling_back') then app_now() end)""",
        id=identifier,
        kind=kind,
        status=status,
        commit=commit,
        plan=plan,
        background=behind,
        rolls_back=rolls_back,
    )
    for no, (name, part) in enumerate((targets or {}).items()):
        sql(
            """insert into tidemark.deployment_targets (deployment, target, no, wave, key, state, previous, serving, config_hash, verified_at, released_at)
               values (:deployment, :target, :no, 0, :key, :state, :previous::jsonb, :serving::jsonb, :config_hash,
                       case when cast(:serving as text) is not null then app_now() end, app_now())""",
            deployment=identifier,
            target=name,
            no=no,
            key=f"{identifier}-{name}",
            state=part.get("state", "live"),
            previous=json.dumps(part["previous"]) if "previous" in part else None,
            serving=json.dumps(part["serving"]) if "serving" in part else None,
            config_hash=part.get("config_hash"),
        )
    return Made(identifier, plan, behind)
