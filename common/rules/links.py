"""Links: what the dependencies are called, what is lost without each, and how well each is, judged by what was found of it.

The nine names are those that users know; this is what they stand for:

    autonomy    healing: when its last pass was, against its interval
    blueprint   the database's schema, against the one of this code
    truth       sealing: plans that are over and whose tree of results is still open
    cascade     the providers that are deployed to: the breakers around their APIs
    federation  the bus: its subscribers, and notices that a long transaction holds back
    parser      what comes in: the share that could not be read and went into quarantine
    leviathan   forecasts: whether what they are made from is up to date
    arie        the last integrity scan
    envrecon    the last comparison of the targets' configuration
    database, source, queue     themselves
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """How a dependency is. Unknown is not healthy."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"


class Found(NamedTuple):
    """What was found of one."""

    status: Status
    reason: str | None = None  # why it is not healthy


class Link(NamedTuple):
    """A dependency."""

    what: str
    without: str  # what happens while it is down
    is_critical: bool = False  # nothing goes on without it


LINKS: Mapping[str, Link] = {
    "autonomy": Link("healing", "nothing is healed but what a tick sweeps"),
    "blueprint": Link("the schema", "work waits until the schema fits the code", is_critical=True),
    "truth": Link("sealing", "plans end, and are certified later"),
    "cascade": Link("the providers of deploys", "deploys wait; what was begun is looked up again, never begun twice"),
    "federation": Link("the bus", "notices are kept, and told later; nothing else waits for them"),
    "parser": Link("reading what comes in", "what cannot be read is kept in quarantine"),
    "leviathan": Link("forecasts", "nothing is forecast; nothing depends on it"),
    "arie": Link("integrity scans", "deploys go on without a scan after them"),
    "envrecon": Link("comparing configurations", "configurations are taken to be as they were"),
    "database": Link("Postgres", "nothing goes on: senders are told to send again", is_critical=True),
    "source": Link("the source", "syncs wait; webhooks are received, and applied"),
    "queue": Link("the task queue", "work waits for the next tick", is_critical=True),
}
ORIGINAL = tuple(name for name in LINKS if name not in {"database", "source", "queue"})
STALE_SECONDS = 180.0  # what was found longer ago says nothing of now: three ticks
HEALTHY = Found(Status.HEALTHY)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
SLOW_SECONDS = 1.0
FEW = 20  # events, below which a share says nothing
QUARANTINED_DEGRADED, QUARANTINED_DOWN = 0.05, 0.5


def aged(age: float | None, *, degraded: float, down: float, what: str) -> Found:
    """By how many seconds ago something was last done; None: never."""
    if age is None or age == float("inf"):
        return Found(Status.UNKNOWN, f"{what} never yet")
    said = f"{what} {age:,.0f} s ago"
    if age >= down:
        return Found(Status.DOWN, said)
    return Found(Status.DEGRADED, said) if age >= degraded else HEALTHY


def waited(seconds: float | None, *, degraded: float, down: float, what: str) -> Found:
    """By for how many seconds the oldest of something has waited; None: nothing waits."""
    if seconds is None or seconds < degraded:
        return HEALTHY
    return Found(Status.DOWN if seconds >= down else Status.DEGRADED, f"{what} for {seconds:,.0f} s")


def schema(version: int | None, wanted: int) -> Found:
    """By the version of the schema, against that of the code."""
    if version is None or version < wanted:
        return Found(Status.DOWN, f"the schema is at {version or 0}, this code needs {wanted}")
    if version > wanted:
        return Found(Status.DEGRADED, f"the schema is at {version}, and this code only knows {wanted}")
    return HEALTHY


def breakers(states: Mapping[str, str], *, known: Iterable[str]) -> Found:
    """By the breakers of these dependencies: one that was never called has none."""
    found = {name: states[name] for name in known if name in states}
    if not found:
        return Found(Status.UNKNOWN, "none of them was called yet")
    bad = sorted(f"{name} is {state.replace('_', ' ')}" for name, state in found.items() if state != "closed")
    if not bad:
        return HEALTHY
    is_down = all(state == "open" for state in found.values())
    return Found(Status.DOWN if is_down else Status.DEGRADED, f"their breakers: {', '.join(bad)}")


def share(bad: int, total: int, *, what: str) -> Found:
    """By how many of how many were bad."""
    if not total:
        return Found(Status.UNKNOWN, "nothing came in the last hour")
    part = bad / total
    if part < QUARANTINED_DEGRADED or total < FEW:
        return HEALTHY
    return Found(Status.DOWN if part >= QUARANTINED_DOWN else Status.DEGRADED, f"{bad:,} of {total:,} {what}")


def subscribers(live: int, failing: int, closed: int) -> Found:
    """By how many subscriptions there are, take nothing, and are closed."""
    if live and failing == live:
        return Found(Status.DOWN, f"none of {live} subscribers takes anything")
    if failing or closed:
        return Found(Status.DEGRADED, f"{failing} of {live} subscribers take nothing, {closed} subscriptions are closed")
    return HEALTHY


def worst(found: Iterable[Found]) -> Found:
    """The worst of several."""
    order = (Status.DOWN, Status.DEGRADED, Status.UNKNOWN, Status.HEALTHY)
    return min(found, key=lambda each: order.index(each.status), default=Found(Status.UNKNOWN))


def overall(found: Mapping[str, Found]) -> Status:
    """The whole: down when a critical one is, degraded when any is not well, unknown when nobody knows of a critical one."""
    critical = {found[name].status for name, link in LINKS.items() if link.is_critical and name in found}
    if Status.DOWN in critical:
        return Status.DOWN
    if {each.status for each in found.values()} & {Status.DOWN, Status.DEGRADED}:
        return Status.DEGRADED
    return Status.UNKNOWN if Status.UNKNOWN in critical else Status.HEALTHY


def is_worse(before: str | None, now: Status) -> bool:
    """Whether a change is one that people are told of: from well, or not known, to not well, or further down."""
    bad = {Status.DEGRADED: 1, Status.DOWN: 2}
    return bad.get(now, 0) > bad.get(Status(before), 0) if before else now in bad
