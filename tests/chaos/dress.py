"""What a gateway of a campaign wears: short leases, pauses at bad moments, poison that bites, and perhaps a seeded bug.

Nothing of it is in the product. Each thing that happens is noted, one line each, in a file that outlives the process.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from common import db, lookup
from common.rules import shapes
from tests.chaos import shard_kind
from tests.chaos.bugs import BUGS, Misfit

LEASE = timedelta(seconds=3)
HURRIED = {
    "common.flows.process.BATCH_LEASE": LEASE,
    "common.flows.chunks.LEASE": LEASE,
    "common.flows.work.LEASE": LEASE,
    "common.flows.healers.LONGEST_CALL": timedelta(seconds=13),
    "common.flows.healers.UNBEGUN": timedelta(minutes=30),
    "common.stores.schedules.AGAIN": timedelta(seconds=3),
    "common.stores.refetches.LEASE": timedelta(seconds=5),
    "common.stores.source_tokens.LEASE": timedelta(seconds=5),
    "common.stores.source_tokens.WINDOW": timedelta(seconds=5),
}
BOOM, KILLER = "boom", "killer"  # names of products that cannot be validated, and that nobody survives
# Statement -> what it means when it gave something.
GAVE = {
    "queue.expired": "swept lease",
    "inbox.lapsed": "lapsed receipt",
    "lanes.steal": "stolen lane",
    "shard_failures.take": "shard tried again",
    "queue.revive": "revived dead letter",
    "bells.is_needed": "re-rung",
    "schedules.take_unanswered": "re-rung fire",
    "schedules.fail_stranded": "stranded fire",
    "schedules.give_up": "stranded fire",
    "plans.stranded": "stranded stage",
}
# Statement -> what it means when it gave nothing: somebody had lost what they held, and was refused.
REFUSED = {"queue.take": "fenced event", "lanes.advance": "fenced lane", "lanes.beat": "fenced lane"}
# Statement -> who pauses before it; past its lease, or a moment.
PAUSES = {"queue.take": "pause of an event", "inbox.take": "pause of a batch", "lanes.advance": "pause of a lane"}


def dress(notes: str, seed: int, pauses: float = 0.0, bug: str = "") -> None:
    """Make this process one of a campaign; `pauses` is the share of claims that outlive their lease."""
    note = _noting(notes)
    chance = random.Random(seed)
    _hurry()
    _poison(note)
    real = lookup.find
    lookup.find = lambda package, name: shard_kind if (package, name) == ("shards", shard_kind.KIND) else real(package, name)  # type: ignore[assignment]
    for method in ("all", "one", "value", "run"):
        setattr(db.Transaction, method, _watched(getattr(db.Transaction, method), note, chance, pauses, Path(f"{notes}.calm")))
    if bug:
        BUGS[bug].plant(note)


def _noting(path: str) -> Callable[[str], None]:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return lambda text: os.write(file, f"{time.time():.3f} {text}\n".encode()) and None


def _hurry() -> None:
    """A campaign has no half hours: what a lease, a ring or a healer waits for comes in seconds.

    Raises: Misfit, when one is not where it was: it would be waited for in vain.
    """
    for name, value in HURRIED.items():
        module, _, constant = name.rpartition(".")
        found = importlib.import_module(module)
        if not hasattr(found, constant):
            message = f"there is no {name} any more"
            raise Misfit(message)
        setattr(found, constant, value)


def _poison(note: Callable[[str], None]) -> None:
    validate = shapes.validate

    def biting(entity: Any, record: Any) -> Any:
        name = record.get("name") if isinstance(record, dict) else None
        if name == KILLER:
            note("killed by poison")
            os.kill(os.getpid(), signal.SIGKILL)
        if name == BOOM:
            raise ValueError(BOOM)
        return validate(entity, record)

    shapes.validate = biting


def _watched(
    method: Callable[..., Any], note: Callable[[str], None], chance: random.Random, pauses: float, calm: Path
) -> Callable[..., Any]:
    name_at = 2 if method.__name__ in {"all", "one"} else 1

    def call(*given: Any, **params: Any) -> Any:
        name = given[name_at]
        if pauses and name in PAUSES and chance.random() < pauses and not calm.exists():
            note(PAUSES[name])
            time.sleep(LEASE.total_seconds() * 1.6)
        found = method(*given, **params)
        if name in GAVE and found:
            note(GAVE[name])
        if name in REFUSED and not found:
            note(REFUSED[name])
        if name == "lanes.take" and found and found.lapses:
            note("lane taken over")
        return found

    return call


def read_notes(path: Path) -> list[tuple[float, str]]:
    """What was noted: when, by this machine's clock, and what."""
    if not path.exists():
        return []
    lines = [line.partition(" ") for line in path.read_text().splitlines()]
    return [(float(at), what) for at, _, what in lines]
