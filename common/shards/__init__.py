"""One file per shard kind: the code that plans, runs and undoes the shards of a stage. `deploy.pack` is deploy_pack.py."""

from __future__ import annotations

from types import ModuleType

from common import lookup


def find(kind: str) -> ModuleType:
    """The module of a shard kind.

    Raises: Unknown, when there is none.
    """
    return lookup.find("shards", kind.replace(".", "_"))


def kinds() -> tuple[str, ...]:
    """The name of every kind."""
    return tuple(lookup.find("shards", name).KIND for name in lookup.names("shards"))
