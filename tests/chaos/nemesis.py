"""The nemesis: does harm by a seeded schedule, up to three at once, and knows what it hit."""

from __future__ import annotations

import collections
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.field import Field
from tests.chaos.harms import Harms

AT_ONCE = 3
# How often each is chosen. What stops everything comes seldom, and never beside another of its kind.
WEIGHTS = {
    "kill": 5, "stop": 3, "crash": 1, "restart": 1, "backend": 2, "reset": 2, "blackhole": 1, "latency": 2, "commit": 3, "refuse": 1,
    "lose": 3, "double": 3, "queue": 2, "source": 4, "hog": 1, "lock": 2, "snapshot": 1, "heal": 2, "plan": 4, "race": 3, "revive": 2,
    "sync": 3,
}  # fmt: skip
ALONE = {"crash", "restart", "hog", "blackhole", "refuse"}


@dataclass
class Harm:
    """One action: when it began and ended, and whether it met work that was in flight."""

    name: str
    at: float
    until: float = 0.0
    is_hit: bool = False
    said: str = ""


@dataclass
class Nemesis:
    """Does what is in `mix`, one every `every` seconds or so, until it is stopped."""

    world: Field
    seed: int
    every: float = 2.0
    mix: Sequence[str] = tuple(WEIGHTS)
    is_in_flight: Callable[[], bool] = lambda: True
    harms: list[Harm] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"nemesis {self.seed}")
        self._enough = threading.Event()
        self._acts = Harms(self.world, self._enough)
        self._running: dict[threading.Thread, str] = {}
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._deck: list[str] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Do nothing more, and take back what lasts."""
        self._enough.set()
        self._thread.join(60)
        for thread in list(self._running):
            thread.join(60)
        self._acts.take_back()

    @property
    def said(self) -> collections.Counter[str]:
        """What happened besides, counted."""
        return self._acts.said

    def hits(self) -> dict[str, tuple[int, int]]:
        """By kind: how often it was done, and how often it met work in flight."""
        found: dict[str, list[int]] = {name: [0, 0] for name in self.mix}
        for harm in self.harms:
            found[harm.name][0] += 1
            found[harm.name][1] += harm.is_hit
        return {name: (each[0], each[1]) for name, each in found.items()}

    def _go(self) -> None:
        while not self._enough.wait(self.every * self._chance.uniform(0.6, 1.4)):
            self._running = {thread: name for thread, name in self._running.items() if thread.is_alive()}
            name = self._fitting(set(self._running.values()))
            if not name:
                continue
            thread = threading.Thread(target=self._do, args=(name, self._chance.randrange(2**32)), daemon=True)
            self._running[thread] = name
            thread.start()

    def _fitting(self, running: set[str]) -> str:
        """The next that goes together with what is running; "" when nothing does now."""
        if len(running) >= AT_ONCE:
            return ""
        passed = []
        for _ in range(len(WEIGHTS)):
            name = self._drawn()
            if name not in running and not (name in ALONE and running & ALONE):
                self._deck += reversed(passed)
                return name
            passed.append(name)
        self._deck += reversed(passed)
        return ""

    def _drawn(self) -> str:
        """From a shuffled deck, so that none waits for luck."""
        if not self._deck:
            self._deck = list(dict.fromkeys(self.mix))
            self._chance.shuffle(self._deck)
            rest = [name for name in self.mix for _ in range(WEIGHTS[name] - 1)]
            self._chance.shuffle(rest)
            self._deck = rest + self._deck  # drawn from the end: first each once
        return self._deck.pop()

    def _do(self, name: str, seed: int) -> None:
        harm = Harm(name, time.time())
        in_flight = self.is_in_flight()
        try:
            done = self._acts.do(name, random.Random(seed))
        except Exception as error:  # noqa: BLE001 - harm that another harm undid; it comes again
            done, harm.said = False, repr(error)[:200]
            self._acts.said[f"{name} went wrong: {repr(error)[:80]}"] += 1
        harm.until = time.time()
        harm.is_hit = bool(done) and (in_flight or self.is_in_flight())
        self.harms.append(harm)
        if not harm.is_hit:
            self._deck.append(name)  # it comes again soon
