"""The shard kinds of a deploy by themselves, for tests: a deployment that stands right before one of them."""

from __future__ import annotations

import time
from typing import NamedTuple

from common import db, log, shards
from common.errors import Waiting
from common.flows import rollbacks
from common.rules import merkle
from common.rules.shard import Context, Ran, Stage
from common.stores import deployments
from tests.releases import World

HASH = merkle.hasher("sha3_256")
TARGETS = ["web", "api"]
# In the order in which a deploy comes to them; the last two find it over.
ORDER = ("bootstrap", "runtime", "trigger", "verify", "vote", "promote", "finalize", "diagnostics", "rollback")
CONFIGS = {f"deploy.{name}": {"deployment": "the world's", "targets": TARGETS, "wave": 1, "after": "trigger"} for name in ORDER} | {
    "deploy.runtime": {"deployment": "the world's", "targets": ["web"]}
}
MOST_LOOKS = 30


class Before(NamedTuple):
    """A deployment that a kind has not been run of yet."""

    plan: str
    deployment: str


def before(world: World, kind: str) -> Before:
    """Carry a deploy to two targets out, without the engine, as far as to this kind."""
    world.put("web", migrate_command="bin/migrate")
    begun = world.start(targets=TARGETS, strategy={"kind": "waves", "waves": [TARGETS]})
    found = Before(begun["plan_id"], begun["deployment_id"])
    world.sql("update tidemark.stages set opened_at = app_now() where plan = :plan", plan=found.plan)
    for name in ORDER:
        if f"deploy.{name}" == kind:
            break
        module = shards.find(f"deploy.{name}")
        effects(ran(module, range(module.plan(CONFIGS[module.KIND])), context(found, module.KIND)))
    if kind != "deploy.rollback":
        return found
    with log.bound(operator="bea"):
        back = rollbacks.rollback({"deployment_id": found.deployment})[1]
    return Before(back["plan_id"], back["deployment_id"])


def context(of: Before, kind: str) -> Context:
    """What a kind is run with."""
    stage = Stage(plan=of.plan, no=0, id="one", kind=kind, config=CONFIGS[kind] | {"deployment": of.deployment}, shards=None)
    return Context(stage, HASH, time.monotonic() + 30, 0, None, lambda _=None: None, "test")


def ran(module: object, span: range, given: Context) -> Ran:
    """What came of a kind, asked as often as it wants to be: with each look the stand-ins are further."""
    for _ in range(MOST_LOOKS):
        try:
            return module.run(span, given)
        except Waiting as error:
            waited = error
    raise waited


def effects(done: Ran) -> None:
    """Write what it wants written."""
    assert not done.failures, done.failures
    with db.transaction("worker") as tx:
        if done.effect is not None:
            done.effect(tx)


def deployment(of: Before) -> deployments.Deployment | None:
    """How it stands."""
    with db.transaction("status", read_only=True) as tx:
        return deployments.get(tx, of.deployment)
