"""Deploys from beginning to end, for tests: against the stand-ins of the providers, worked on until they are over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from common import db, log
from common import targets as plugins
from common.flows import deployment_status, deployments, work
from common.outgoing import calls
from common.rules.deploys import State, Target, Wanted
from common.rules.http import Request
from common.stores import deployments as store
from common.stores import targets
from deploy.local.providers import StandIn

OLD, NEW = "0ld0000000000000000000000000000000000000".replace("l", "1"), "4f2a9c1e8b7d6053aa11bb22cc33dd44ee55ff66"
THIRD = "3a" * 20
BAD = {"metrics": [{"name": "error_rate", "max": 0.05, "count": 2, "interval_seconds": 30}]}
PLACES = {"web": "render", "page": "netlify", "api": "github"}
TARGETS = list(PLACES)
WAVES = {"kind": "waves", "waves": [["web"], ["page", "api"]]}
ROUNDS = 400


class World:
    """The stand-ins, targets that lead to them, and what an operator does."""

    def __init__(self, providers: StandIn, sql: Callable[..., list[list[Any]]], turn_clock: Callable[[timedelta], None]) -> None:
        self.providers = providers
        self.sql = sql
        self.turn_clock = turn_clock
        for name in (*TARGETS, "green"):
            self.put(name)
        sql("update tidemark.settings set value = '1' where key = 'deploy.poll_seconds'")

    def put(self, name: str, **config: Any) -> None:
        """Make a place a target."""
        found = self.providers.target(name)
        with db.transaction("operator") as tx:
            made = targets.add(tx, name, found["provider"], found["config"] | config, by="tests")
            if made is None:
                targets.change(tx, name, found["provider"], found["config"] | config, by="tests")

    def start(self, *, key: str | None = None, by: str = "ann", **given: Any) -> dict[str, Any]:
        """Begin a deploy of NEW to all three."""
        asked = {"targets": TARGETS, "commit": NEW, "strategy": WAVES} | given
        headers = (("idempotency-key", key),) if key else ()
        with log.bound(operator=by):
            status, answer = deployments.start(Request("POST", "/api/hxo/deployments", headers=headers), asked)
        assert status == 202
        return answer

    def work(self, deployment: str, *, until: Callable[[dict[str, Any]], bool] | None = None, seconds: int = 30) -> dict[str, Any]:
        """Work as functions do, time passing by, until the deployment is over; how it stands then."""
        for _ in range(ROUNDS):
            found = deployment_status.show(deployment)
            if until(found) if until else found["ended_at"] and self.idle():
                return found
            work.work()
            self.turn_clock(timedelta(seconds=seconds))
        message = f"not over after {ROUNDS} rounds: {json.dumps(found, default=str, indent=1)}"
        raise AssertionError(message)

    def idle(self) -> bool:
        """Whether no plan of a deploy runs but those in the background."""
        return not self.sql(
            """select from tidemark.plans p join tidemark.deployments d on d.plan = p.id where p.status = 'running'"""
        )

    def running(self) -> dict[str, str | None]:
        """What really runs in each place."""
        return {name: place.running for name, place in self.providers.places.items()}

    def serve_old(self) -> None:
        """OLD is live everywhere, as after a deploy long ago."""
        self.providers.commit(OLD)  # Netlify builds what is newest, whatever one wants
        for name in TARGETS:
            self.live(name, OLD)
        self.providers.commit(NEW)

    def push(self, commit: str) -> None:
        """A push, which is deployed where that happens by itself, and the time that this takes."""
        self.providers.push(commit)
        for name in self.providers.places:
            provider, target = self.at(name)
            for _ in range(10):
                provider.listed(target, 20)  # each look moves it on

    def at(self, name: str) -> tuple[Any, Target]:
        """The plug-in for a place, and the place as it takes it."""
        found = self.providers.target(name)
        return plugins.find(found["provider"]), Target(name, found["provider"], found["config"])

    def live(self, name: str, commit: str) -> None:
        """Have a commit live in a place, without Tidemark."""
        provider, target = self.at(name)
        deploy = provider.trigger(target, Wanted(commit), f"setup-{name}-{commit[:7]}")
        for _ in range(50):
            if provider.get(target, deploy.id).state is State.LIVE:
                return
        message = f"{name} does not go live"
        raise AssertionError(message)


@contextmanager
def opened(sql: Any, configured: Callable[..., None], turn_clock: Any, **variables: str) -> Iterator[World]:
    """The stand-ins with OLD live in three places, and our settings leading there; no hooks unless they are given."""
    with StandIn() as providers:
        found = {name: value for name, value in providers.environment().items() if "HOOK" not in name}
        configured(**found | {"HXO_AUTO_AUDIT_AFTER_DEPLOY": "false"} | variables)
        made = World(providers, sql, turn_clock)
        made.serve_old()
        yield made
        calls.close()


def parts(deployment: str) -> dict[str, store.Part]:
    """The targets of a deployment as rows."""
    with db.transaction("status", read_only=True) as tx:
        return {part.target: part for part in store.parts(tx, deployment)}


def triggered(world: World, before: Mapping[str, int]) -> dict[str, int]:
    """How many deploys were begun in each place since."""
    return {name: world.providers.triggers(name) - count for name, count in before.items()}


def triggers(world: World, names: Sequence[str] = TARGETS) -> dict[str, int]:
    """How many deploys were begun in each place."""
    return {name: world.providers.triggers(name) for name in names}


def act(verb: Callable[..., Any], *given: Any, by: str = "bea") -> Any:
    """What an operator is answered who does this."""
    with log.bound(operator=by):
        return verb(*given)


def live(world: World, **given: Any) -> dict[str, Any]:
    """A deploy that has gone live."""
    return live_of(world, world.start(**given))


def live_of(world: World, begun: Mapping[str, Any]) -> dict[str, Any]:
    """A deploy that was begun, gone live."""
    found = world.work(begun["deployment_id"])
    assert found["status"] == "live", found["reason"]
    return found
