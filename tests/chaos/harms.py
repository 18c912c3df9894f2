"""The harms that a nemesis can do, each a method that says whether it was done; what lasts is taken back by itself."""

from __future__ import annotations

import collections
import contextlib
import json
import random
import signal
import threading
import time
from typing import Any

from common import db
from common.errors import AppError
from deploy.local import source
from tests.chaos.dress import LEASE
from tests.chaos.field import Field, sql
from tests.chaos.gateway import request

SOURCE_FAULTS = ("busy", "error", "truncated", "unavailable", "slow", "cut", "revoked")


class Harms:
    """Does them to a world; `said` counts what happened besides."""

    def __init__(self, world: Field, enough: threading.Event) -> None:
        self.world = world
        self.said: collections.Counter[str] = collections.Counter()
        self._enough = enough

    def do(self, name: str, chance: random.Random) -> bool:
        """One of them, by name."""
        return bool(getattr(self, f"_{name}")(chance))

    def take_back(self) -> None:
        """Whatever lasts."""
        self.world.proxy.order(share=0.0, latency=0.0, stalled=False, down=False)
        self._sins(0.0, 0.0)
        if self.world.source:
            request(self.world.source.port, "DELETE", "/_/faults")
        for gateway in self.world.gateways:
            gateway.send(signal.SIGCONT)

    # Processes

    def _kill(self, chance: random.Random) -> bool:
        return chance.choice(self.world.gateways).send(signal.SIGKILL)

    def _stop(self, chance: random.Random) -> bool:
        gateway = chance.choice(self.world.gateways)
        if not gateway.send(signal.SIGSTOP):
            return False
        self._enough.wait(LEASE.total_seconds() * 1.6)
        return gateway.send(signal.SIGCONT)

    def _queue(self, _: random.Random) -> bool:
        self.world.tasks.kill()
        self._enough.wait(1.5)
        self.world.tasks.start()
        return True

    # Postgres

    def _crash(self, _: random.Random) -> bool:
        self.world.cluster.kill(signal.SIGQUIT)
        self.world.cluster.start()
        return True

    def _restart(self, _: random.Random) -> bool:
        self.world.cluster.restart("fast")
        return True

    def _backend(self, chance: random.Random) -> bool:
        rows = sql(
            self.world.url,
            "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            " and backend_type = 'client backend' order by state <> 'idle' desc limit 3",
        )
        return bool(rows) and sql(self.world.url, f"select pg_terminate_backend({chance.choice(rows)[0]})") == [[True]]

    def _hog(self, _: random.Random) -> bool:
        hogs: list[db.Connection] = []
        try:
            with contextlib.suppress(AppError):
                while len(hogs) < 100:
                    hogs.append(db.Connection(db.Address(self.world.url)))
            self.world.proxy.order(reset=True)  # those that are open would go on as if nothing were
            with contextlib.suppress(AppError):
                while len(hogs) < 100:
                    hogs.append(db.Connection(db.Address(self.world.url)))
            self._enough.wait(3.0)
            return len(hogs) < 100
        finally:
            for hog in hogs:
                hog.close()

    def _lock(self, chance: random.Random) -> bool:
        table = chance.choice(("tidemark.ready_events", "public.tds_sync_queue", "tidemark.lanes", "erp.products"))
        sql(self.world.url, f"begin; lock table {table}; select pg_sleep(3); commit")
        return True

    def _snapshot(self, _: random.Random) -> bool:
        connection = db.Connection(db.Address(self.world.url))
        try:
            with db._ours():
                connection.script("begin isolation level repeatable read; select count(*) from tds_inbox_events")
                self._enough.wait(8.0)
                connection.script("rollback")
        finally:
            connection.close()
        return True

    # The line to it

    def _reset(self, _: random.Random) -> bool:
        return self.world.proxy.order(reset=True)["reset"] > 0

    def _blackhole(self, chance: random.Random) -> bool:
        self.world.proxy.order(stalled=True)
        self._enough.wait(3.0)
        self.world.proxy.order(stalled=False, reset=chance.random() < 0.5)
        return True

    def _latency(self, chance: random.Random) -> bool:
        self.world.proxy.order(latency=chance.choice((0.02, 0.1, 0.25)))
        self._enough.wait(3.0)
        self.world.proxy.order(latency=0.0)
        return True

    def _commit(self, _: random.Random) -> bool:
        before = self.world.proxy.order(share=0.25)
        self._enough.wait(2.5)
        after = self.world.proxy.order(share=0.0)
        self.said["commits cut before"] += after.get("before", 0) - before.get("before", 0)
        self.said["commits cut after"] += after.get("after", 0) - before.get("after", 0)
        return after.get("after", 0) > before.get("after", 0)

    def _refuse(self, _: random.Random) -> bool:
        self.world.proxy.order(down=True, reset=True)
        self._enough.wait(2.0)
        self.world.proxy.order(down=False)
        return True

    # The queue

    def _sins(self, lose: float, double: float) -> bool:
        body = json.dumps({"lose": lose, "double": double}).encode()
        return request(self.world.tasks.port, "POST", "/faults", body).status == 200

    def _lose(self, _: random.Random) -> bool:
        done = self._sins(0.6, 0.0)
        self._enough.wait(3.0)
        return self._sins(0.0, 0.0) and done

    def _double(self, _: random.Random) -> bool:
        done = self._sins(0.0, 0.8)
        self._enough.wait(3.0)
        return self._sins(0.0, 0.0) and done

    # The source

    def _source(self, chance: random.Random) -> bool:
        assert self.world.source
        url = f"http://127.0.0.1:{self.world.source.port}"
        name = chance.choice(SOURCE_FAULTS)
        if name == "revoked":
            source.ask(url, "revoke", {})
        else:
            source.ask(url, "faults", {"name": name, "seconds": 3.0, "value": 1.0})
        return self._sync(chance)

    def _sync(self, chance: random.Random) -> bool:
        assert self.world.source
        url = f"http://127.0.0.1:{self.world.source.port}"
        label = chance.choice(("customer", "bill"))
        source.ask(url, "change", {"count": 5, "labels": [label], "delete": 0.0})
        status, _ = self.world.call("/sync/manual", {"mode": "incremental", "entity_type": label})
        return status == 202

    # What people do, and the healers

    def _plan(self, chance: random.Random) -> bool:
        return submitted(self.world, chance) is not None

    def _race(self, chance: random.Random) -> bool:
        """Two people at once, each with a wish of their own for one plan."""
        plan = submitted(self.world, chance, slow_ms=20)
        if plan is None:
            return False
        self._enough.wait(chance.uniform(0.0, 1.0))
        verbs = chance.choice(
            (("pause", "cancel"), ("pause", "resume"), ("cancel", "cancel"), ("abort", "retry"), ("cancel", "pause"))
        )
        threads = [threading.Thread(target=self._verb, args=(plan, verb)) for verb in verbs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return True

    def _verb(self, plan: str, verb: str) -> None:
        status, _ = self.world.call(f"/api/hxo/abort/{plan}" if verb == "abort" else f"/api/hxo/plan/{plan}/{verb}")
        self.said[f"{verb} answered {status}"] += 1

    def _revive(self, _: random.Random) -> bool:
        rows = sql(self.world.url, "select id::text from tds_dead_letter_queue where not resolved order by random() limit 1")
        if not rows:
            return False
        status, _ = self.world.call(f"/dashboard/dead-letter/{rows[0][0]}/retry")
        return status == 202

    def _heal(self, chance: random.Random) -> bool:
        """Twice at once, and one of the two is killed in the middle."""
        gateways = list(self.world.gateways)
        chance.shuffle(gateways)
        statuses: list[int] = []
        threads = [
            threading.Thread(
                target=lambda each=each: statuses.append(self.world.call("/tasks/heal", {}, task=True, port=each.port)[0])
            )
            for each in gateways[:2]
        ]
        for thread in threads:
            thread.start()
        time.sleep(chance.uniform(0.0, 0.05))
        gateways[0].send(signal.SIGKILL)
        for thread in threads:
            thread.join(30)
        self.said["heals that were answered"] += statuses.count(200)
        return True


def submitted(world: Field, chance: random.Random, slow_ms: int = 3) -> str | None:
    """A plan with some shards that never go well, or none of them; its id, None when nobody took it."""
    fail = sorted(chance.sample(range(200), chance.choice((0, 0, 2))))
    stage: dict[str, Any] = {"kind": "chaos", "concurrency": 4, "dependencies": []}
    stages: list[dict[str, Any]] = [
        {**stage, "id": "one", "config": {"shards": 200, "slow_ms": slow_ms, "fail": fail}},
        # Its last lane is the slow one: whoever is done with another takes a part of it.
        {**stage, "id": "uneven", "config": {"shards": 1600, "slow_ms": 8, "slow_from": 1200}},
        {**stage, "id": "two", "config": {"shards": 60, "slow_ms": slow_ms}, "dependencies": ["one"]},
    ]
    status, answer = world.call("/api/hxo/submit", {"name": f"chaos {chance.random()}", "stages": stages})
    return str(answer["plan_id"]) if status == 202 else None
