"""The lease under any order of what deployments do and fail to do: no two hold it, and what two write under it never overlaps."""

from __future__ import annotations

import os
import random
from datetime import timedelta
from typing import Any

import pytest

from common import db
from common.db import Connection, Transaction
from common.errors import LeaseLost, Passive, Unavailable
from common.flows import lease
from common.flows.lease import Held

SEEDS = range(300 if os.environ.get("TIDEMARK_LONG") == "1" else 12)
STEPS = 80
DEPLOYMENTS = ("blue", "green", "grey")
# A write that is under way holds the lease's row: who would have to wait for it is turned away at once.
OPENING = "begin; set local role tidemark_worker; set local lock_timeout = 15"


class Instance:
    """A function of a deployment: what it remembers of the lease, and its write that is under way."""

    def __init__(self, url: str, deployment: str) -> None:
        self.deployment = deployment
        self.held: Held | None = None
        self.is_writing = False
        self._connection = Connection(db.Address(url))

    def begin(self) -> Transaction:
        self._connection.begin(OPENING, 10)
        return Transaction(self._connection)

    def end(self, how: str) -> None:
        self._connection.script(how)
        self.is_writing = False

    def close(self) -> None:
        self._connection.close()


class Model:
    """Instances that are told what to do next by chance, one statement or transaction at a time."""

    def __init__(self, seed: int, url: str, sql: Any, turn_clock: Any) -> None:
        self.chance = random.Random(seed)
        self.instances = [Instance(url, deployment) for deployment in DEPLOYMENTS for _ in range(2)]
        self.sql = sql
        self.turn = turn_clock
        self.highest = 0
        self.refused = 0
        self.waited = 0
        self.written: list[tuple[str, int]] = []

    def step(self) -> None:
        idle = [each for each in self.instances if not each.is_writing]
        writing = [each for each in self.instances if each.is_writing]
        acts: list[Any] = [self.lapse, self.release]
        acts += [lambda: self.take(self.chance.choice(idle))] * 6 if idle else []
        acts += [lambda: self.guard(self.chance.choice(idle))] * 6 if idle else []
        acts += [lambda: self.commit(self.chance.choice(writing))] * 8 if writing else []
        acts += [lambda: self.die(self.chance.choice(writing))] if writing else []
        self.chance.choice(acts)()

    def writers(self) -> set[tuple[str, int]]:
        return {(each.deployment, each.held.token) for each in self.instances if each.is_writing and each.held}

    def take(self, instance: Instance) -> None:
        tx, former = instance.begin(), instance.held
        try:
            instance.held = lease.hold(tx, holder=instance.deployment)
        except Passive:
            instance.end("rollback")
            return  # it goes on believing what it did, as one that was stopped would
        except Unavailable:
            instance.end("rollback")
            self.waited += 1
            assert self.writers()  # only a write that is under way keeps anybody waiting
            return
        instance.end("commit")
        assert instance.held.token >= self.highest
        if instance.held.token > self.highest:
            assert self.writers() == set(), "taken while others write under it"
        self.highest = instance.held.token
        assert former is None or former.token <= instance.held.token

    def guard(self, instance: Instance) -> None:
        """The first half of a write under the lease."""
        if instance.held is None:
            return
        tx = instance.begin()
        try:
            lease.guard(tx, instance.held)
        except LeaseLost:
            instance.end("rollback")
            self.refused += 1
            return
        instance.is_writing = True
        assert self.writers() == {(instance.deployment, self.highest)}, "two write at once"

    def commit(self, instance: Instance) -> None:
        assert instance.held
        instance.end("commit")
        self.written.append((instance.deployment, instance.held.token))

    def die(self, instance: Instance) -> None:
        instance.end("rollback")

    def release(self) -> None:
        if not self.writers() and self.chance.random() < 0.3:
            self.sql("update tidemark.leases set expires_at = greatest(heartbeat_at, app_now()), released_by = 'ann',"
                     " released_at = greatest(heartbeat_at, app_now()) where expires_at > app_now()")  # fmt: skip

    def lapse(self) -> None:
        self.turn(timedelta(seconds=self.chance.choice([1, 40, 80, 151])))


@pytest.fixture
def models(database_url: str, sql: Any, turn_clock: Any) -> Any:
    made: list[Model] = []

    def make(seed: int) -> Model:
        sql("delete from tidemark.leases; delete from tidemark.lease_history; delete from tidemark.deltas")
        made.append(Model(seed, database_url, sql, turn_clock))
        return made[-1]

    return make


def test_no_two_holders_overlap_whoever_stops_and_comes_back(models, sql):
    refused = taken = waited = 0
    for seed in SEEDS:
        model = models(seed)
        for _ in range(STEPS):
            model.step()
        for instance in model.instances:
            instance.end("rollback")
            instance.close()
        tokens = [token for _, token in model.written]
        assert tokens == sorted(tokens), f"seed {seed}: an old holder wrote after a new one"
        assert sql("select count(*) from tidemark.lease_history where former_expires_at > acquired_at") == [[0]]
        assert sql("select tidemark.total('fenced')") == [[model.refused]], f"seed {seed}"
        refused += model.refused
        waited += model.waited
        taken += sql("select count(*) from tidemark.lease_history")[0][0]
    # Else too little happened to say anything of it.
    assert (refused > 2 * len(SEEDS), taken > 3 * len(SEEDS), waited > 0) == (True, True, True), (refused, taken, waited)
