"""The three providers' stand-in, with this process's settings pointing at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from common import targets
from common.outgoing import calls
from common.rules.deploys import Deploy, Target, Wanted
from deploy.local.providers import StandIn
from deploy.local.providers.world import FIRST, Place

A, B, C = "a" * 40, "b" * 40, "c" * 40
KEY = "tidemark-0123456789abcdef"
PLACES = ("web", "page", "api")  # one of each provider


class At(NamedTuple):
    """One place at a provider, and what deploys to it."""

    providers: StandIn
    name: str
    target: Target
    module: Any

    @property
    def place(self) -> Place:
        return self.providers.places[self.name]

    def trigger(self, commit: str = A, key: str = KEY) -> Deploy | None:
        """Begin a deploy of the newest commit: Netlify knows no other."""
        self.providers.commit(commit)
        return self.module.trigger(self.target, Wanted(commit), key)

    def found(self, commit: str = A, key: str = KEY, since: datetime | None = None) -> list[Deploy]:
        return self.module.found(self.target, Wanted(commit), key, since or datetime.now(UTC) - timedelta(minutes=5))

    def deployed(self, commit: str = A, key: str = KEY) -> Deploy:
        """A deploy that has gone as far as it goes."""
        begun = self.trigger(commit, key)
        return self.ended(begun.id)

    def ended(self, identifier: str, looks: int = 12) -> Deploy:
        """A deploy after so many looks."""
        for _ in range(looks):
            deploy = self.module.get(self.target, identifier)
        return deploy

    @property
    def first(self) -> str:
        """The id of the deploy that everything began with."""
        return self.place.deploys[0].id


@pytest.fixture
def providers(configured: Callable[..., None]) -> Iterator[StandIn]:
    with StandIn() as standing:
        configured(**standing.environment())
        yield standing
        calls.close()


@pytest.fixture(params=PLACES)
def at(request: pytest.FixtureRequest, providers: StandIn) -> At:
    """Each provider in turn."""
    return a_place(providers, request.param)


def a_place(providers: StandIn, name: str, **more: Any) -> At:
    given = providers.target(name)
    return At(providers, name, Target(name, given["provider"], given["config"] | more), targets.find(given["provider"]))


__all__ = ["FIRST", "KEY", "At", "a_place"]
