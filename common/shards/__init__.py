"""One file per shard kind: the code that plans, runs and undoes the shards of a stage. `deploy.pack` is deploy_pack.py."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from common import lookup
from common.errors import Unknown


def find(kind: str) -> ModuleType:
    """The module of a shard kind.

    Raises: Unknown, when there is none.
    """
    return lookup.find("shards", kind.replace(".", "_"))


def offered(kind: str, name: str) -> Any:
    """What a kind has beyond what every kind must; None when it has not, or there is no such kind: newer code may have begun it."""
    try:
        return getattr(find(kind), name, None)
    except Unknown:
        return None


def kinds() -> tuple[str, ...]:
    """The name of every kind."""
    return tuple(lookup.find("shards", name).KIND for name in lookup.names("shards"))
