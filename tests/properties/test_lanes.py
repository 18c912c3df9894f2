"""Lanes under any order of what workers do and fail to do: every shard is reported once, and the dead report nothing."""

from __future__ import annotations

import os
import random
from datetime import timedelta
from typing import Any

from common import db
from common.db import Transaction
from common.flows import plans, stages
from common.rules.http import Request
from common.stores import lanes
from common.stores import plans as store
from common.stores.lanes import Lane, Place
from tests.chaos import check

LEASE = timedelta(seconds=30)
LONG = os.environ.get("TIDEMARK_LONG") == "1"
SEEDS = range(400 if LONG else 25)
STEPS = 120


class Worker:
    """What a worker remembers: its lane, and the place it believes to be at."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.place = Place(lane.done, lane.busy, lane.hi)


class Model:
    """Workers that are told what to do next by chance, one statement or transaction at a time."""

    def __init__(self, seed: int, sql: Any, turn_clock: Any) -> None:
        self.chance = random.Random(seed)
        self.sql = sql
        self.turn = turn_clock
        self.total = self.chance.randint(1, 60)
        self.is_open_ended = self.chance.random() < 0.4
        self.workers: list[Worker] = []
        self.reported: list[int] = []
        self.refused = 0
        amount = {"open_ended": self.total} if self.is_open_ended else {"shards": self.total}
        stage = {"id": "one", "kind": "trial", "concurrency": self.chance.randint(1, 5), "config": amount}
        if not self.is_open_ended and self.total > 9 and self.chance.random() < 0.3:
            stage["waves"] = [10, 30, 60]
        self.plan = plans.submit(Request("POST", "/"), {"name": f"model {seed}", "stages": [stage]})[1]["plan_id"]

    def is_over(self) -> bool:
        return self.sql(f"select finished_at is not null from tidemark.plans where id = '{self.plan}'") == [[True]]

    def step(self) -> None:
        acts = [
            self.take,
            self.take,
            self.report,
            self.report,
            self.report,
            self.report,
            self.give_back,
            self.beat,
            self.lapse,
            self.die,
        ]
        self.chance.choice(acts)()

    def take(self) -> None:
        with db.transaction("worker") as tx:
            lanes.queue_up(tx)
            lane = lanes.take(tx, holder="model", lease=LEASE)
        if lane is not None:
            assert lane.done < lane.busy <= lane.hi
            self.workers.append(Worker(lane))

    def report(self, worker: Worker | None = None) -> None:
        """What flows.work does with a chunk that went well."""
        if not self.workers:
            return
        worker = worker or self.chance.choice(self.workers)
        span = range(worker.place.done, worker.place.busy)
        next_ = self.chance.choice([0, 1, 2, 7, 50])
        is_current = self.sql(
            f"select token = {worker.lane.token} and leased_until is not null from tidemark.lanes"
            f" where plan = '{self.plan}' and no = {worker.lane.no}"
        )
        with db.transaction("worker") as tx:
            place = self.written(tx, worker, span, next_)
        assert (place is not None) == (is_current == [[True]])  # whoever lost its lane, and nobody else, is refused
        if place is None:
            self.refused += 1
            self.workers.remove(worker)
            return
        self.reported += span
        if place.done < place.busy:
            worker.place = place
        else:
            self.workers.remove(worker)

    def written(self, tx: Transaction, worker: Worker, span: range, next_: int) -> Place | None:
        lane = worker.lane
        place = lanes.advance(tx, lane, next_=0 if self.is_open_ended else next_, lease=LEASE)
        if place is None:
            return None
        store.record(tx, lane.plan, lane.stage, lo=span.start, hi=span.stop, digests=b"\0" * 32 * len(span), peaks=b"\0" * 32)
        if self.is_open_ended:
            more = span.stop < self.total
            place = lanes.extend(tx, lane, span.start, more=more, next_=next_, lease=LEASE) or Place(
                span.stop, span.stop, span.stop
            )
        if place.busy >= place.hi and place.done == place.hi:
            stages.settle(tx, lane.plan, lane.stage)
        return place

    def give_back(self) -> None:
        if self.workers:
            worker = self.workers.pop(self.chance.randrange(len(self.workers)))
            with db.transaction("worker") as tx:
                lanes.give_back(tx, worker.lane, timedelta(seconds=self.chance.choice([0, 20])))

    def beat(self) -> None:
        if self.workers:
            worker = self.chance.choice(self.workers)
            with db.transaction("worker") as tx:
                lanes.beat(tx, worker.lane, lease=LEASE, checkpoint=None)

    def lapse(self) -> None:
        self.turn(timedelta(seconds=self.chance.choice([5, 16, 31])))

    def die(self) -> None:
        """A worker that stops for now: it may come back with its old token, however late."""
        if self.workers and self.chance.random() < 0.3:
            self.turn(timedelta(seconds=31))

    def finish(self) -> None:
        """Everybody who is left does what it can, and others the rest."""
        for _ in range(400):
            if self.is_over():
                return
            self.take()
            for _ in range(5):
                self.report(self.workers[-1] if self.workers else None)
            self.lapse()
        message = f"the plan is stranded: {self.sql('select * from tidemark.lanes')}"
        raise AssertionError(message)


def test_every_shard_is_reported_once_whoever_stops_and_comes_back(sql, trial, turn_clock, database_url):
    refused = 0
    for seed in SEEDS:
        model = Model(seed, sql, turn_clock)
        for _ in range(STEPS):
            if model.is_over():
                break
            model.step()
            assert len(set(model.reported)) == len(model.reported), f"seed {seed}: reported twice"
        model.finish()
        said = sorted(model.reported)
        shards_ = sql(f"select shards from tidemark.stages where plan = '{model.plan}'")[0][0]
        assert said == list(range(shards_)), f"seed {seed}: {said}"
        assert (shards_ >= model.total) if model.is_open_ended else (shards_ == model.total), f"seed {seed}"
        while model.workers:  # those who come back now are too late
            before = len(model.reported)
            model.report()
            assert len(model.reported) == before, f"seed {seed}: the dead have spoken"
        refused += model.refused
    assert check.plan_faults(database_url) == []
    assert refused >= len(SEEDS) / 3  # else too few zombies were met to say anything of them
