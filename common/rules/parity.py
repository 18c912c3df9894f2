"""Whether what is served is what was wanted, field by field. Null is not known, or not wanted; what is not known is never equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from common.rules.deploys import is_commit

Facts = Mapping[str, Any]


class Status(StrEnum):
    """What is to be said of a deploy as a whole."""

    OK = "ok"
    DIFFERS = "differs"
    INCOMPLETE = "incomplete"  # a required shard has not succeeded
    UNKNOWN = "unknown"


class Compared(NamedTuple):
    """Names of fields."""

    differs: list[str]
    unknown: list[str]


# What makes a field equal that is wanted and known. A schema may be ahead of the code: it is only ever added to.
EQUAL: Mapping[str, Callable[[Any, Any], bool]] = {
    "commit": is_commit,
    "artifact": lambda wanted, serving: wanted == serving,
    "schema": lambda wanted, serving: serving >= wanted,
    "config_hash": lambda wanted, serving: wanted == serving,
    "frozen": lambda wanted, serving: wanted == serving,
}


def compared(wanted: Facts, serving: Facts) -> Compared:
    """The fields that differ, and those that are wanted but not known."""
    asked = [name for name in EQUAL if wanted.get(name) is not None]
    unknown = [name for name in asked if serving.get(name) is None]
    differs = [name for name in asked if name not in unknown and not EQUAL[name](wanted[name], serving[name])]
    return Compared(differs, unknown)


def status(required: Mapping[str, bool | None], targets: list[Compared]) -> Status:
    """What to say of the whole: the worst of what is known, and nothing good of what is not."""
    if any(each.differs for each in targets):
        return Status.DIFFERS
    if False in required.values():
        return Status.INCOMPLETE
    if None in required.values() or not targets or any(each.unknown for each in targets):
        return Status.UNKNOWN
    return Status.OK
